"""The general probe: what everybody knows, as multiple choice. It says how to read it, not how it is answered.

An item is right where its right option is the most likely continuation of its prompt, by the mean over the option's
bytes: options differ in length, and a sum would prefer the short ones.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rag.errors import UsageError

PROBE = "probe.jsonl"
TEXTS = "heldout.txt"


class ProbeItem(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1)
    family: str
    group: str
    """Items of a group were made alike, so they are not independent of each other."""
    prompt: str = Field(min_length=1)
    options: tuple[str, ...] = Field(min_length=2)
    answer: int = Field(ge=0)
    """Of the options, from 0."""

    @model_validator(mode="after")
    def _answer_is_an_option(self) -> "ProbeItem":
        if self.answer >= len(self.options) or len(set(self.options)) != len(self.options):
            raise ValueError("the options differ from each other and the answer is one of them")
        return self


@dataclass(frozen=True, slots=True)
class Probe:
    """``texts`` are held-out paragraphs for bits per byte, ``sha256`` of both files' bytes."""

    items: tuple[ProbeItem, ...]
    texts: tuple[str, ...]
    sha256: str


def probe_folder() -> Path:
    """Where the shipped probe lies: in the package when installed, in ``data/`` in a checkout."""
    installed = Path(__file__).parent / "general"
    return installed if installed.is_dir() else Path(__file__).parent.parent / "data" / "general"


def read_probe(folder: Path) -> Probe:
    """Raises ``UsageError`` naming file, line and fault; a repeated id is a fault."""
    try:
        raw = (folder / PROBE).read_bytes()
        held_out = (folder / TEXTS).read_bytes()
        lines, paragraphs = raw.decode().splitlines(), held_out.decode().split("\n\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the general probe in {folder} cannot be read: {error}") from error
    items: dict[str, ProbeItem] = {}
    for number, line in enumerate(lines, start=1):
        try:
            item = ProbeItem.model_validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the item"
            raise UsageError(f"{folder / PROBE}, line {number}: {where}: {first['msg']}") from error
        if item.id in items:
            raise UsageError(f"{folder / PROBE}, line {number}: the id {item.id!r} was used before")
        items[item.id] = item
    texts = tuple(" ".join(paragraph.split()) for paragraph in paragraphs if paragraph.strip())
    return Probe(tuple(items.values()), texts, hashlib.sha256(raw + held_out).hexdigest())


def is_right(item: ProbeItem, likelihoods: Sequence[float]) -> bool:
    """``likelihoods`` are the options' sums of log probabilities. A tie with another option is wrong."""
    means = [value / len(option.encode()) for value, option in zip(likelihoods, item.options, strict=True)]
    best = means[item.answer]
    return all(best > other for at, other in enumerate(means) if at != item.answer)
