"""Question files: what is read, and what is refused with file, line and fault."""

import json
from pathlib import Path

import pytest

from rag.errors import UsageError
from rag.evaluation.questions import read_questions
from rag.types import Message

WHOLE = {
    "id": "oil-1",
    "question": "And how often?",
    "answers": ["2000 hours"],
    "evidence": [{"document": "oil.md", "quote": "every 2000 hours"}],
    "answerable": True,
    "history": [{"role": "user", "content": "Is it changed?"}, {"role": "assistant", "content": "Yes."}],
    "tags": ["follow-up"],
    "notes": "other keys are left alone",
}


def write(folder: Path, *lines: str) -> Path:
    path = folder / "questions.jsonl"
    path.write_bytes("\n".join(lines).encode())
    return path


def test_a_whole_question(tmp_path: Path) -> None:
    (question,) = read_questions(write(tmp_path, json.dumps(WHOLE), ""))
    assert (question.id, question.answers, question.tags) == ("oil-1", ("2000 hours",), ("follow-up",))
    assert (question.evidence[0].document, question.evidence[0].quote) == ("oil.md", "every 2000 hours")
    assert question.messages == (Message("user", "Is it changed?"), Message("assistant", "Yes."))


def test_defaults_and_order(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        '{"id": "b", "question": "x", "answers": ["1"]}',
        "",
        "   ",
        '{"id": "a", "question": "x", "answerable": false}\r',
    )
    first, second = read_questions(path)
    assert (first.id, first.answerable, first.language) == ("b", True, "en")
    assert (second.id, second.answers, second.messages) == ("a", (), ())


def test_a_mark_of_the_byte_order_and_odd_line_separators(tmp_path: Path) -> None:
    path = write(tmp_path, '\ufeff{"id": "a", "question": "one\u2028two\u0085", "answers": ["1"]}')
    assert read_questions(path)[0].question == "one\u2028two\u0085"


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("{", "not JSON"),
        ("[]", "question: "),
        ('{"id": "a", "answers": ["1"]}', "question: Field required"),
        ('{"id": "a", "question": "", "answers": ["1"]}', "question: "),
        ('{"id": "a", "question": "x"}', "an answerable question has answers"),
        ('{"id": "a", "question": "x", "answers": ["1"], "answerable": false}', "an unanswerable one has none"),
        ('{"id": "a", "question": "x", "answers": ["1"], "evidence": [{"document": "d"}]}', "evidence.0.quote"),
        (
            '{"id": "a", "question": "x", "answers": ["1"], "evidence": [{"document": "d", "quote": "q", "p": 1}]}',
            "p: ",
        ),
        ('{"id": "a", "question": "x", "answers": ["1"], "history": [{"role": "system", "content": ""}]}', "role"),
        ('{"id": "good", "question": "x", "answers": ["1"]}', "the id 'good' stands twice"),
    ],
)
def test_a_fault_is_named_with_its_line(tmp_path: Path, line: str, fault: str) -> None:
    path = write(tmp_path, '{"id": "good", "question": "x", "answers": ["1"]}', "", line)
    with pytest.raises(UsageError, match=r"questions\.jsonl, line 3: ") as caught:
        read_questions(path)
    assert fault in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_questions(tmp_path / "missing.jsonl")
    (tmp_path / "latin.jsonl").write_bytes(b"\xe9\xff")
    with pytest.raises(UsageError, match="cannot be read"):
        read_questions(tmp_path / "latin.jsonl")
