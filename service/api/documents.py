"""``GET /v1/collections/{c}/documents/{id}``: a document's text, or a window of it around a citation."""

from typing import Annotated

from fastapi import APIRouter, Query

from rag.build import Library
from rag.types import Document
from service.api.errors import RequestError
from service.api.identity import Caller
from service.api.schemas import ERRORS, DocumentOut, PageOut, SectionOut
from service.api.threads import Threads

Offset = Annotated[int | None, Query(ge=0, le=2**53)]


def document_routes(library: Library, threads: Threads) -> APIRouter:
    router = APIRouter()

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
            PageOut(number=each.number, start=each.start, end=each.end)
            for each in document.pages
            if overlaps(each.start, each.end)
        ],
    )
