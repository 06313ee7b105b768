"""The conversations of MTRAG-UN (IBM, Apache-2.0) as questions of ours, and the collection that they are asked of.

The file ``mtrag/reference.jsonl`` gives each conversation's last question with the passages that answer it. Questions
that cannot be answered have no passages, so the passages of all conversations make one collection, and an unanswerable
question meets what was gathered for others.
"""

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rag.evaluation.questions import EvaluationQuestion, HistoryMessage
from rag.types import Message

DATA = "DOMAINQA_BENCH_DATA"


@dataclass(frozen=True, slots=True)
class Conversation:
    """``gold`` holds the sources of the passages that answer the last question."""

    id: str
    domain: str
    answerability: str
    question: str
    history: tuple[Message, ...]
    gold: frozenset[str]
    reply: str
    """What the data set's authors answered."""

    def as_question(self) -> EvaluationQuestion:
        """Answerable unless the passages don't answer it; the kinds between have to be told apart before."""
        answerable = self.answerability != "UNANSWERABLE"
        return EvaluationQuestion(
            id=self.id,
            question=self.question,
            answers=(self.reply,) if answerable else (),
            answerable=answerable,
            history=tuple(HistoryMessage(role=item.role, content=item.content) for item in self.history),
            group=self.id,
        )


def folder() -> Path:
    """Where the conversations lie; ends the program with a word of advice where they don't."""
    path = Path(os.environ.get(DATA, "")) / "mtrag"
    if not (path / "reference.jsonl").is_file():
        sys.exit(f"{path / 'reference.jsonl'} is missing; set {DATA} to a folder that holds MTRAG-UN in `mtrag/`")
    return path


def conversations() -> list[Conversation]:
    return [
        Conversation(
            id=task["task_id"],
            domain=task["Collection"],
            answerability=task["answerability"][0],
            question=task["input"][-1]["text"].strip(),
            history=tuple(
                Message("user" if turn["speaker"] == "user" else "assistant", turn["text"])
                for turn in task["input"][:-1]
            ),
            reply=task["targets"][0]["text"],
            gold=frozenset(_source(passage["document_id"]) for passage in task["contexts"]),
        )
        for task in _tasks()
    ]


def write_passages(target: Path) -> None:
    """One text file for each passage of any conversation."""
    target.mkdir(parents=True, exist_ok=True)
    for task in _tasks():
        for passage in task["contexts"]:
            (target / _source(passage["document_id"])).write_text(passage["text"].strip() + "\n", "utf-8")


def _tasks() -> Iterable[dict]:  # type: ignore[type-arg]
    lines = (folder() / "reference.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _source(document_id: str) -> str:
    return f"{document_id}.txt"
