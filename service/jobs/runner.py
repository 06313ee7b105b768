"""Starts the ingest process when there are jobs, watches it, and ends it with the service.

A thread of the API process. The ingest process runs under the same guardian as an engine, so that nothing of it
outlives us however we end. Where it dies by itself, the file that it was at is blamed and tried once more, alone; after
the second death the file has failed and its job goes on without it.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rag.catalog import Catalog
from rag.catalog.jobs import Job, JobCounts, JobFile
from rag.config import Settings
from rag.types import Failure
from service.engine.locking import OsLock
from service.engine.process import EngineProcess, exit_words
from service.jobs.spool import Spool
from service.jobs.worker import HOME_VARIABLE, SETTINGS_VARIABLE

logger = logging.getLogger(__name__)

COMMAND: Sequence[str] = (sys.executable, "-P", "-m", "service.jobs.worker")

MAX_DEATHS = 2
"""Of the ingest process over one file."""
MAX_INTERRUPTIONS = 5
"""Ends of the whole service while one file was read alone: it may be what takes the machine down."""
MAX_IDLE_DEATHS = 3
"""In a row, before anything was read: then the job fails, for it is not a file that is to blame."""

_POLL_S = 0.5
_TROUBLE_S = 5.0
_DAY_S = 86_400.0
_STOP_TIMEOUT_S = 5.0
_MAX_LOG_BYTES = 4_000_000
_LONGEST_WAIT_S = 60.0
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "RAYON_NUM_THREADS",
)


class JobRunner:
    """Use it as a context manager around the time in which the service serves."""

    def __init__(self, home: Path, settings: Settings, catalog: Catalog, command: Sequence[str] = COMMAND) -> None:
        self._home = home
        self._settings = settings
        self._catalog = catalog
        self._queue = catalog.job_queue
        self._spool = Spool(home)
        self._command = command
        self.deaths = 0
        """Of the ingest process, by itself, since we started."""
        self._idle_deaths = 0
        self._not_before = 0.0
        self._tidy_at = 0.0
        self._process: EngineProcess | None = None
        self._started_at = datetime.now(UTC)
        self._lock: OsLock | None = None
        self._stopping = False
        self._awake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)

    def __enter__(self) -> "JobRunner":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        self._awake.set()
        self._thread.join()

    def counts(self) -> JobCounts:
        return self._catalog.jobs.counts()

    def wake(self) -> None:
        """There is a new job, or one is to end."""
        self._awake.set()

    def _run(self) -> None:
        try:
            while not self._stopping:
                try:
                    self._step()
                except Exception:
                    # Whatever it was, jobs must not wait for ever because of it.
                    logger.exception("the jobs cannot be looked after; trying again in %g s", _TROUBLE_S)
                    self._awake.wait(_TROUBLE_S)
                self._awake.wait(_POLL_S)
                self._awake.clear()
        finally:
            self._end_process()
            if self._lock is not None:
                self._lock.release()

    def _step(self) -> None:
        if not self._is_ours():
            return
        if time.monotonic() >= self._tidy_at:
            self._tidy()
            self._tidy_at = time.monotonic() + _DAY_S
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                self._end_if_stalled()
                return
            self._process.stop()  # closes what tied us to it
            self._process = None
            if code != 0:
                self._died(code)
        if time.monotonic() >= self._not_before and self._queue.any_unfinished():
            self._start()

    def _is_ours(self) -> bool:
        """Whether this process looks after the home's jobs: another service on it may, until it ends."""
        if self._lock is None:
            folder = self._home / "locks"
            folder.mkdir(exist_ok=True)
            lock = OsLock(folder / "jobs.lock")
            if not lock.try_acquire():
                return False
            self._lock = lock
            self._fail(self._queue.recover(MAX_INTERRUPTIONS))
        return True

    def _start(self) -> None:
        folder = self._home / "ingest"
        folder.mkdir(mode=0o700, exist_ok=True)
        self._started_at = datetime.now(UTC)
        self._process = EngineProcess(
            self._command,
            self._environment(),
            folder / "ingest.log",
            max_log_bytes=_MAX_LOG_BYTES,
            stop_timeout_s=_STOP_TIMEOUT_S,
        )

    def _environment(self) -> Mapping[str, str]:
        threads = str(self._settings.jobs.threads)
        return {
            **os.environ,
            **dict.fromkeys(_THREAD_VARIABLES, threads),
            "TOKENIZERS_PARALLELISM": "false",
            "PYTHONUNBUFFERED": "1",
            HOME_VARIABLE: str(self._home),
            SETTINGS_VARIABLE: self._settings.model_dump_json(),
        }

    def _end_process(self) -> None:
        if self._process is not None:
            self._process.stop()
            self._process = None
            self._queue.put_back()

    def _end_if_stalled(self) -> None:
        running = self._queue.running()
        if self._process is None or not running:
            return
        # Before the process was started nobody could make any.
        last = max(self._started_at, *(datetime.fromisoformat(job.updated_at) for job in running))
        if (datetime.now(UTC) - last).total_seconds() > self._settings.jobs.stalled_after_s:
            process, self._process = self._process, None
            process.stop()
            self._died(None)

    def _died(self, code: int | None) -> None:
        self.deaths += 1
        how = f"was ended after {self._settings.jobs.stalled_after_s:g} s without progress"
        if code is not None:
            how = f"died ({exit_words(code)})"
        logger.warning("the ingest process %s; see %s", how, self._home / "ingest" / "ingest.log")
        began = self._queue.any_reading()
        self._fail(
            self._queue.record_death(MAX_DEATHS, f"the process that reads documents {how} at it, {MAX_DEATHS} times")
        )
        if began:
            self._idle_deaths = 0
            return
        self._idle_deaths += 1
        self._not_before = time.monotonic() + min(2.0**self._idle_deaths, _LONGEST_WAIT_S) / 2
        if self._idle_deaths >= MAX_IDLE_DEATHS:
            self._idle_deaths = 0
            for job in self._queue.running()[:1]:
                log = self._home / "ingest" / "ingest.log"
                self._queue.end(job, "failed", f"the ingest process {how} before it read anything; see {log}")
                self._spool.drop(job.id)

    def _fail(self, failed: Sequence[tuple[Job, JobFile]]) -> None:
        """Put the files among the failures of their collections."""
        for job, file in failed:
            self._spool.drop_file(job.id, file.position)
            for collection in self._catalog.collections(job.tenant):
                if collection.id == job.collection_id:
                    self._catalog.record_failure(collection, Failure(file.source, file.reason or ""), None)

    def _tidy(self) -> None:
        """At the start and once a day: what has had its time."""
        now = datetime.now(UTC)
        kept_since = now - timedelta(days=self._settings.jobs.keep_days)
        self._queue.drop_ended(kept_since.isoformat(timespec="seconds"))
        self._spool.sweep(self._queue.unfinished_ids())
        days = self._settings.conversations.retention_days
        if days is not None:
            self._catalog.conversations.expire(now - timedelta(days=days))
