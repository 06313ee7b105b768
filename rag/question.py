"""A question, and what gathers while it is answered: the state that the steps of the answer flow fill in turn."""

import time
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from rag.interfaces import Retriever
from rag.packing import Packed, contains
from rag.reading import Reader
from rag.types import (
    EVERYTHING,
    Collection,
    Evidence,
    Hit,
    Judgement,
    Message,
    PackingBudget,
    Prompt,
    Rewriting,
    Scope,
    Span,
    Turn,
)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, of which collection, how. ``None`` takes the configured value.

    ``history`` mixes turns this flow rendered (``Answer.turn``) and plain messages. ``instructions`` is a client's
    system text; it ranks below our rules. ``strategy`` may name an adapter: ``rag@name``.
    """

    text: str
    collection: str = "default"
    strategy: str | None = None
    history: tuple[Turn | Message, ...] = ()
    instructions: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    seed: int | None = None
    min_probability: float | None = None
    """Gate A's threshold."""
    gold: tuple[Span, ...] | None = None
    """The passages that the oracle strategy is shown: those that answer the question, none where nothing does."""
    scope: Scope = EVERYTHING
    """Outside it there is no collection."""


@dataclass(slots=True)
class Run:
    """What one question gathers on its way."""

    question: Question
    strategy: str
    adapter: str | None
    reader: Reader
    rewriting: Rewriting | None = None
    collection: Collection | None = None
    retriever: Retriever | None = None
    hits: tuple[Hit, ...] = ()
    term_weights: Mapping[str, float] = field(default_factory=dict)
    judgement: Judgement | None = None
    shown: tuple[Evidence, ...] = ()
    """The evidence of earlier turns that may be cited: its documents are still as they were, and the model sees it."""
    prompt: Prompt | None = None
    limit: int | None = None
    """Tokens there were for evidence; ``None`` without a model."""
    packed: Packed = field(default_factory=lambda: Packed((), (), 0))
    timings: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.timings[step] = self.timings.get(step, 0.0) + time.perf_counter() - start

    @property
    def query(self) -> str:
        """The question made to stand alone: what is searched for and judged."""
        return self.rewriting.query if self.rewriting is not None else self.question.text

    @property
    def earlier(self) -> tuple[Evidence, ...]:
        """The evidence of earlier turns, which the model sees."""
        return tuple(item for turn in self.question.history if isinstance(turn, Turn) for item in turn.evidence)

    @property
    def next_number(self) -> int:
        return max((item.number for item in self.earlier), default=0) + 1

    @property
    def citable(self) -> tuple[Evidence, ...]:
        return (*self.shown, *self.packed.evidence)

    @property
    def relevant(self) -> tuple[Evidence, ...]:
        """The passages of this question's hits, those that an earlier turn has shown included."""
        again = []
        for item in self.shown:
            scores = [hit.score for hit in self.hits if contains(item, hit.chunk)]
            if scores:
                again.append(replace(item, score=max(scores)))
        return (*again, *self.packed.evidence)

    def show(self, numbers: Set[int], passages: Iterable[Evidence]) -> None:
        """Make those of the passages with one of the numbers evidence of this question, behind what was packed."""
        added = tuple(item for item in passages if item.number in numbers)
        told = {chunk_id for item in added for chunk_id in item.chunk_ids}
        dropped = tuple(item for item in self.packed.dropped if item.chunk_id not in told)
        self.packed = replace(self.packed, evidence=(*self.packed.evidence, *added), dropped=dropped)

    def spent(self) -> PackingBudget:
        """What the evidence cost. Passages that were added behind it were shown to no model."""
        return PackingBudget(self.limit, self.packed.tokens, dict(self.packed.costs))
