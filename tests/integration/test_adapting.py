"""The documented commands, one after the other: from a folder of documents to a mix that can be trained on."""

import json
import random
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from finetune.examples import TrainingExample, read_examples
from finetune.mixing import read_manifest
from rag.build import Library
from rag.fakes import FakeEmbedder, ScriptedModel
from service.cli.main import app
from service.cli.session import Session
from tests.service.cli.finetune.dialogues import make_tokenizer

pytestmark = pytest.mark.integration

PAGE = Path(__file__).parents[2] / "docs" / "finetuning.md"
SECTION = "From documents to a mix"
WORDS = [
    first + last for first in ("bri", "ga", "lo", "mar", "te", "win") for last in ("den", "dge", "ket", "mp", "ster")
]


def commands() -> list[list[str]]:
    block = re.search(rf"## {SECTION}\n.*?```sh\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert block is not None
    return [shlex.split(line) for line in block[1].splitlines()]


def open_library(home, settings, progress, server):
    return Library(home, settings, embedder=FakeEmbedder(256, 256), chat_model=ScriptedModel("Never asked."))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve pumps with a table each, and general dialogues of random words."""
    (tmp_path / "documents").mkdir()
    for number in range(10, 22):
        rows = "\n".join(
            f"| {part} | {number * 10 + place} Nm | {place + 2} years |"
            for place, part in enumerate(("casing bolt", "flange bolt", "drain plug"))
        )
        text = (
            f"# Pump ZP-{number}\n\nThe oil of the ZP-{number} is changed every {number * 100} hours. It is red.\n\n"
            f"| part | torque | life |\n| --- | --- | --- |\n{rows}\n"
        )
        (tmp_path / "documents" / f"zp-{number}.md").write_text(text, "utf-8")
    chosen = random.Random(4)
    with (tmp_path / "general.jsonl").open("w", encoding="utf-8") as file:
        for _ in range(150):
            question, answer = (" ".join(chosen.sample(WORDS, 12)) for _ in range(2))
            turns = [
                {"role": "user", "content": f"The {question}?"},
                {"role": "assistant", "content": f"The {answer}."},
            ]
            file.write(json.dumps({"messages": turns}) + "\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DOMAINQA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DOMAINQA_EMBEDDING__MODEL", FakeEmbedder.model)
    monkeypatch.setenv("DOMAINQA_ANSWERING__MIN_PROBABILITY", "0")
    monkeypatch.setenv("DOMAINQA_GENERATION__MODEL", str(make_tokenizer(tmp_path / "tiny")))
    return tmp_path


def test_the_documented_sequence_makes_a_mix_that_keeps_the_rule(folder: Path) -> None:
    said = []
    for program, *arguments in commands():
        assert program == "domainqa"
        session = Session(open_library=open_library, provide_models=lambda references, offline: None)
        result = CliRunner().invoke(app, arguments, obj=session, catch_exceptions=False)
        assert result.exit_code == 0, f"{arguments}\n{result.output}"
        said.append(result.stdout)
    grounded = {each.id: each for each in read_examples(folder / "grounded.jsonl")}
    manifest = read_manifest(folder / "mix")
    assert 0.4 <= manifest.shares["domain"].loss <= 0.6
    assert manifest.waiver is None
    assert all(manifest.validation.values())
    trained = {each.id: each for each in read_examples(folder / "mix" / "train.jsonl")}
    domain = {id: each for id, each in trained.items() if each.family == "domain"}
    assert len(domain) >= 20
    assert domain.items() <= grounded.items(), "nothing is changed on its way into the mix"
    assert len({id for id in trained if id not in domain}) >= 10
    assert all(_is_served(each) for each in domain.values())
    # What is shown as learnt is the answer and the end of its turn, nothing of the prompt.
    learnt = re.findall(r"⟦(.*?)⟧", said[-1], re.DOTALL)
    answers = {each.messages[-1].content + "<|im_end|>" for each in trained.values()}
    assert learnt
    assert set(learnt) <= answers


def _is_served(example: TrainingExample) -> bool:
    """Its prompt was built by the server's own code: rules first, passages in the last question."""
    return example.messages[0].role == "system" and example.prompt_fingerprint is not None
