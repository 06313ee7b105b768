"""Hits to numbered evidence within a token budget: duplicates dropped, neighbours merged, the rest named.

Knows nothing of retrieval or models; counts with the counter it is given. The order of the passages decides what
questions that share evidence have in common at the start of their prompts: see ``Order``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rag.interfaces import TokenCounter
from rag.prompting import render_evidence
from rag.types import Document, Dropped, Evidence, Hit, StoredChunk

ReadSpan = Callable[[str, str, int, int], str]
"""(document id, version, start, end) to the document's verbatim text there."""

Order = Literal["document", "score", "best-document"]
"""`document`: by source and place, whatever the scores. `score`: best first. `best-document`: the document with the
best passage first, and within a document by place."""

_MERGE_GAP = 8
"""Chunks of one document this many characters apart, with only white space between, are one passage."""


@dataclass(frozen=True, slots=True)
class Packed:
    """``tokens`` counts the rendered evidence together."""

    evidence: tuple[Evidence, ...]
    dropped: tuple[Dropped, ...]
    tokens: int


def pack(
    hits: Sequence[Hit],
    *,
    budget_tokens: int,
    counter: TokenCounter,
    read_span: ReadSpan,
    order: Order = "document",
    shown: Sequence[Evidence] = (),
    first: int = 1,
) -> Packed:
    """Take hits best first while the rendered evidence stays within ``budget_tokens``.

    ``shown`` is the evidence of earlier turns: what lies inside it is not shown again, and numbers go on
    after it, from ``first`` at least. A hit that does not fit is dropped whole and the next one tried.
    """
    passages: list[Evidence] = []
    dropped: list[Dropped] = []
    seen_texts = {_normalised(item.text) for item in shown}
    tokens = 0
    costs: dict[Evidence, int] = {}
    for hit in hits:
        chunk = hit.chunk
        inside = any(contains(item, chunk) for item in (*shown, *passages))
        if inside or _normalised(chunk.text) in seen_texts:
            dropped.append(Dropped(chunk.id, chunk.source, "duplicate"))
            continue
        merged, rest = _merge(_passage(hit), passages, read_span)
        costs[merged] = _cost(merged, counter)
        cost = sum(costs[item] for item in (*rest, merged))
        if cost > budget_tokens:
            dropped.append(Dropped(chunk.id, chunk.source, "budget"))
            continue
        if len(merged.chunk_ids) > 1:
            dropped.append(Dropped(chunk.id, chunk.source, "merged"))
        seen_texts.add(_normalised(chunk.text))
        passages, tokens = [*rest, merged], cost
    return Packed(numbered(passages, _next_number(shown, first), order), tuple(dropped), tokens)


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
    wholly_shown = {(item.document_id, item.version, item.start, item.end) for item in shown}
    passages: list[Evidence] = []
    dropped: list[Dropped] = []
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
            dropped.append(Dropped(document_id, document.source, "duplicate"))
            continue
        cost = _cost(passage, counter)
        if tokens + cost > budget_tokens:
            dropped.append(Dropped(document_id, document.source, "budget"))
            continue
        passages.append(passage)
        tokens += cost
    return Packed(numbered(passages, _next_number(shown, first), "document"), tuple(dropped), tokens)


def numbered(passages: Sequence[Evidence], first: int, order: Order) -> tuple[Evidence, ...]:
    """Put passages in the order of the policy and number them from ``first``."""
    if order == "score":
        ordered = sorted(passages, key=lambda item: (-item.score, item.source, item.start))
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
    return (
        (passage.document_id, passage.version) == (chunk.document_id, chunk.version)
        and passage.start <= chunk.start
        and chunk.end <= passage.end
    )


_WIDEST_NUMBER = 999
"""Costs are counted before numbers are known; a three-digit number is never cheaper than the real one."""


def _next_number(shown: Sequence[Evidence], first: int) -> int:
    return max([first, *(item.number + 1 for item in shown)])


def _passage(hit: Hit) -> Evidence:
    chunk = hit.chunk
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
        score=hit.score,
        date=chunk.date,
    )


def _merge(new: Evidence, passages: Sequence[Evidence], read_span: ReadSpan) -> tuple[Evidence, list[Evidence]]:
    """Join ``new`` with every passage it overlaps or touches; return the joined one and the untouched rest."""
    rest: list[Evidence] = []
    for old in passages:
        if not _touches(old, new, read_span):
            rest.append(old)
            continue
        first, last = sorted((old, new), key=lambda item: item.start)
        end = max(first.end, last.end)
        new = replace(
            first,
            end=end,
            text=read_span(first.document_id, first.version, first.start, end),
            chunk_ids=(*first.chunk_ids, *last.chunk_ids),
            score=max(first.score, last.score),
        )
    return new, rest


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


def _normalised(text: str) -> str:
    return " ".join(text.casefold().split())
