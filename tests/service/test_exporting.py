"""What is exported is read by the project's own readers, and pairs differ in what was preferred alone."""

import json
from pathlib import Path

import pytest

from rag.catalog.conversations import StoredTurn
from rag.catalog.feedback import RatedTurn, Rating
from rag.errors import UsageError
from rag.evaluation.questions import read_questions
from rag.types import Citation, Turn, Usage
from service.exporting import preferences, questions, write


def turn(question: str, answer: str, *, id: str = "turn_1", abstained: bool = False) -> StoredTurn:
    citations = tuple(
        Citation(1, "d", f"{name}.txt", name, None, 0, 4, name, name == "good", False, 0, 4) for name in ("good", "bad")
    )
    return StoredTurn(
        id, 1, Turn(question, f"passages\n\nQuestion: {question}", answer), "rag", "m", abstained, True, None, "stop",
        False, "2024", Usage(), {}, () if abstained else citations, (), (),
    )  # fmt: skip


def rated(rating: Rating, question: str, answer: str, *history: StoredTurn, **more: object) -> RatedTurn:
    collection = str(more.pop("collection", "default"))
    return RatedTurn("conv_1", collection, rating, None, turn(question, answer, **more), history)  # type: ignore[arg-type]


def test_questions_are_what_the_evaluation_reads(tmp_path: Path) -> None:
    before = turn("Which oil?", "Red oil [1].", id="turn_0")
    given = [
        rated("up", "And the bolt?", "42 Nm [1].", before, id="turn_1"),
        rated("up", "Who made it?", "The documents do not say.", id="turn_2", abstained=True),
        rated("down", "How old?", "Ten years [1].", id="turn_3"),
    ]
    write(questions(given), tmp_path / "questions.jsonl")
    answered, unanswerable = read_questions(tmp_path / "questions.jsonl")
    assert (answered.question, answered.answers) == ("And the bolt?", ("42 Nm.",))
    assert [(each.document, each.quote) for each in answered.evidence] == [("good.txt", "good")]
    assert [each.content for each in answered.history] == ["Which oil?", "Red oil [1]."]
    assert (unanswerable.answerable, unanswerable.answers, unanswerable.evidence) == (False, (), ())


def test_the_newest_of_several_answers_to_one_question_counts() -> None:
    given = [rated("up", "Which oil?", "Red.", id="turn_1"), rated("up", "which  OIL?", "Blue.", id="turn_2")]
    (only,) = questions(given)
    assert only["answers"] == ["Blue."]


def test_pairs_are_of_the_same_question_after_the_same_questions_about_the_same_documents() -> None:
    before = turn("Which oil?", "Red.", id="turn_0")
    up = rated("up", "And now?", "Good.", before, id="turn_1")
    others = [
        rated("down", "and  NOW?", "Bad.", before, id="turn_2"),
        rated("down", "And now?", "Good.", before, id="turn_3"),
        rated("down", "And now?", "Bad.", id="turn_4"),
        rated("down", "And now?", "Bad.", before, id="turn_5", collection="other"),
        rated("up", "And now?", "Better.", before, id="turn_6"),
    ]
    pairs = preferences([up, *others])
    assert [(each["chosen_turn"], each["rejected_turn"]) for each in pairs] == [
        ("turn_1", "turn_2"),
        ("turn_6", "turn_2"),
        ("turn_6", "turn_3"),
    ]
    assert pairs[0]["prompt"] == [
        {"role": "user", "content": "Which oil?"},
        {"role": "assistant", "content": "Red."},
        {"role": "user", "content": "And now?"},
    ]
    assert pairs[0]["chosen"] == [{"role": "assistant", "content": "Good."}]
    assert pairs[0]["rejected"] == [{"role": "assistant", "content": "Bad."}]


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    write([{"a": "é\u2028"}, {"b": 1}], target)
    assert [json.loads(line) for line in target.read_text("utf-8").rstrip("\n").split("\n")] == [
        {"a": "é\u2028"},
        {"b": 1},
    ]
    with pytest.raises(ValueError, match="not JSON compliant"):
        write([{"a": 1}, {"b": float("nan")}], target)
    assert '"b": 1' in target.read_text("utf-8")
    with pytest.raises(UsageError, match="cannot be written"):
        write([], tmp_path / "none" / "out.jsonl")
