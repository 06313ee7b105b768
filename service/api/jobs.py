"""``GET /v1/jobs[/{id}]``, ``POST /v1/jobs/{id}/cancel``, ``GET /v1/jobs/{id}/events``: what became of uploads.

An event tells the job's whole state, and its id is the state's revision: whoever comes back with ``Last-Event-ID``
gets the newest state if it is another one, and has missed nothing. Once the job has ended there is a last event, `end`.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response

from rag.build import Library
from rag.catalog.jobs import Job
from rag.errors import NotFoundError
from service.api.identity import Caller, Editor, Principal
from service.api.records import After, FileCounts, JobDetail, JobFileOut, JobList, JobOut, Limit, seconds
from service.api.schemas import ERRORS
from service.api.streaming import EventStream
from service.api.threads import Threads

_POLL_S = 0.25


def job_routes(
    library: Library, threads: Threads, wake: Callable[[], None], stopping: Callable[[], bool], heartbeat_s: float
) -> APIRouter:
    """``stopping``: whether the service is on its way down, so that watchers are let go."""
    router = APIRouter()
    # Apart from the other routes' threads: watchers ask several times a second, and must not hold up searches.
    watching = Threads(1)

    def visible(caller: Principal, job_id: str) -> Job:
        job = library.catalog.jobs.get(job_id, caller.tenant)
        if not caller.may_see(job.collection):
            raise NotFoundError(f"there is no job {job_id!r}")
        return job

    @router.get("/v1/jobs", responses=ERRORS)
    async def jobs(caller: Caller, limit: Limit = 100, after: After = None) -> JobList:
        found = await threads.run(library.catalog.jobs.page, caller.tenant, limit + 1, after, caller.collections)
        return JobList(data=[job_out(job) for job in found[:limit]], has_more=len(found) > limit)

    @router.get("/v1/jobs/{job_id}", responses=ERRORS)
    async def job(caller: Caller, job_id: str) -> JobDetail:
        found = await threads.run(visible, caller, job_id)
        files = await threads.run(library.catalog.jobs.files, found)
        documents = [JobFileOut(document=file.source, state=file.state, reason=file.reason) for file in files]
        return JobDetail(**dict(job_out(found)), documents=documents)

    @router.post("/v1/jobs/{job_id}/cancel", responses=ERRORS)
    async def cancel(caller: Editor, job_id: str) -> JobOut:
        """At once where it waits, after the document that it is at where it runs; 409 once it has ended."""
        await threads.run(visible, caller, job_id)
        ended = await threads.run(library.catalog.jobs.cancel, job_id, caller.tenant)
        wake()
        return job_out(ended)

    @router.get(
        "/v1/jobs/{job_id}/events",
        response_class=Response,
        responses={
            200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
            204: {"description": "The job has ended, and the client knows its last state."},
            **ERRORS,
        },
    )
    async def events(
        caller: Caller, job_id: str, request: Request, last_event_id: Annotated[str | None, Header()] = None
    ) -> Response:
        """Server-sent events: `progress` with each change, `end` once it has ended."""
        found = await threads.run(visible, caller, job_id)
        known = int(last_event_id) if last_event_id is not None and last_event_id.isdecimal() else 0
        if found.ended and known >= found.revision:
            return Response(status_code=204)
        return EventStream(_changes(found, known, caller))

    async def _changes(job: Job, known: int, caller: Principal) -> AsyncGenerator[str, None]:
        said_at = time.monotonic()
        while True:
            if job.revision > known:
                known, said_at = job.revision, time.monotonic()
                kind = "end" if job.ended else "progress"
                yield f"id: {known}\nevent: {kind}\ndata: {job_out(job).model_dump_json()}\n\n"
            elif time.monotonic() - said_at >= heartbeat_s:
                said_at = time.monotonic()
                yield ": still working\n\n"
            if job.ended or stopping():
                return
            await asyncio.sleep(_POLL_S)
            try:
                job = await watching.run(visible, caller, job.id)
            except NotFoundError:
                return  # forgotten meanwhile

    return router


def job_out(job: Job) -> JobOut:
    return JobOut(
        id=job.id,
        collection=job.collection,
        state=job.state,
        cancelling=job.cancel_requested and not job.ended,
        files=FileCounts(total=job.files_total, done=job.files_done, failed=job.files_failed),
        chunks=job.chunks,
        current=job.current,
        error=job.error,
        created=seconds(job.created_at),
        started=None if job.started_at is None else seconds(job.started_at),
        ended=None if job.ended_at is None else seconds(job.ended_at),
    )
