"""Facts: a question, its answer and the words of the document that say so. JSONL, one fact a line.

Both kinds of training example are made of them, the grounded ones and the closed-book ones: two adapters learn the
same facts. Files are written by ``domainqa finetune synthesize``.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rag.errors import UsageError


class Fact(BaseModel):
    """A question that one document answers. ``quote`` is verbatim: ``document.text[span[0]:span[1]]``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1)
    question: str = Field(min_length=1)
    answer: str = Field(min_length=1)
    quote: str = Field(min_length=1)
    document: str
    """The document's source."""
    document_id: str | None = None
    """Its id in the catalog."""
    version: str | None = None
    span: tuple[int, int] | None = None
    """Code points of the document's text, end exclusive."""
    language: str
    """ISO 639-1, of the question and the answer."""
    group: str
    """What must not be torn apart by a split."""
    fact_key: str | None = None
    """What the question asks for, in whatever words: several wordings share it."""
    kind: str
    """How it was made: ``table``, ``definition``, ``key-value``, or a question type of the synthesis by a model."""

    @model_validator(mode="after")
    def _span_fits(self) -> "Fact":
        if self.span is not None and self.span[1] - self.span[0] != len(self.quote):
            raise ValueError(f"the span {self.span} is not as long as the quote of {len(self.quote)} characters")
        return self


def read_facts(path: Path) -> Iterator[Fact]:
    """The facts in order. Raises ``UsageError`` naming file, line and fault; a repeated id is a fault."""
    seen: set[str] = set()
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    fact = Fact.model_validate_json(line)
                except ValidationError as error:
                    first = error.errors()[0]
                    where = ".".join(str(part) for part in first["loc"]) or "the line"
                    raise UsageError(f"{path}, line {number}: {where}: {first['msg']}") from error
                if fact.id in seen:
                    raise UsageError(f"{path}, line {number}: the id {fact.id!r} was used before")
                seen.add(fact.id)
                yield fact
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as facts: {error}") from error


def write_facts(path: Path, facts: Iterable[Fact]) -> int:
    """Replace ``path`` in one step; returns how many were written. The same facts give the same bytes."""
    staged = path.with_name(f".{path.name}.staged")
    count = 0
    with staged.open("w", encoding="utf-8") as file:
        for count, fact in enumerate(facts, start=1):  # noqa: B007 - the count is what is returned
            file.write(json.dumps(fact.model_dump(exclude_defaults=True), ensure_ascii=False) + "\n")
    staged.replace(path)
    return count
