"""``GET /v1/collections/{c}/documents``: what a collection holds and what could not be read.
``GET|DELETE /v1/collections/{c}/documents/{id}``: a document's text, or a window of it around a citation; removing it.
"""

from typing import Annotated

from fastapi import APIRouter, Query

from rag.build import Library
from rag.types import Document, DocumentInfo
from service.api.errors import RequestError
from service.api.identity import Caller, Editor, collection_for
from service.api.records import After, Deleted, DocumentInfoOut, DocumentList, FailureOut, Limit, seconds
from service.api.schemas import ERRORS, DocumentOut, PageOut, SectionOut
from service.api.threads import Threads

Offset = Annotated[int | None, Query(ge=0, le=2**53)]


def document_routes(library: Library, threads: Threads) -> APIRouter:
    router = APIRouter()

    @router.get("/v1/collections/{collection}/documents", responses=ERRORS)
    async def documents(
        caller: Caller, collection: str, failed: bool = False, limit: Limit = 100, after: After = None
    ) -> DocumentList:
        """By source; with ``failed`` those that could not be read instead, and ``after`` is a source then."""

        def page() -> tuple[list[DocumentInfoOut | FailureOut], bool]:
            found = collection_for(library.catalog, caller, collection)
            if failed:
                failures = [each for each in library.catalog.failures(found) if after is None or each.source > after]
                shown = [FailureOut(document=each.source, reason=each.reason) for each in failures[:limit]]
                return [*shown], len(failures) > limit
            last = None if after is None else library.catalog.document_info(found, after).source
            infos = library.catalog.documents(found, limit + 1, last)
            return [_info(each) for each in infos[:limit]], len(infos) > limit

        data, has_more = await threads.run(page)
        return DocumentList(collection=collection, data=data, has_more=has_more)

    @router.delete("/v1/collections/{collection}/documents/{document_id}", responses=ERRORS)
    async def remove(caller: Editor, collection: str, document_id: str) -> Deleted:
        """From all answers, at once."""

        def act() -> str:
            collection_for(library.catalog, caller, collection)
            return library.remove_document(collection, document_id, tenant=caller.tenant).id

        return Deleted(id=await threads.run(act))

    @router.get("/v1/collections/{collection}/documents/{document_id}", responses=ERRORS)
    async def document(
        caller: Caller,
        collection: str,
        document_id: str,
        start: Offset = None,
        end: Offset = None,
        around: Offset = None,
    ) -> DocumentOut:
        """``start`` and ``end`` choose a span in code points, ``around`` widens it on both sides; all of it without."""
        if start is not None and end is not None and start > end:
            raise RequestError(f"start is {start} but end is {end}; start must not be larger", "start")
        if around is not None and start is None and end is None:
            raise RequestError("around widens a span; send start or end with it", "around")
        found = await threads.run(library.document, collection, document_id, caller.scope)
        length = len(found.text)
        margin = around or 0
        first = min(max((start or 0) - margin, 0), length)
        last = min((length if end is None else end) + margin, length)
        return _window(found, collection, document_id, first, max(first, last))

    return router


def _info(each: DocumentInfo) -> DocumentInfoOut:
    return DocumentInfoOut(
        id=each.id,
        document=each.source,
        title=each.title,
        media_type=each.media_type,
        language=each.language,
        version=each.version,
        chunks=each.chunks,
        pages=each.pages,
        size_bytes=each.size_bytes,
        updated=seconds(each.updated_at),
    )


def _window(document: Document, collection: str, document_id: str, start: int, end: int) -> DocumentOut:
    def overlaps(first: int, last: int) -> bool:
        return first < end and last > start

    return DocumentOut(
        id=document_id,
        collection=collection,
        document=document.source,
        title=document.title,
        media_type=document.media_type,
        language=document.language,
        date=document.date,
        version=document.version,
        length=len(document.text),
        start=start,
        end=end,
        text=document.text[start:end],
        sections=[
            SectionOut(heading_path=list(each.heading_path), start=each.start, end=each.end)
            for each in document.sections
            if overlaps(each.start, each.end)
        ],
        pages=[
            PageOut(number=each.number, start=each.start, end=each.end, recognised=each.recognised)
            for each in document.pages
            if overlaps(each.start, each.end)
        ],
    )
