"""What cleaning did: in, out and why, by family and by source; every dropped example by its id."""

from collections import Counter
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from finetune.examples import Family

Reason = Literal[
    "contamination",
    "language",
    "length",
    "repetition",
    "boilerplate",
    "personal data",
    "exact duplicate",
    "near duplicate",
]


class Dropped(BaseModel):
    """An example that was left out. ``detail`` is what decided: a language, a length, another example's id."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    source: str
    family: Family
    reason: Reason
    detail: str


class Counts(BaseModel):
    """Of one source, or of one family."""

    model_config = ConfigDict(extra="forbid")

    read: int = 0
    kept: int = 0
    changed: int = 0
    """Kept, and mended on the way: normalised, or without boilerplate or personal data."""
    dropped: dict[Reason, int] = Field(default_factory=dict)

    @property
    def share_kept(self) -> float:
        return self.kept / self.read if self.read else 0.0


class CleaningReport(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    rules: dict[str, object]
    """The standard that was applied, to both families."""
    inputs: list[dict[str, object]] = Field(default_factory=list)
    against: list[dict[str, object]] = Field(default_factory=list)
    """The question files that the examples were compared with: path, sha256, questions."""
    families: dict[str, Counts] = Field(default_factory=dict)
    sources: dict[str, Counts] = Field(default_factory=dict)
    dropped: list[Dropped] = Field(default_factory=list)

    @property
    def kept(self) -> int:
        return sum(counts.kept for counts in self.sources.values())

    @property
    def read(self) -> int:
        return sum(counts.read for counts in self.sources.values())

    def in_words(self) -> str:
        """A text for people: a line a source, then the reasons."""
        width = max([len(name) for name in self.sources] + [6])
        lines = [f"{'source':<{width}}  {'in':>8}  {'out':>8}  {'mended':>8}  why not"]
        for name, counts in self.sources.items():
            reasons = ", ".join(f"{count} {reason}" for reason, count in counts.dropped.items()) or "-"
            lines.append(f"{name:<{width}}  {counts.read:>8}  {counts.kept:>8}  {counts.changed:>8}  {reasons}")
        for name, counts in self.families.items():
            lines.append(f"{name}: {counts.kept} of {counts.read} kept ({counts.share_kept:.1%})")
        return "\n".join(lines) + "\n"


class Tally:
    """Counts while a run goes on."""

    def __init__(self) -> None:
        self.sources: dict[str, Counts] = {}
        self.families: dict[str, Counts] = {}
        self.dropped: list[Dropped] = []

    def read(self, source: str, family: Family) -> None:
        for counts in self._of(source, family):
            counts.read += 1

    def kept(self, source: str, family: Family, *, changed: bool) -> None:
        for counts in self._of(source, family):
            counts.kept += 1
            counts.changed += changed

    def drop(self, dropped: Dropped) -> None:
        self.dropped.append(dropped)
        for counts in self._of(dropped.source, dropped.family):
            counts.dropped = dict(sorted((Counter(counts.dropped) + Counter({dropped.reason: 1})).items()))

    def _of(self, source: str, family: Family) -> tuple[Counts, Counts]:
        return self.sources.setdefault(source, Counts()), self.families.setdefault(family, Counts())
