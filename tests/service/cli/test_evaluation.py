"""``domainqa eval`` on a real home: catalog, indexes and fitting are real, the models are fakes."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from rag.build import Library
from rag.catalog import Catalog
from rag.evaluation.questions import read_questions
from rag.evaluation.records import RunRecord, ScoreRecord, read_scores, write_run, write_scores
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


def write_scored(folder: Path, shift: float) -> Path:
    metrics = [{"f1": 0.5 + shift + 0.01 * (at % 7)} for at in range(48)]
    scores = [
        ScoreRecord(question=f"q{at}", group=f"g{at // 3}", arm="rag", status="ok", metrics=values)
        for at, values in enumerate(metrics)
    ]
    run = {
        "name": folder.name,
        "key": f"key-of-{folder.name}",
        "created_at": "2026-01-01T00:00:00Z",
        "questions_file": "q.jsonl",
        "questions_sha256": "0",
        "question_ids": [score.question for score in scores],
        "collection": "default",
        "collection_sha256": "0",
        "model": "m",
        "arms": [{"name": "rag", "strategy": "rag"}],
        "primary": "f1",
        "contrasts": [],
        "seed": 0,
        "settings": {},
        "versions": {},
    }
    write_run(folder, RunRecord.model_validate(run))
    write_scores(folder, scores)
    return folder


def test_compare_is_a_gate(domainqa, tmp_path: Path) -> None:
    before, after = write_scored(tmp_path / "runs" / "a", 0.0), write_scored(tmp_path / "runs" / "b", -0.2)
    lost = domainqa("eval", "compare", str(before), str(after), "--json")
    assert (lost.exit_code, json.loads(lost.stdout)["lost"]) == (3, ["rag"])
    assert domainqa("eval", "compare", str(before), str(after), "--margin", "0.3").exit_code == 0
    assert domainqa("eval", "compare", str(after), str(before)).exit_code == 0
    listed = json.loads(domainqa("eval", "list", str(tmp_path / "runs"), "--json").stdout)
    assert [run["key"] for run in listed] == ["key-of-a", "key-of-b"]


def test_a_comparison_that_cannot_be_judged_does_not_pass(domainqa, tmp_path: Path) -> None:
    before, after = write_scored(tmp_path / "a", 0.0), write_scored(tmp_path / "b", -0.2)
    write_scores(after, read_scores(after)[:33])
    few = domainqa("eval", "compare", str(before), str(after))
    assert few.exit_code == 1
    assert "11 independent groups" in few.output


def test_audit_tells_leaks_apart_and_blocks(domainqa, questions: Path, tmp_path: Path) -> None:
    trained = tmp_path / "sft.jsonl"
    messages = [{"role": "user", "content": "How heavy is the ZP-12?"}, {"role": "assistant", "content": "4 kg"}]
    trained.write_text(json.dumps({"messages": messages}))
    result = domainqa("eval", "audit", str(questions), "--trained", str(trained), "-c", "default", "--json")
    assert result.exit_code == 3
    report = json.loads(result.stdout)
    assert (report["leaked"]["question"], report["blocked"]) == (["ZP-12-weight"], ["ZP-12-weight"])
    assert domainqa("eval", "audit", str(questions), "-c", "default").exit_code == 0
    assert domainqa("eval", "audit", str(questions)).exit_code == 1


def test_import_then_check_then_a_new_version_breaks_a_quote(domainqa, tmp_path: Path) -> None:
    table, out = tmp_path / "t.csv", tmp_path / "q.jsonl"
    table.write_text("question,answers,document,quote\nHow heavy?,4 kg,pump.md,The pump weighs 4 kg.\n")
    assert domainqa("eval", "import", str(table), "--out", str(out)).exit_code == 0
    folder = tmp_path / "documents"
    folder.mkdir()
    for weight, code in ((4, 0), (5, 3)):
        (folder / "pump.md").write_text(f"# Pump\n\nThe pump weighs {weight} kg.\n")
        assert domainqa("ingest", str(folder)).exit_code == 0
        assert domainqa("eval", "check-quotes", str(out)).exit_code == code
    assert "quote gone" in domainqa("eval", "check-quotes", str(out)).output


def test_make_drafts_what_is_not_asked_yet_and_marks_it(domainqa, tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    rows = "\n".join(f"| ZP-{number} | {number} kg |" for number in range(10, 14))
    (folder / "parts.md").write_text(f"# Parts\n\n| Part | Weight |\n| --- | --- |\n{rows}\n")
    assert domainqa("ingest", str(folder)).exit_code == 0
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    assert domainqa("eval", "make", "--out", str(first)).exit_code == 0
    drafted = read_questions(first)
    assert len(drafted) == 8
    assert all("review" in question.tags for question in drafted)
    assert domainqa("eval", "check-quotes", str(first)).exit_code == 0
    again = domainqa("eval", "make", "--out", str(second), "--known", str(first))
    assert (again.exit_code, second.exists()) == (1, False)
