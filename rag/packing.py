"""Hits to numbered evidence within a token budget: duplicates dropped, neighbours merged, the rest named.

Knows nothing of retrieval or models; counts with the counter it is given. The order of the passages decides what
questions that share evidence have in common at the start of their prompts: see ``Order``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rag.duplicates import Seen
from rag.interfaces import TokenCounter
from rag.prompting import render_evidence
from rag.types import Document, Dropped, Evidence, Hit, Neighbour, StoredChunk

ReadSpan = Callable[[str, str, int, int], str]
"""(document id, version, start, end) to the document's verbatim text there."""

Beside = Callable[[StoredChunk], Sequence[StoredChunk]]
"""A chunk to those before and after it in its section, the nearest first."""

Order = Literal["document", "score", "edges", "best-document"]
"""`document`: by source and place, whatever the scores. `score`: best first. `edges`: the best first, the second best
last, and so on inwards (Liu et al. 2023, arXiv 2307.03172). `best-document`: the document with the best passage first,
and within a document by place."""

_MERGE_GAP = 8
"""Chunks of one document this many characters apart, with only white space between, are one passage."""


@dataclass(frozen=True, slots=True)
class Packed:
    """``tokens`` counts the rendered evidence together, ``costs`` each passage by its number."""

    evidence: tuple[Evidence, ...]
    dropped: tuple[Dropped, ...]
    tokens: int
    neighbours: tuple[Neighbour, ...] = ()
    costs: tuple[tuple[int, int], ...] = ()


def pack(
    hits: Sequence[Hit],
    *,
    budget_tokens: int,
    counter: TokenCounter,
    read_span: ReadSpan,
    order: Order = "document",
    shown: Sequence[Evidence] = (),
    first: int = 1,
    beside: Beside | None = None,
    beside_share: float = 0.0,
) -> Packed:
    """Take hits best first while the rendered evidence stays within ``budget_tokens``.

    ``shown`` is the evidence of earlier turns: what lies inside it is not shown again, and numbers go on
    after it, from ``first`` at least. A hit that does not fit is dropped whole and the next one tried. What another
    passage says already is dropped (see ``duplicates``). Each hit that was taken takes its neighbours along, while all
    neighbours together cost no more than ``beside_share`` of the budget.
    """
    bench = _Bench(budget_tokens, counter, read_span, shown)
    room_beside = int(budget_tokens * beside_share)
    for hit in hits:
        # Without a share even a neighbour that costs nothing, being part of a word that is shown, stays out.
        if not bench.take(_passage(hit.chunk, hit.score)) or beside is None or not beside_share:
            continue
        for chunk in beside(hit.chunk):
            before = bench.tokens
            if bench.put_beside(_passage(chunk, hit.score), hit.chunk.id, room_beside):
                room_beside -= bench.tokens - before
    evidence = numbered(bench.passages, _next_number(shown, first), order)
    costs = {item.chunk_ids: cost for item, cost in bench.costs.items()}
    return Packed(
        evidence,
        tuple(bench.dropped),
        bench.tokens,
        tuple(bench.neighbours),
        tuple((item.number, costs[item.chunk_ids]) for item in evidence),
    )


def pack_documents(
    documents: Sequence[tuple[str, Document, float]],
    *,
    budget_tokens: int,
    counter: TokenCounter,
    shown: Sequence[Evidence] = (),
    first: int = 1,
) -> Packed:
    """Whole documents, given best first as (id, document, score), while they fit; one that doesn't is dropped whole.

    One that an earlier turn has ``shown`` whole is not shown again; numbers as in ``pack``.
    """
    wholly_shown = {(item.document_id, item.version, item.start, item.end): item for item in shown}
    passages: list[Evidence] = []
    dropped: list[Dropped] = []
    costs: dict[str, int] = {}
    tokens = 0
    for document_id, document, score in documents:
        passage = Evidence(
            number=_WIDEST_NUMBER,
            document_id=document_id,
            version=document.version,
            source=document.source,
            title=document.title,
            language=document.language,
            start=0,
            end=len(document.text),
            page=None,
            context="",
            text=document.text,
            chunk_ids=(),
            score=score,
            date=document.date,
        )
        if (document_id, document.version, 0, len(document.text)) in wholly_shown:
            dropped.append(Dropped(document_id, document.source, "duplicate", document_id))
            continue
        cost = _cost(passage, counter)
        if tokens + cost > budget_tokens:
            dropped.append(Dropped(document_id, document.source, "budget", tokens=cost))
            continue
        passages.append(passage)
        costs[document_id] = cost
        tokens += cost
    evidence = numbered(passages, _next_number(shown, first), "document")
    return Packed(
        evidence, tuple(dropped), tokens, costs=tuple((item.number, costs[item.document_id]) for item in evidence)
    )


def numbered(passages: Sequence[Evidence], first: int, order: Order) -> tuple[Evidence, ...]:
    """Put passages in the order of the policy and number them from ``first``."""
    by_score = sorted(passages, key=lambda item: (-item.score, item.source, item.start))
    if order == "score":
        ordered = by_score
    elif order == "edges":
        ordered = [*by_score[::2], *reversed(by_score[1::2])]
    elif order == "best-document":
        best: dict[str, float] = {}
        for item in passages:
            best[item.document_id] = max(item.score, best.get(item.document_id, item.score))
        ordered = sorted(
            passages, key=lambda item: (-best[item.document_id], item.source, item.document_id, item.start)
        )
    else:
        ordered = sorted(passages, key=lambda item: (item.source, item.document_id, item.start))
    return tuple(replace(item, number=first + index) for index, item in enumerate(ordered))


def contains(passage: Evidence, chunk: StoredChunk) -> bool:
    """Whether the chunk lies in the passage, both of the same version."""
    return _spans(passage, chunk.document_id, chunk.version, chunk.start, chunk.end)


_WIDEST_NUMBER = 999
"""Costs are counted before numbers are known; a three-digit number is never cheaper than the real one."""


class _Bench:
    """The passages so far, what they cost, and what became of everything else."""

    def __init__(
        self, budget_tokens: int, counter: TokenCounter, read_span: ReadSpan, shown: Sequence[Evidence]
    ) -> None:
        self.passages: list[Evidence] = []
        self.dropped: list[Dropped] = []
        self.neighbours: list[Neighbour] = []
        self.costs: dict[Evidence, int] = {}
        self.tokens = 0
        self._budget_tokens = budget_tokens
        self._counter = counter
        self._read_span = read_span
        self._shown = shown
        self._seen = Seen(shown)

    def take(self, new: Evidence) -> bool:
        """Make a passage of a hit's chunk, or say in ``dropped`` why not."""
        (chunk_id,) = new.chunk_ids
        holder = self._holder(new)
        if holder is not None:
            self.dropped.append(Dropped(chunk_id, new.source, "duplicate", _name(holder)))
            return False
        alike = self._seen.nearest(new)
        if alike is not None:
            reason: Literal["duplicate", "near-duplicate"] = "duplicate" if alike.is_same else "near-duplicate"
            similarity = None if alike.is_same else round(alike.similarity, 3)
            self.dropped.append(Dropped(chunk_id, new.source, reason, alike.chunk_id, similarity))
            return False
        merged, rest = self._merged(new)
        cost = self._cost_of(merged, rest)
        if cost > self._budget_tokens:
            own = cost - self.tokens
            self.dropped.append(Dropped(chunk_id, new.source, "budget", tokens=own))
            return False
        if len(merged.chunk_ids) > 1:
            into = next(each for each in merged.chunk_ids if each != chunk_id)
            self.dropped.append(Dropped(chunk_id, new.source, "merged", into))
        self._keep(new, merged, rest, cost)
        return True

    def put_beside(self, new: Evidence, beside: str, room: int) -> bool:
        """Join a neighbour to the passage it touches, if that costs ``room`` at most."""
        if self._holder(new) is not None:
            return False
        merged, rest = self._merged(new)
        cost = self._cost_of(merged, rest)
        # One that touches nothing stands beyond text that was not taken; it would be a passage that nobody searched.
        if len(rest) == len(self.passages) or cost - self.tokens > room or cost > self._budget_tokens:
            return False
        (chunk_id,) = new.chunk_ids
        self.neighbours.append(Neighbour(chunk_id, new.source, beside))
        self._keep(new, merged, rest, cost)
        return True

    def _keep(self, new: Evidence, merged: Evidence, rest: list[Evidence], cost: int) -> None:
        self._seen.add(new)
        self.passages, self.tokens = [*rest, merged], cost

    def _holder(self, new: Evidence) -> Evidence | None:
        return next(
            (
                item
                for item in (*self._shown, *self.passages)
                if _spans(item, new.document_id, new.version, new.start, new.end)
            ),
            None,
        )

    def _merged(self, new: Evidence) -> tuple[Evidence, list[Evidence]]:
        """Join ``new`` with every passage it overlaps or touches; the joined one and the untouched rest."""
        rest: list[Evidence] = []
        for old in self.passages:
            if not _touches(old, new, self._read_span):
                rest.append(old)
                continue
            first, last = sorted((old, new), key=lambda item: item.start)
            end = max(first.end, last.end)
            new = replace(
                first,
                end=end,
                text=self._read_span(first.document_id, first.version, first.start, end),
                chunk_ids=(*first.chunk_ids, *last.chunk_ids),
                score=max(first.score, last.score),
            )
        return new, rest

    def _cost_of(self, merged: Evidence, rest: Sequence[Evidence]) -> int:
        if merged not in self.costs:
            self.costs[merged] = _cost(merged, self._counter)
        return sum(self.costs[item] for item in (*rest, merged))


def _next_number(shown: Sequence[Evidence], first: int) -> int:
    return max([first, *(item.number + 1 for item in shown)])


def _name(passage: Evidence) -> str:
    return passage.chunk_ids[0] if passage.chunk_ids else passage.document_id


def _passage(chunk: StoredChunk, score: float) -> Evidence:
    return Evidence(
        number=_WIDEST_NUMBER,
        document_id=chunk.document_id,
        version=chunk.version,
        source=chunk.source,
        title=chunk.title,
        language=chunk.language,
        start=chunk.start,
        end=chunk.end,
        page=chunk.page,
        context=chunk.context,
        text=chunk.text,
        chunk_ids=(chunk.id,),
        score=score,
        date=chunk.date,
    )


def _spans(passage: Evidence, document_id: str, version: str, start: int, end: int) -> bool:
    same = (passage.document_id, passage.version) == (document_id, version)
    return same and passage.start <= start and end <= passage.end


def _touches(a: Evidence, b: Evidence, read_span: ReadSpan) -> bool:
    if (a.document_id, a.version) != (b.document_id, b.version):
        return False
    first, last = sorted((a, b), key=lambda item: item.start)
    gap = last.start - first.end
    if gap <= 0:
        return True
    return gap <= _MERGE_GAP and not read_span(a.document_id, a.version, first.end, last.start).strip()


def _cost(passage: Evidence, counter: TokenCounter) -> int:
    return counter.count_text(render_evidence(passage) + "\n")
