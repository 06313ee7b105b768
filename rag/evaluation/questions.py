"""Question files: JSONL, one question a line. Evidence is named by source and quote, so re-chunking breaks nothing."""

import json
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rag.errors import UsageError
from rag.types import Message


class QuotedEvidence(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    document: str
    """The document's source."""
    quote: str
    """A verbatim piece of its text."""


class HistoryMessage(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    role: str = Field(pattern="^(user|assistant)$")
    content: str


class EvaluationQuestion(BaseModel):
    """A question with its accepted answers. Unanswerable ones have neither answers nor evidence."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    question: str = Field(min_length=1)
    answers: tuple[str, ...] = ()
    evidence: tuple[QuotedEvidence, ...] = ()
    answerable: bool = True
    history: tuple[HistoryMessage, ...] = ()
    tags: tuple[str, ...] = ()
    group: str = ""
    fact_key: str = ""
    language: str = "en"
    split: str = ""

    @model_validator(mode="after")
    def _answers_match(self) -> "EvaluationQuestion":
        if self.answerable != bool(self.answers):
            raise ValueError("an answerable question has answers and an unanswerable one has none")
        return self

    @property
    def messages(self) -> tuple[Message, ...]:
        return tuple(Message("user" if item.role == "user" else "assistant", item.content) for item in self.history)


def read_questions(path: Path) -> list[EvaluationQuestion]:
    """Raises ``UsageError`` naming file, line and fault; blank lines are skipped, a repeated id is a fault."""
    questions: dict[str, EvaluationQuestion] = {}
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            question = EvaluationQuestion.model_validate(json.loads(line))
        except json.JSONDecodeError as error:
            raise UsageError(f"{path}, line {number}: not JSON: {error}") from error
        except ValidationError as error:
            faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'question'}: {e['msg']}" for e in error.errors())
            raise UsageError(f"{path}, line {number}: {faults}") from error
        if question.id in questions:
            raise UsageError(f"{path}, line {number}: the id {question.id!r} stands twice")
        questions[question.id] = question
    return list(questions.values())


def _lines(path: Path) -> Iterable[str]:
    try:
        # Split at line feeds only: str.splitlines would cut a JSON string at U+2028.
        return path.read_text("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the question file {path} cannot be read: {error}") from error
