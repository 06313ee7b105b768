"""A whole experiment over a small real library with an embedder and a model predictable by hand."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from rag import prompting
from rag.build import Library
from rag.config import Settings
from rag.errors import EngineFaultError, EngineUnavailableError, UsageError
from rag.evaluation.arms import planned_contrasts, resolve_arms
from rag.evaluation.asking import Pace, Progress
from rag.evaluation.records import ANSWERS_FILE, AnswerRecord, Prices, RunRecord, read_answers, read_scores
from rag.evaluation.reporting import write_reports
from rag.evaluation.running import carry_out, choose, describe
from rag.fakes import FakeEmbedder, ScriptedModel
from rag.types import Message

GROUPS = 13
ARMS = ("base", "extractive", "stuffed", "rag", "router", "oracle")
OIL = "The gear oil of the pump ZP-{0} is changed every {0}00 hours."


def question(number: int) -> dict[str, object]:
    return {
        "id": f"q{number}",
        "question": f"How often is the gear oil of the pump ZP-{number} changed?",
        "answers": [f"{number}00 hours"],
        "evidence": [{"document": f"zp-{number}.md", "quote": OIL.format(number)}],
        "split": "dev",
    }


def reply(messages: Sequence[Message]) -> str:
    """The passage's own sentence, where there is one about the pump that is asked about."""
    asked = messages[-1].content
    name = (re.findall(r"ZP-(\d+)", asked) or ["none"])[-1]
    shown = re.search(rf'<passage number="(\d+)"(?:(?!</passage>).)*pump ZP-{name} is changed', asked, re.DOTALL)
    return f"{OIL.format(name)[:-1]} [{shown[1]}]." if shown else "Every now and then."


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(10, 10 + GROUPS):
        (folder / f"zp-{number}.md").write_text(f"# ZP-{number}\n\n{OIL.format(number)} It is drained warm.\n", "utf-8")
    path = tmp_path / "questions.jsonl"
    unknown = {"id": "u", "question": "Who was the first king of Sparta?", "answerable": False, "split": "dev"}
    lines = [*(question(number) for number in range(10, 10 + GROUPS)), unknown]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


Open = Callable[[ScriptedModel], Library]


@pytest.fixture
def opened(tmp_path: Path, questions: Path) -> Iterator[Open]:
    made: list[Library] = []

    def make(model: ScriptedModel) -> Library:
        settings = Settings.model_validate({"packing": {"max_stuffed_tokens": 400}, "retrieval": {"top_k": 4}})
        library = Library(tmp_path / "home", settings, embedder=FakeEmbedder(256, 256), chat_model=model)
        library.ingest([questions.parent / "files"])
        made.append(library)
        return library

    yield make
    for library in made:
        asyncio.run(library.aclose())


def carried_out(
    library: Library, questions: Path, out: Path, arms: Sequence[str] = ARMS, seen: list[Progress] | None = None
) -> RunRecord:
    chosen = choose(questions)
    resolved = resolve_arms(arms, (), {}, lambda _: None)
    contrasts = planned_contrasts(resolved, {})
    prices = Prices(prompt_per_million=1.0, output_per_million=2.0)
    run = describe(library, chosen, out, "default", resolved, contrasts, primary="correct", seed=0, prices=prices)
    progress = [] if seen is None else seen
    pace = Pace(concurrency=3, alone=2, patience_s=0.0, attempts=1)
    return asyncio.run(carry_out(library, run, chosen, out, pace, progress.append, lambda _: None))


def test_every_arm_answers_every_question_once_and_the_report_says_what_came_of_it(
    opened: Open, questions: Path, tmp_path: Path
) -> None:
    model, seen = ScriptedModel(reply), list[Progress]()
    out = tmp_path / "run"
    run = carried_out(opened(model), questions, out, seen=seen)
    answers = read_answers(out)
    assert len(answers) == len((out / ANSWERS_FILE).read_text().splitlines()) == len(ARMS) * (GROUPS + 1)
    assert (seen[-1].done, seen[-1].total, seen[-1].left_s) == (len(answers), len(answers), 0)
    assert seen[-1].cost == pytest.approx(sum((a.tokens.prompt + 2 * a.tokens.output) / 1e6 for a in answers))
    assert sum(answer.alone for answer in answers) == 2 * len(ARMS)
    by_arm = {arm: [score for score in read_scores(out) if score.arm == arm] for arm in ARMS}
    assert all(score.metrics["correct"] == 1 for arm in ("rag", "oracle") for score in by_arm[arm])
    assert not any(score.metrics["correct"] for score in by_arm["base"])
    assert all(score.metrics["context_recall"] == 1 for score in by_arm["oracle"] if score.answerable)
    written = write_reports(out, run, choose(questions).asked)
    assert any(line.startswith("rag is better than base: +1.000") for line in written.verdicts)
    first = {name: (out / name).read_bytes() for name in ("report.html", "report.md", "report.json")}
    write_reports(out, run, choose(questions).asked)
    assert first == {name: (out / name).read_bytes() for name in first}
    text = first["report.html"].decode()
    assert not re.search(r"""(?:src|href)=["'](?!#)|url\((?!#)|@import|https?:""", text)
    assert "<script" not in text


def test_a_run_goes_on_where_it_stopped_and_asks_nothing_twice(opened: Open, questions: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    stopped = ScriptedModel(*[reply] * 5, EngineUnavailableError("the engine is gone"))
    with pytest.raises(EngineUnavailableError, match="the same command goes on"):
        carried_out(opened(stopped), questions, out, ("base", "rag"))
    before = (out / ANSWERS_FILE).read_bytes()
    (out / ANSWERS_FILE).write_bytes(before + b'{"run": "half a li')  # a process killed while it wrote
    again = ScriptedModel(reply)
    carried_out(opened(again), questions, out, ("base", "rag"))
    assert (out / ANSWERS_FILE).read_bytes().startswith(before)
    prompts = [*stopped.asked[:5], *again.asked]
    assert len(set(prompts)) == len(prompts)
    keys = [(line["arm"], line["question"]) for line in map(json.loads, (out / ANSWERS_FILE).read_text().splitlines())]
    assert len(set(keys)) == len(keys) == 2 * (GROUPS + 1)


def test_a_question_that_the_engine_fails_at_is_unmeasured_and_asked_again_the_next_time(
    opened: Open, questions: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    run = carried_out(opened(ScriptedModel(reply, EngineFaultError("broken"), reply)), questions, out, ("base",))
    faulty = [answer for answer in read_answers(out) if answer.status == "engine_fault"]
    assert [(answer.error, answer.attempts) for answer in faulty] == [("broken", 1)]
    assert [score.metrics["correct"] for score in read_scores(out) if score.status == "engine_fault"] == [None]
    written = write_reports(out, run, choose(questions).asked)
    assert any("1 of 14 questions are unmeasured" in line for line in written.verdicts)
    model = ScriptedModel(reply)
    carried_out(opened(model), questions, out, ("base",))
    assert len(model.asked) == 1
    assert all(answer.is_measured for answer in read_answers(out))


def test_another_run_is_refused_its_folder(opened: Open, questions: Path, tmp_path: Path) -> None:
    library, out = opened(ScriptedModel(reply)), tmp_path / "run"
    carried_out(library, questions, out, ("extractive",))
    with pytest.raises(UsageError, match="holds another run; it differs in arms"):
        carried_out(library, questions, out, ("extractive", "rag"))


KILLED = """
import os, signal, sys
sys.path[:0] = [sys.argv[1], sys.argv[2]]
import test_running as t
from pathlib import Path
from rag.build import Library
from rag.config import Settings
from rag.fakes import FakeEmbedder, ScriptedModel
root = Path(sys.argv[3])
count = 0
def reply(messages):
    global count
    count += 1
    if count == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return t.reply(messages)
settings = Settings.model_validate({"packing": {"max_stuffed_tokens": 400}, "retrieval": {"top_k": 4}})
library = Library(root / "home", settings, embedder=FakeEmbedder(256, 256), chat_model=ScriptedModel(reply))
t.carried_out(library, root / "questions.jsonl", root / "run", ("base", "rag"))
"""


def test_after_a_kill_nothing_that_was_answered_is_asked_again(opened: Open, questions: Path, tmp_path: Path) -> None:
    model = ScriptedModel(reply)
    library = opened(model)
    here = Path(__file__)
    child = subprocess.run(
        [sys.executable, "-c", KILLED, str(here.parents[3]), str(here.parent), str(tmp_path)], capture_output=True
    )
    assert child.returncode == -9, child.stderr.decode()
    kept: list[AnswerRecord] = read_answers(tmp_path / "run")
    assert kept
    carried_out(library, questions, tmp_path / "run", ("base", "rag"))
    lines = (tmp_path / "run" / ANSWERS_FILE).read_text().splitlines()
    assert len(lines) == 2 * (GROUPS + 1)
    assert [AnswerRecord.model_validate_json(line) for line in lines[: len(kept)]] == kept
    answered = {answer.prompt_hash for answer in kept} - {None}
    assert not answered & {prompting.digest(messages) for messages in model.asked}
