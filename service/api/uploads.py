"""``POST /v1/collections/{c}/documents``: files to the disk as they come, then a job that reads them.

A file is never held in memory. Nothing of an upload that is refused or broken off stays.
"""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, BinaryIO

from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect

from rag.build import Library
from rag.config import JobSettings
from rag.errors import BusyError, UsageError
from service.api.errors import RequestError
from service.api.identity import Editor, collection_for
from service.api.jobs import job_out
from service.api.multipart import MultipartReader, PartData, PartEnd, PartStart, boundary_of
from service.api.records import JobOut
from service.api.schemas import ERRORS
from service.api.streaming import CLIENT_GONE, STALLED_S
from service.api.threads import Threads
from service.jobs.names import source_of
from service.jobs.spool import Incoming, Spool, write

_BUSY_RETRY_S = 5.0

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "array", "items": {"type": "string", "contentMediaType": "*/*"}},
                    },
                }
            }
        },
    }
}


def upload_routes(library: Library, wake: Callable[[], None]) -> APIRouter:
    """``wake`` tells whoever runs the jobs that there is one."""
    router = APIRouter()
    settings = library.settings.jobs
    # Apart from the other routes' threads: a slow disk must not hold up searches.
    threads = Threads(2)
    under_way = 0

    @router.post(
        "/v1/collections/{collection}/documents",
        status_code=202,
        responses=ERRORS,
        openapi_extra=_BODY,
        response_model=JobOut,
    )
    async def upload(caller: Editor, collection: str, request: Request, response: Response) -> JobOut | Response:
        """Take files in; the answer is the job that reads them. A file of a known name is a new version of it."""
        nonlocal under_way
        boundary = boundary_of(request.headers.get("content-type", ""))
        if boundary is None:
            raise RequestError(
                "files are uploaded as multipart/form-data with a boundary",
                "content-type",
                "unsupported_media_type",
                415,
            )
        found = await threads.run(collection_for, library.catalog, caller, collection)
        await threads.run(library.catalog.jobs.check_room, found, settings.max_queued)
        if under_way >= settings.max_uploads:
            raise BusyError(f"{under_way} uploads are under way, which is all that is taken at once", _BUSY_RETRY_S)
        under_way += 1
        try:
            job_id = f"job_{uuid.uuid4().hex}"
            incoming = await threads.run(Spool(library.home).receive, job_id)
            with incoming:
                files = await _Receiving(incoming, settings, threads).receive(request, boundary)
                await threads.run(incoming.commit)
                job = await threads.run(library.catalog.jobs.add, job_id, found, files, settings.max_queued)
        except ClientDisconnect:
            return Response(status_code=CLIENT_GONE)
        finally:
            under_way -= 1
        wake()
        response.headers["Location"] = f"/v1/jobs/{job.id}"
        return job_out(job)

    return router


class _Receiving:
    """One upload, part by part."""

    def __init__(self, incoming: Incoming, settings: JobSettings, threads: Threads) -> None:
        self._incoming = incoming
        self._settings = settings
        self._threads = threads
        self._files: dict[str, int] = {}
        self._source = ""
        self._file: BinaryIO | None = None
        self._total = 0

    async def receive(self, request: Request, boundary: bytes) -> Sequence[tuple[str, int]]:
        """Source and size of each file, in order, once all are on the disk."""
        reader = MultipartReader(boundary)
        try:
            pieces = request.stream()
            while (data := await self._next(pieces)) is not None:
                for event in reader.feed(data):
                    await self._take(event)
            reader.close()
        finally:
            if self._file is not None:
                self._file.close()
        if not self._files:
            raise RequestError("the upload holds no file; send each as a part with a file name", "file", status=422)
        return list(self._files.items())

    async def _next(self, pieces: AsyncGenerator[bytes, None]) -> bytes | None:
        """A client that sends nothing for a while would hold an upload's place for nobody."""
        try:
            async with asyncio.timeout(STALLED_S):
                return await anext(pieces, None)
        except TimeoutError:
            raise RequestError(f"nothing came for {STALLED_S:g} s; upload again", None, "timeout", 408) from None

    async def _take(self, event: PartStart | PartData | PartEnd) -> None:
        match event:
            case PartStart():
                self._begin(event)
                self._file = await self._threads.run(self._incoming.new_file)
            case PartData(data):
                assert self._file is not None
                self._check_size(len(data))
                await self._threads.run(write, self._file, data)
            case PartEnd():
                assert self._file is not None
                file, self._file = self._file, None
                await self._threads.run(self._incoming.finish, file)

    def _begin(self, part: PartStart) -> None:
        if part.filename is None:
            raise RequestError(
                f"there is no field {part.name[:60]!r}; every part is a file", part.name[:60], status=422
            )
        try:
            source = source_of(part.filename)
        except UsageError as error:
            raise RequestError(str(error), part.name, "invalid_file_name", 422) from error
        if source in self._files:
            raise RequestError(f"two files of this upload are named {source!r}", part.name, "invalid_file_name", 422)
        if len(self._files) >= self._settings.max_files:
            raise _too_large(f"more than {self._settings.max_files} files; upload the rest by itself")
        self._files[source], self._source = 0, source

    def _check_size(self, more: int) -> None:
        self._files[self._source] += more
        self._total += more
        if self._files[self._source] > self._settings.max_file_mb * 1_000_000:
            raise _too_large(f"{self._source!r} is larger than {self._settings.max_file_mb:g} MB")
        if self._total > self._settings.max_upload_mb * 1_000_000:
            raise _too_large(
                f"the files together are larger than {self._settings.max_upload_mb:g} MB; upload some later"
            )


def _too_large(message: str) -> RequestError:
    return RequestError(message, "file", "too_large", 413)
