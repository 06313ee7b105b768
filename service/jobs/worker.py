"""The ingest process: takes turns at the queue's jobs until there has been none for a while.

``python -m service.jobs.worker``, started and watched by ``service.jobs.runner``, which hands the configuration over in
the environment. Whatever happens to it, the catalog says what was being read: nothing is held here that is not there.
"""

import hashlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rag.build import Library
from rag.catalog.jobs import Job, JobFile, JobState
from rag.config import JobSettings, Settings
from rag.documents.discovery import SourceFile
from rag.errors import DomainQAError, LockedError, NotFoundError
from rag.types import Failure, IngestReport
from service.jobs.recording import recording
from service.jobs.spool import Spool

if TYPE_CHECKING:
    from rag.ingestion import IngestProgress

HOME_VARIABLE = "DOMAINQA_INGEST_HOME"
SETTINGS_VARIABLE = "DOMAINQA_INGEST_SETTINGS"

MAX_TURN_BYTES = 64 * 1024 * 1024
_POLL_S = 0.2
_LOCKED_WAIT_S = 1.0
_REPORT_EVERY_S = 0.5


class _Cancelled(Exception):
    """The job is to end before the next document."""


class Worker:
    """One thread, one job at a time."""

    def __init__(self, library: Library, settings: JobSettings) -> None:
        self._library = library
        self._settings = settings
        self._queue = library.catalog.job_queue
        self._spool = Spool(library.home)

    def run(self) -> None:
        """Until no job has come for ``idle_s``."""
        idle_since = time.monotonic()
        locked: dict[int, float] = {}
        while True:
            locked = {number: until for number, until in locked.items() if time.monotonic() < until}
            job = self._queue.take_turn(excluding=locked)
            if job is not None:
                try:
                    self.turn(job)
                except LockedError:
                    # Somebody ingests into the collection from the command line.
                    self._queue.put_back()
                    locked[job.number] = time.monotonic() + _LOCKED_WAIT_S
                idle_since = time.monotonic()
            elif locked or time.monotonic() - idle_since < self._settings.idle_s:
                time.sleep(_POLL_S)
            else:
                return

    def turn(self, job: Job) -> None:
        """Read the job's next files, or end it. Raises ``LockedError`` while another process ingests there."""
        files = self._queue.some_files(job, self._settings.files_per_turn, MAX_TURN_BYTES)
        try:
            if job.cancel_requested:
                self._end(job, "cancelled")
            elif not files:
                self._end(job, "done")
            else:
                self._check_collection(job)
                self._read(job, files)
        except LockedError:
            raise
        except _Cancelled:
            # Where somebody else writes just now, or the collection is gone, there is nothing for us to publish.
            with suppress(LockedError, NotFoundError):
                self._keep_what_is_stored(job)
            self._end(job, "cancelled")
        except DomainQAError as error:
            self._end(job, "failed", str(error))

    def _read(self, job: Job, files: Sequence[JobFile]) -> None:
        report = self._ingest(job, files)
        reasons = {failure.source: failure.reason for failure in report.failed}
        outcomes = {file.position: reasons.get(file.source) for file in files}
        self._queue.finish_files(job, outcomes, report.chunks)
        for file in files:
            self._spool.drop_file(job.id, file.position)

    def _ingest(self, job: Job, files: Sequence[JobFile]) -> IngestReport:
        from rag.ingestion import ingest

        positions = {file.source: file.position for file in files}
        unreadable: list[None] = []
        reported_at = 0.0

        def begin(source: str) -> None:
            if not self._queue.begin_file(job, positions[source]):
                raise _Cancelled

        def failed() -> None:
            unreadable.append(None)

        def progress(state: "IngestProgress") -> None:
            nonlocal reported_at
            if time.monotonic() - reported_at >= _REPORT_EVERY_S:
                reported_at = time.monotonic()
                # What is attached to a file counts as a document, too.
                read = min(len(files), max(0, state.documents_done - len(unreadable)))
                self._queue.progress(job, job.files_done + read)

        found = [SourceFile(self._spool.path(job.id, file.position), file.source, is_upload=True) for file in files]

        def discover(paths: Sequence[Path], skipped: list[Failure]) -> Sequence[SourceFile]:
            return found

        return ingest(
            self._library.home,
            self._library.catalog,
            job.collection,
            [],
            replace(recording(self._library.pipeline(), begin, failed), discover=discover),
            progress=progress,
            tenant=job.tenant,
        )

    def _check_collection(self, job: Job) -> None:
        """The ingest would make the collection anew."""
        try:
            found = self._library.catalog.collection(job.collection, job.tenant)
        except NotFoundError:
            found = None
        if found is None or found.id != job.collection_id:
            raise NotFoundError(f"the collection {job.collection!r} was deleted")

    def _keep_what_is_stored(self, job: Job) -> None:
        """Publish the documents that were stored before the job was cancelled, and count them as done."""
        self._ingest(job, [])
        collection = self._library.catalog.collection(job.collection, job.tenant)
        known = self._library.catalog.known_sources(collection)
        stored: dict[int, str | None] = {}
        for file in self._library.catalog.jobs.files(job):
            path = self._spool.path(job.id, file.position)
            if file.state == "reading" and file.source in known and path.is_file():
                with path.open("rb") as content:
                    if hashlib.file_digest(content, "sha256").hexdigest() == known[file.source].version:
                        stored[file.position] = None
        self._queue.finish_files(job, stored, 0)

    def _end(self, job: Job, state: JobState, error: str | None = None) -> None:
        self._queue.end(job, state, error)
        self._spool.drop(job.id)


def open_library(home: Path, settings: Settings) -> Library:
    from rag.documents.workers import WorkerPool

    # They outlive the turns, and end with this process.
    return Library(home, settings, workers=WorkerPool())


def main(open_library: Callable[[Path, Settings], Library] = open_library) -> None:
    """The process. Tests bring a library with another embedder."""
    settings = Settings.model_validate_json(os.environ[SETTINGS_VARIABLE])
    # Whoever asks questions goes first.
    os.nice(10)
    library = open_library(Path(os.environ[HOME_VARIABLE]), settings)
    try:
        Worker(library, settings.jobs).run()
    finally:
        library.catalog.close()


if __name__ == "__main__":
    main()
    sys.exit(0)
