"""``POST /v1/collections``, ``DELETE /v1/collections/{c}``: sets of documents, made and deleted. Needs an admin."""

from fastapi import APIRouter, Response

from rag.build import Library
from rag.errors import ConflictError
from service.api.errors import ForbiddenError
from service.api.identity import Admin, collection_for
from service.api.records import CollectionRequest, Deleted
from service.api.schemas import ERRORS, CollectionOut
from service.api.threads import Threads


def collection_routes(library: Library, threads: Threads) -> APIRouter:
    router = APIRouter()

    @router.post("/v1/collections", status_code=201, responses=ERRORS)
    async def create(caller: Admin, body: CollectionRequest, response: Response) -> CollectionOut:
        """An empty collection for the configured embedding model; 409 where there is one of that name."""
        if not caller.may_see(body.name):
            raise ForbiddenError(f"the key in use may not name a collection {body.name!r}")
        made = await threads.run(library.create_collection, body.name, tenant=caller.tenant)
        response.headers["Location"] = f"/v1/collections/{made.name}"
        return CollectionOut(name=made.name, embedding_model=made.embedding_model, dimension=made.dimension)

    @router.delete("/v1/collections/{collection}", responses=ERRORS)
    async def delete(caller: Admin, collection: str) -> Deleted:
        """With all its documents; 409 while files are read into it."""

        def act() -> None:
            found = collection_for(library.catalog, caller, collection)
            running = [job for job in library.catalog.job_queue.running() if job.collection_id == found.id]
            if running:
                raise ConflictError(
                    f"job {running[0].id} is reading into {collection!r}; cancel it, or wait for its end"
                )
            library.delete_collection(collection, tenant=caller.tenant)

        await threads.run(act)
        return Deleted(id=collection)

    return router
