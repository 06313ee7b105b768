"""The queue of jobs from the side of the worker, and of whoever watches it.

Files are taken in order, some at a time, from the tenant that has waited longest. What is being read is written down
before it is read, so that whoever sees the reader die knows which file it was at. Knows nothing of disks or processes.
"""

from collections.abc import Collection as AnyOf
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Column, Connection, Engine, case, delete, func, select, update

from rag.catalog.jobs import (
    FILE,
    JOB,
    UNFINISHED,
    Job,
    JobFile,
    JobState,
    as_job,
    change,
    count,
    end,
    job_by_number,
    read_files,
)
from rag.catalog.opening import reading, writing
from rag.catalog.schema import job_files, jobs
from rag.catalog.writing import now


class JobQueue:
    """Every method is one transaction, over the jobs of all tenants."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    # --- the worker -----------------------------------------------------------------------------

    def take_turn(self, excluding: AnyOf[int] = ()) -> Job | None:
        """Take a turn at a job: the oldest one of the tenant that was served longest ago. It runs from now on."""
        with writing(self._engine) as connection:
            last = select(jobs.c.tenant_id, func.max(jobs.c.served).label("served")).group_by(jobs.c.tenant_id)
            served = last.subquery()
            number = connection.execute(
                select(jobs.c.number)
                .join(served, served.c.tenant_id == jobs.c.tenant_id)
                .where(jobs.c.state.in_(UNFINISHED), jobs.c.number.not_in(list(excluding)))
                .order_by(served.c.served, jobs.c.number)
                .limit(1)
            ).scalar()
            if number is None:
                return None
            change(
                connection,
                number,
                state="running",
                served=select(func.max(jobs.c.served) + 1).scalar_subquery(),
                started_at=func.coalesce(jobs.c.started_at, now()),
            )
            return job_by_number(connection, number)

    def some_files(self, job: Job, max_files: int, max_bytes: int) -> list[JobFile]:
        """The next files to read together: at least one while any waits; a suspect stands alone."""
        waiting = FILE.where(job_files.c.job_number == job.number, job_files.c.state == "waiting")
        with reading(self._engine) as connection:
            found = read_files(connection, waiting.limit(max_files))
        taken: list[JobFile] = []
        for file in found:
            if taken and (file.suspect or sum(each.size_bytes for each in taken) + file.size_bytes > max_bytes):
                break
            taken.append(file)
            if file.suspect:
                break
        return taken

    def begin_file(self, job: Job, position: int) -> bool:
        """Write down that the file is being read from now on. False where the job is to end instead."""
        with writing(self._engine) as connection:
            stop = select(jobs.c.cancel_requested).where(jobs.c.number == job.number)
            if connection.execute(stop).scalar() != 0:
                return False
            connection.execute(_of_file(job.number, position).values(state="reading"))
            source = select(job_files.c.source).where(
                job_files.c.job_number == job.number, job_files.c.position == position
            )
            change(connection, job.number, current=source.scalar_subquery())
            return True

    def finish_files(self, job: Job, outcomes: Mapping[int, str | None], chunks: int) -> None:
        """Position to the reason it failed for, or ``None`` where it is done. ``chunks`` are added to the job's."""
        with writing(self._engine) as connection:
            for position, reason in outcomes.items():
                state = "done" if reason is None else "failed"
                connection.execute(_of_file(job.number, position).values(state=state, reason=reason))
            change(connection, job.number, chunks=jobs.c.chunks + chunks, current=None)
            count(connection, job.number)

    def progress(self, job: Job, files_done: int) -> None:
        """Tell watchers how far it is; the files themselves are finished later."""
        with writing(self._engine) as connection:
            change(connection, job.number, files_done=func.max(jobs.c.files_done, files_done))

    def end(self, job: Job, state: JobState, error: str | None = None) -> None:
        """Files that were not finished are cancelled, or failed with the job's error."""
        with writing(self._engine) as connection:
            end(connection, job.number, state, error)

    # --- who watches the worker -----------------------------------------------------------------

    def any_unfinished(self) -> bool:
        with reading(self._engine) as connection:
            found = connection.execute(select(jobs.c.number).where(jobs.c.state.in_(UNFINISHED)).limit(1))
            return found.first() is not None

    def unfinished_ids(self) -> set[str]:
        with reading(self._engine) as connection:
            return set(connection.execute(select(jobs.c.id).where(jobs.c.state.in_(UNFINISHED))).scalars())

    def running(self) -> list[Job]:
        with reading(self._engine) as connection:
            return [as_job(entry) for entry in connection.execute(JOB.where(jobs.c.state == "running"))]

    def any_reading(self) -> bool:
        with reading(self._engine) as connection:
            found = connection.execute(select(job_files.c.position).where(job_files.c.state == "reading").limit(1))
            return found.first() is not None

    def drop_ended(self, before: str) -> int:
        """Forget jobs that ended before the moment."""
        with writing(self._engine) as connection:
            return connection.execute(
                delete(jobs).where(jobs.c.state.not_in(UNFINISHED), jobs.c.ended_at < before)
            ).rowcount

    def put_back(self) -> None:
        """The worker was ended on purpose: what it was reading waits again, without blame."""
        with writing(self._engine) as connection:
            connection.execute(update(job_files).where(job_files.c.state == "reading").values(state="waiting"))

    def recover(self, max_interruptions: int) -> list[tuple[Job, JobFile]]:
        """After a start: what was being read when all ended waits again, alone, or fails where that is too often.

        Only what was read alone counts the interruption. Returns the files that have failed by it.
        """
        with writing(self._engine) as connection:
            return self._blame(
                connection,
                job_files.c.interruptions,
                job_files.c.suspect,
                max_interruptions,
                f"reading it was interrupted {max_interruptions} times by the end of the whole service",
            )

    def record_death(self, max_deaths: int, reason: str) -> list[tuple[Job, JobFile]]:
        """The worker died by itself. Returns the files that have failed by it.

        The one it was at, the last begun, is blamed; all that were begun wait again, each to be read alone.
        """
        with writing(self._engine) as connection:
            at = select(func.max(job_files.c.position)).where(job_files.c.state == "reading").scalar_subquery()
            amount = case((job_files.c.position == at, 1), else_=0)
            return self._blame(connection, job_files.c.deaths, amount, max_deaths, reason)

    def _blame(
        self, connection: Connection, counter: Column[Any], amount: Any, limit: int, reason: str
    ) -> list[tuple[Job, JobFile]]:
        too_often = counter + amount >= limit
        changed = connection.execute(
            update(job_files)
            .where(job_files.c.state == "reading")
            .values(
                {
                    counter: counter + amount,
                    job_files.c.suspect: 1,
                    job_files.c.state: case((too_often, "failed"), else_="waiting"),
                    job_files.c.reason: case((too_often, reason), else_=None),
                }
            )
            .returning(job_files.c.job_number, job_files.c.position, job_files.c.state)
        ).all()
        failed: list[tuple[Job, JobFile]] = []
        for number in {entry.job_number for entry in changed}:
            change(connection, number, current=None)
            count(connection, number)
            positions = [each.position for each in changed if each.job_number == number and each.state == "failed"]
            of_job = FILE.where(job_files.c.job_number == number, job_files.c.position.in_(positions))
            failed += [(job_by_number(connection, number), file) for file in read_files(connection, of_job)]
        return failed


def _of_file(number: int, position: int) -> Any:
    return update(job_files).where(job_files.c.job_number == number, job_files.c.position == position)
