"""``POST /v1/search``: retrieval alone, without a model."""

from fastapi import APIRouter

from rag.build import Library
from rag.types import Hit
from service.api.identity import Caller
from service.api.schemas import ERRORS, ChannelOut, HitOut, SearchRequest, SearchResult
from service.api.threads import Threads


def search_routes(library: Library, threads: Threads) -> APIRouter:
    router = APIRouter()

    @router.post("/v1/search", responses=ERRORS)
    async def search(body: SearchRequest, caller: Caller) -> SearchResult:
        top_k = body.top_k or library.settings.retrieval.top_k
        hits = await threads.run(library.search, body.query, body.collection, top_k, caller.scope)
        return SearchResult(collection=body.collection, query=body.query, hits=[_hit(each) for each in hits])

    return router


def _hit(hit: Hit) -> HitOut:
    chunk = hit.chunk
    return HitOut(
        document=chunk.source,
        document_id=chunk.document_id,
        title=chunk.title,
        page=chunk.page,
        heading_path=list(chunk.heading_path),
        start=chunk.start,
        end=chunk.end,
        score=hit.score,
        score_name=hit.score_name,
        text=chunk.text,
        channels={
            name: ChannelOut(rank=each.rank, score=each.score, normalised=each.normalised)
            for name, each in hit.channels.items()
        },
    )
