"""How well the gold spans were found, shown and cited: by span overlap, so that chunking makes no difference.

A span covers another one where it holds at least half of it. Ranked measures are ir-measures' own.
"""

from collections.abc import Sequence

import ir_measures
from ir_measures import RR, nDCG

from rag.evaluation.records import SpanRecord

DEPTH = 10
"""Of nDCG and of the reciprocal rank."""


def covers(span: SpanRecord, gold: SpanRecord) -> bool:
    overlap = min(span.end, gold.end) - max(span.start, gold.start)
    return span.document == gold.document and overlap > 0 and 2 * overlap >= gold.end - gold.start


def recall(spans: Sequence[SpanRecord], gold: Sequence[SpanRecord]) -> float | None:
    """Share of the gold spans that one of the spans covers; ``None`` without gold."""
    if not gold:
        return None
    return sum(any(covers(span, each) for span in spans) for each in gold) / len(gold)


def citation_precision(citations: Sequence[SpanRecord], gold: Sequence[SpanRecord]) -> float | None:
    """Share of the citations that touch a gold span; ``None`` without gold or citations.

    A quote is a sentence, and may be part of a long gold span or hold a short one: half of the shorter one counts.
    """
    if not gold or not citations:
        return None
    return sum(any(_touches(each, span) for span in gold) for each in citations) / len(citations)


def citation_recall(citations: Sequence[SpanRecord], gold: Sequence[SpanRecord]) -> float | None:
    """Share of the gold spans that a citation touches; ``None`` without gold."""
    if not gold:
        return None
    return sum(any(_touches(each, span) for each in citations) for span in gold) / len(gold)


def ranked(retrieved: Sequence[Sequence[SpanRecord]], golds: Sequence[Sequence[SpanRecord]]) -> list[dict[str, float]]:
    """``mrr`` and ``ndcg`` of each question's hits, best first. Every question has gold.

    A hit's gain is the number of gold spans that it is the first to cover; one that repeats what an earlier hit
    covers gains nothing.
    """
    qrels: dict[str, dict[str, int]] = {}
    run: dict[str, dict[str, float]] = {}
    for number, (hits, gold) in enumerate(zip(retrieved, golds, strict=True)):
        left = list(gold)
        judged: dict[str, int] = {}
        for rank, hit in enumerate(hits):
            new = [each for each in left if covers(hit, each)]
            left = [each for each in left if each not in new]
            if new:
                judged[f"hit {rank}"] = len(new)
        judged |= {f"missed {at}": 1 for at in range(len(left))}
        qrels[str(number)] = judged
        run[str(number)] = {f"hit {rank}": float(len(hits) - rank) for rank in range(len(hits))}
    measures = {"mrr": RR @ DEPTH, "ndcg": nDCG @ DEPTH}
    found = [dict.fromkeys(measures, 0.0) for _ in golds]
    names = {measure: name for name, measure in measures.items()}
    for metric in ir_measures.iter_calc(list(measures.values()), qrels, run):
        found[int(metric.query_id)][names[metric.measure]] = float(metric.value)
    return found


def _touches(citation: SpanRecord, gold: SpanRecord) -> bool:
    return covers(citation, gold) or covers(gold, citation)
