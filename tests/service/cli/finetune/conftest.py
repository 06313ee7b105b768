"""A profile whose model is a folder with a byte-level tokenizer: mixes and previews load no weights."""

from pathlib import Path

import pytest

from finetune.examples import write_examples
from tests.service.cli.finetune.dialogues import dialogue, make_tokenizer


@pytest.fixture(autouse=True)
def tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = make_tokenizer(tmp_path / "tiny")
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
