"""Tiny things to train on: tokenizers, a language model with random weights, mixes."""

import random
from collections.abc import Mapping
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from finetune.examples import ExampleMessage, Family, TrainingExample, write_examples
from finetune.mixing import MANIFEST, TRAIN, VALIDATION, MixManifest, MixOptions

CHATML = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tokenizer(
    template: str | None, special: list[str], *, seen: str = "", **names: str
) -> PreTrainedTokenizerFast:
    """Byte-level, so that any text has tokens. What stands often in ``seen`` becomes one."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    words = "the pump and the valve of the pump are here, assistant user system"
    backend.train_from_iterator([words] * 5 + ([seen] if seen else []), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, chat_template=template, **names)


def make_model(folder: Path) -> Path:
    """A step on it takes milliseconds. It pads with its end token, as many models do."""
    tokenizer = make_tokenizer(
        CHATML, ["<|im_start|>", "<|im_end|>"], bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>"
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(5)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.2,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def make_mix(folder: Path, *, dialogues: int = 48, poison: Mapping[int, str] | None = None) -> Path:
    """Half domain, half general, easily learnt. ``poison`` replaces answers by their place in the order."""
    randomness = random.Random(1)
    examples = [_example(number, randomness) for number in range(dialogues)]
    for place, answer in (poison or {}).items():
        examples[place] = examples[place].model_copy(
            update={"messages": (*examples[place].messages[:-1], ExampleMessage(role="assistant", content=answer))}
        )
    held_out = [_example(number, randomness) for number in range(dialogues, dialogues + 8)]
    folder.mkdir(parents=True)
    write_examples(folder / TRAIN, examples)
    write_examples(folder / VALIDATION, held_out)
    manifest = MixManifest(
        objective="sft",
        seed=0,
        options=MixOptions(max_tokens=256, model="tiny"),
        inputs=(),
        shares={},
        amounts={},
        repeats={},
        validation={},
        left_out=(),
        waiver=None,
        order=tuple(each.id for each in examples),
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json(), "utf-8")
    return folder


def _example(number: int, randomness: random.Random) -> TrainingExample:
    family: Family = "general" if number % 2 else "domain"
    question = f"{family}, where is the {randomness.choice(['pump', 'valve', 'user'])} {number}?"
    answer = "the pump and the valve " * randomness.randint(1, 4)
    return TrainingExample(
        id=f"{family}-{number}",
        messages=(
            ExampleMessage(role="user", content=question),
            ExampleMessage(role="assistant", content=answer.strip()),
        ),
        source=f"{family}-source",
        family=family,
        group=f"g{number}",
    )
