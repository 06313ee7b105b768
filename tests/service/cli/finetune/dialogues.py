"""Examples that are short enough to count by hand, and a tokenizer whose tokens are bytes."""

from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from finetune.examples import ExampleMessage, TrainingExample

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tokenizer(folder: Path) -> Path:
    """A model's folder as far as commands need it that load no weights."""
    letters = ["<|im_start|>", "<|im_end|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE({letter: number for number, letter in enumerate(letters)}, []))
    backend.add_special_tokens(letters[:2])
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|im_end|>", chat_template=TEMPLATE
    ).save_pretrained(folder)
    (folder / "config.json").write_text("{}", "utf-8")
    return folder


def dialogue(id: str, answer: str, family="domain", **more) -> TrainingExample:
    messages = (
        ExampleMessage(role="system", content="Be brief."),
        ExampleMessage(role="user", content="Why?"),
        ExampleMessage(role="assistant", content=answer),
    )
    return TrainingExample(id=id, messages=messages, source=f"{family} source", family=family, group=id, **more)
