"""A profile whose model is a folder with a byte-level tokenizer: mixes and previews load no weights."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from finetune.examples import write_examples
from tests.service.cli.finetune.dialogues import dialogue

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(autouse=True)
def tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A byte is a token."""
    folder = tmp_path / "tiny"
    letters = ["<|im_start|>", "<|im_end|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE({letter: number for number, letter in enumerate(letters)}, []))
    backend.add_special_tokens(letters[:2])
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        chat_template=TEMPLATE,
    ).save_pretrained(folder)
    (folder / "config.json").write_text("{}", "utf-8")
    monkeypatch.setenv("DOMAINQA_GENERATION__MODEL", str(folder))
    return folder


@pytest.fixture
def domain(tmp_path: Path) -> Path:
    path = tmp_path / "domain.jsonl"
    write_examples(path, [dialogue(f"d{number}", "Because.") for number in range(40)])
    return path


@pytest.fixture
def general(tmp_path: Path) -> Path:
    path = tmp_path / "general.jsonl"
    write_examples(path, [dialogue(f"g{number}", "Why not?", "general") for number in range(200)])
    return path
