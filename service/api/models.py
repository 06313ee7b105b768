"""``GET /v1/models`` and ``GET /v1/collections``: what can be asked, and about which documents."""

import time

from fastapi import APIRouter

from rag.build import Library
from service.api.identity import Caller
from service.api.schemas import ERRORS, CollectionList, CollectionOut, ModelList, ModelOut
from service.api.threads import Threads


def model_routes(library: Library, threads: Threads) -> APIRouter:
    router = APIRouter()
    started = int(time.time())

    @router.get("/v1/models", responses=ERRORS)
    async def models(caller: Caller) -> ModelList:
        configured = library.settings.answering.strategy
        names = await threads.run(library.strategies, caller.scope)
        names.sort(key=lambda name: name != configured)  # stable: only the configured one moves, to the front
        return ModelList(data=[ModelOut(id=name, created=started) for name in names])

    @router.get("/v1/collections", responses=ERRORS)
    async def collections(caller: Caller) -> CollectionList:
        return CollectionList(
            data=[
                CollectionOut(name=each.name, embedding_model=each.embedding_model, dimension=each.dimension)
                for each in await threads.run(library.collections, caller.scope)
            ]
        )

    return router
