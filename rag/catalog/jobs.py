"""Jobs and their files as clients see them: added, listed, cancelled. ``job_queue`` is the side that works on them.

job   queued -> running -> done | failed | cancelled
file  waiting -> reading -> done | failed | cancelled
"""

from collections.abc import Collection as AnyOf
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Engine, Select, func, insert, select, update

from rag.catalog.opening import reading, writing
from rag.catalog.schema import job_files, jobs, tenants
from rag.catalog.writing import now
from rag.errors import BusyError, ConflictError, NotFoundError
from rag.types import DEFAULT_TENANT, Collection

JobState = Literal["queued", "running", "done", "failed", "cancelled"]
JobFileState = Literal["waiting", "reading", "done", "failed", "cancelled"]

UNFINISHED: tuple[JobState, ...] = ("queued", "running")
_FULL_RETRY_S = 30.0


@dataclass(frozen=True, slots=True)
class Job:
    """``revision`` rises with every change; times are ISO 8601 in UTC."""

    number: int
    id: str
    tenant: str
    collection: str
    collection_id: int | None
    state: JobState
    cancel_requested: bool
    revision: int
    files_total: int
    files_done: int
    files_failed: int
    chunks: int
    current: str | None
    error: str | None
    created_at: str
    started_at: str | None
    updated_at: str
    ended_at: str | None

    @property
    def ended(self) -> bool:
        return self.state not in UNFINISHED


@dataclass(frozen=True, slots=True)
class JobFile:
    """``suspect``: a worker ended while it was read, so it is read alone."""

    position: int
    source: str
    size_bytes: int
    state: JobFileState
    reason: str | None
    suspect: bool
    deaths: int


@dataclass(frozen=True, slots=True)
class JobCounts:
    queued: int
    running: int
    failed_files: int


JOB: Select[Any] = select(
    jobs.c.number,
    jobs.c.id,
    tenants.c.name,
    jobs.c.collection,
    jobs.c.collection_id,
    jobs.c.state,
    jobs.c.cancel_requested,
    jobs.c.revision,
    jobs.c.files_total,
    jobs.c.files_done,
    jobs.c.files_failed,
    jobs.c.chunks,
    jobs.c.current,
    jobs.c.error,
    jobs.c.created_at,
    jobs.c.started_at,
    jobs.c.updated_at,
    jobs.c.ended_at,
).join(tenants, tenants.c.id == jobs.c.tenant_id)
FILE: Select[Any] = select(
    job_files.c.position,
    job_files.c.source,
    job_files.c.size_bytes,
    job_files.c.state,
    job_files.c.reason,
    job_files.c.suspect,
    job_files.c.deaths,
).order_by(job_files.c.position)


class Jobs:
    """Every method is one transaction. Jobs of other tenants do not exist for a caller that names one."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def check_room(self, collection: Collection, max_queued: int) -> None:
        """Raises as ``add`` would now: ask before much is received in vain."""
        with reading(self._engine) as connection:
            _check_room(connection, collection, max_queued)

    def add(self, job_id: str, collection: Collection, files: Sequence[tuple[str, int]], max_queued: int) -> Job:
        """Queue the files, source and size of each; ``BusyError`` where the tenant has ``max_queued`` waiting."""
        moment = now()
        with writing(self._engine) as connection:
            _check_room(connection, collection, max_queued)
            number = connection.execute(
                insert(jobs)
                .values(
                    id=job_id,
                    tenant_id=collection.tenant_id,
                    collection_id=collection.id,
                    collection=collection.name,
                    state="queued",
                    cancel_requested=0,
                    revision=1,
                    served=0,
                    files_total=len(files),
                    files_done=0,
                    files_failed=0,
                    chunks=0,
                    created_at=moment,
                    updated_at=moment,
                )
                .returning(jobs.c.number)
            ).scalar_one()
            connection.execute(
                insert(job_files),
                [
                    {
                        "job_number": number,
                        "position": position,
                        "tenant_id": collection.tenant_id,
                        "source": source,
                        "size_bytes": size,
                        "state": "waiting",
                        "suspect": 0,
                        "deaths": 0,
                        "interruptions": 0,
                    }
                    for position, (source, size) in enumerate(files)
                ],
            )
            return job_by_number(connection, number)

    def get(self, job_id: str, tenant: str = DEFAULT_TENANT) -> Job:
        with reading(self._engine) as connection:
            found = connection.execute(JOB.where(jobs.c.id == job_id, tenants.c.name == tenant)).first()
        if found is None:
            raise NotFoundError(f"there is no job {job_id!r}")
        return as_job(found)

    def page(
        self,
        tenant: str = DEFAULT_TENANT,
        limit: int = 100,
        after: str | None = None,
        collections: AnyOf[str] | None = None,
    ) -> list[Job]:
        """Newest first; those older than the job ``after``, of ``collections`` where given."""
        statement = JOB.where(tenants.c.name == tenant)
        if collections is not None:
            statement = statement.where(jobs.c.collection.in_(collections))
        with reading(self._engine) as connection:
            if after is not None:
                last = connection.execute(statement.where(jobs.c.id == after)).first()
                if last is None:
                    raise NotFoundError(f"there is no job {after!r}")
                statement = statement.where(jobs.c.number < as_job(last).number)
            found = connection.execute(statement.order_by(jobs.c.number.desc()).limit(limit)).all()
        return [as_job(entry) for entry in found]

    def files(self, job: Job) -> list[JobFile]:
        with reading(self._engine) as connection:
            return read_files(connection, FILE.where(job_files.c.job_number == job.number))

    def cancel(self, job_id: str, tenant: str = DEFAULT_TENANT) -> Job:
        """End a job that waits; one that runs ends after the document that it is at. ``ConflictError`` once ended."""
        with writing(self._engine) as connection:
            found = connection.execute(JOB.where(jobs.c.id == job_id, tenants.c.name == tenant)).first()
            if found is None:
                raise NotFoundError(f"there is no job {job_id!r}")
            job = as_job(found)
            if job.ended:
                raise ConflictError(f"job {job_id} has ended already: it is {job.state}")
            if job.state == "queued":
                end(connection, job.number, "cancelled", None)
            else:
                change(connection, job.number, cancel_requested=1)
            return job_by_number(connection, job.number)

    def counts(self) -> JobCounts:
        with reading(self._engine) as connection:
            states = select(jobs.c.state, func.count()).where(jobs.c.state.in_(UNFINISHED)).group_by(jobs.c.state)
            by_state = {state: number for state, number in connection.execute(states)}  # noqa: C416 - rows are no tuples
            failed = connection.execute(select(func.coalesce(func.sum(jobs.c.files_failed), 0))).scalar_one()
        return JobCounts(by_state.get("queued", 0), by_state.get("running", 0), int(failed))


def _check_room(connection: Connection, collection: Collection, max_queued: int) -> None:
    of_tenant = select(func.count()).where(jobs.c.tenant_id == collection.tenant_id, jobs.c.state == "queued")
    waiting = connection.execute(of_tenant).scalar_one()
    if waiting >= max_queued:
        raise BusyError(
            f"{waiting} jobs are waiting already, which is all that the queue takes; come back later", _FULL_RETRY_S
        )


def change(connection: Connection, number: int, **values: Any) -> None:
    connection.execute(
        update(jobs).where(jobs.c.number == number).values(revision=jobs.c.revision + 1, updated_at=now(), **values)
    )


def count(connection: Connection, number: int) -> None:
    """The job's numbers from its files."""

    def in_state(state: JobFileState) -> Any:
        return (
            select(func.count()).where(job_files.c.job_number == number, job_files.c.state == state).scalar_subquery()
        )

    connection.execute(
        update(jobs).where(jobs.c.number == number).values(files_done=in_state("done"), files_failed=in_state("failed"))
    )


def end(connection: Connection, number: int, state: JobState, error: str | None) -> None:
    left = update(job_files).where(job_files.c.job_number == number, job_files.c.state.in_(("waiting", "reading")))
    file_state = "failed" if state == "failed" else "cancelled"
    connection.execute(left.values(state=file_state, reason=error))
    change(connection, number, state=state, error=error, current=None, ended_at=now())
    count(connection, number)


def job_by_number(connection: Connection, number: int) -> Job:
    return as_job(connection.execute(JOB.where(jobs.c.number == number)).one())


def as_job(entry: Any) -> Job:
    values = list(entry)
    values[6] = bool(values[6])
    return Job(*values)


def read_files(connection: Connection, statement: Select[Any]) -> list[JobFile]:
    found = connection.execute(statement).all()
    return [JobFile(*(*entry[:5], bool(entry[5]), entry[6])) for entry in found]
