"""``eval calibrate`` on a real home: catalog, indexes and fitting are real, the models are fakes."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from rag.build import Library
from rag.catalog import Catalog
from rag.fakes import FakeEmbedder, ScriptedModel
from service.cli.main import app
from service.cli.session import Session

pytestmark = pytest.mark.integration

PARTS = [f"ZP-{number}" for number in range(10, 40)]


@pytest.fixture
def domainqa(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DOMAINQA_EMBEDDING__MODEL", FakeEmbedder.model)

    def open_library(home, settings, progress, server):
        return Library(home, settings, embedder=FakeEmbedder(), chat_model=ScriptedModel("Yes [1]."))

    session = Session(
        open_library=open_library, provide_models=lambda references, offline: None, home=tmp_path / "home"
    )

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments), obj=session, catch_exceptions=False)

    return run


@pytest.fixture
def questions(tmp_path: Path, domainqa) -> Path:
    """Each part's weight stands in its document, its price nowhere. The documents are in the collection."""
    folder = tmp_path / "documents"
    folder.mkdir()
    lines = []
    for part in PARTS:
        (folder / f"{part}.md").write_text(f"# Part {part}\n\nThe part {part} weighs {len(part)} kg.\n")
        asked = (("weight", f"How heavy is the {part}?", ["4 kg"]), ("price", f"What does the {part} cost?", []))
        for kind, text, answers in asked:
            question = {"id": f"{part}-{kind}", "question": text, "answers": answers, "answerable": bool(answers)}
            lines.append(json.dumps(question | {"group": part, "split": "train"}))
    assert domainqa("ingest", str(folder)).exit_code == 0
    path = tmp_path / "questions.jsonl"
    path.write_text("\n".join(lines))
    return path


def calibration(home: Path) -> str | None:
    with Catalog.open(home) as catalog:
        return catalog.collection("default").calibration


def test_it_learns_what_is_missing_and_keeps_it(domainqa, questions: Path, tmp_path: Path) -> None:
    result = domainqa("eval", "calibrate", "--questions", str(questions), "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["questions"], report["unanswerable"], report["kept"]) == (60, 30, True)
    assert report["cross_validated"]["f1"]["value"] > 0.9
    assert report["cross_validated"]["answerable_refused"]["value"] <= 0.1
    assert calibration(tmp_path / "home") is not None
    assert json.loads(calibration(tmp_path / "home") or "") == report["calibration"]
    refused = json.loads(domainqa("ask", "What does the ZP-12 cost?", "--strategy", "extractive", "--json").stdout)
    answered = json.loads(domainqa("ask", "How heavy is the ZP-12?", "--strategy", "extractive", "--json").stdout)
    assert (refused["abstained"], answered["abstained"]) == (True, False)

    assert domainqa("eval", "calibrate", "--reset").exit_code == 0
    assert calibration(tmp_path / "home") is None


def test_a_dry_run_changes_nothing(domainqa, questions: Path, tmp_path: Path) -> None:
    result = domainqa("eval", "calibrate", "--questions", str(questions), "--dry-run", "--target-risk", "0.2")
    assert result.exit_code == 0, result.output
    assert "unanswerable questions refused" in result.stdout
    assert "at most 0.2 of the answered questions unanswerable" in result.stderr
    assert calibration(tmp_path / "home") is None


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ((), 2, "--questions"),
        (("--questions", "none.jsonl"), 1, "none.jsonl cannot be read"),
        (("--questions", "{file}", "--collection", "none"), 1, "there is no collection 'none'"),
        (("--questions", "{file}", "--split", "none"), 1, "there are no questions of split none"),
        (("--questions", "{file}", "--max-refused", "2"), 2, "--max-refused"),
        (("--questions", "{file}", "--reset"), 2, "takes no --questions"),
    ],
)
def test_what_is_wrong_is_said(domainqa, questions: Path, arguments: tuple[str, ...], code: int, told: str) -> None:
    result = domainqa("eval", "calibrate", *(each.format(file=questions) for each in arguments))
    assert result.exit_code == code
    assert told in result.output
