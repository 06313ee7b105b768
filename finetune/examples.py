"""Training examples: JSONL, one example a line, whatever source they came from.

An example is a dialogue (``messages``) or, for pretraining, raw ``text``. What it was made from goes with it:
leakage audits, erasure and the spike guard ask for facts, documents and sources.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rag.errors import UsageError

Family = Literal["domain", "general"]


class ExampleMessage(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Literal["system", "user", "assistant"]
    content: str


class Provenance(BaseModel):
    """What an example was made from, as far as it is known."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    document: str | None = None
    """The document's id in the catalog, or its source where there is no catalog."""
    version: str | None = None
    span: tuple[int, int] | None = None
    """Code points of the document's text, end exclusive."""
    fact_key: str | None = None


class TrainingExample(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1)
    messages: tuple[ExampleMessage, ...] = ()
    text: str | None = None
    """Raw text for pretraining; then there are no messages."""
    source: str
    """The name of the source it came from: the spike guard keeps one history of losses per source."""
    family: Family
    group: str
    """What must not be torn apart by a split: a document, an article, a conversation."""
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    provenance: Provenance = Provenance()
    prompt_fingerprint: str | None = None
    """Set where the prompt was built as the server builds it."""

    @model_validator(mode="after")
    def _one_kind(self) -> "TrainingExample":
        if (self.text is None) == (not self.messages):
            raise ValueError("an example has either messages or text")
        if self.messages and self.messages[-1].role != "assistant":
            raise ValueError("a dialogue ends with the assistant's message, which is what is learnt")
        return self


def read_examples(path: Path) -> Iterator[TrainingExample]:
    """The examples in order. Raises ``UsageError`` naming file, line and fault; a repeated id is a fault."""
    seen: set[str] = set()
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    example = TrainingExample.model_validate_json(line)
                except ValidationError as error:
                    first = error.errors()[0]
                    where = ".".join(str(part) for part in first["loc"]) or "the line"
                    raise UsageError(f"{path}, line {number}: {where}: {first['msg']}") from error
                if example.id in seen:
                    raise UsageError(f"{path}, line {number}: the id {example.id!r} was used before")
                seen.add(example.id)
                yield example
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as examples: {error}") from error


def write_examples(path: Path, examples: Iterable[TrainingExample]) -> int:
    """Replace ``path`` in one step; returns how many were written. The same examples give the same bytes."""
    staged = path.with_name(f".{path.name}.staged")
    count = 0
    with staged.open("w", encoding="utf-8") as file:
        for count, example in enumerate(examples, start=1):  # noqa: B007 - the count is what is returned
            file.write(json.dumps(example.model_dump(exclude_defaults=True), ensure_ascii=False) + "\n")
    staged.replace(path)
    return count
