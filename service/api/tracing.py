"""How an answer came about, for clients that ask for it: what was searched, found, left out, and read by the model."""

from rag.types import Answer
from service.api.schemas import (
    ChannelOut,
    DroppedOut,
    FusedOut,
    NeighbourOut,
    PackingOut,
    TraceHit,
    TraceJudgement,
    TraceOut,
    TraceRewriting,
    TraceTokens,
)


def trace_of(answer: Answer) -> TraceOut:
    rewriting = answer.rewriting
    return TraceOut(
        search_query=answer.search_query,
        rewriting=None
        if rewriting is None
        else TraceRewriting(
            by=rewriting.by,
            note=rewriting.note,
            tokens=TraceTokens(
                prompt=rewriting.usage.prompt_tokens,
                cached=rewriting.usage.cached_tokens,
                completion=rewriting.usage.completion_tokens,
            ),
        ),
        judgement=None
        if answer.judgement is None
        else TraceJudgement(
            probability=answer.judgement.probability,
            threshold=answer.judgement.threshold,
            signals=dict(answer.judgement.signals),
            parts=dict(answer.judgement.parts),
        ),
        timings=dict(answer.timings),
        tokens=TraceTokens(
            prompt=answer.usage.prompt_tokens,
            cached=answer.usage.cached_tokens,
            completion=answer.usage.completion_tokens,
        ),
        hits=[
            TraceHit(
                chunk=hit.chunk.id,
                document=hit.chunk.source,
                document_id=hit.chunk.document_id,
                start=hit.chunk.start,
                end=hit.chunk.end,
                score=hit.score,
                score_name=hit.score_name,
                fused=None if hit.fused is None else FusedOut(rank=hit.fused.rank, score=hit.fused.score),
                channels={
                    name: ChannelOut(rank=place.rank, score=place.score, normalised=place.normalised)
                    for name, place in hit.channels.items()
                },
            )
            for hit in answer.hits
        ],
        dropped=[
            DroppedOut(
                chunk=each.chunk_id,
                document=each.source,
                reason=each.reason,
                because=each.because,
                similarity=each.similarity,
                tokens=each.tokens,
            )
            for each in answer.dropped
        ],
        neighbours=[
            NeighbourOut(chunk=each.chunk_id, document=each.source, beside=each.beside) for each in answer.neighbours
        ],
        packing=None
        if answer.packing is None
        else PackingOut(
            limit=answer.packing.limit, used=answer.packing.used, by_passage=dict(answer.packing.by_passage)
        ),
    )
