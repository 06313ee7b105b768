"""Parsing in processes of its own, each file within bounds of time and memory.

A file that breaks a bound, or its reader, costs one process and is told by name; the run goes on with another one.
Processes start when they are first needed and stay for the run. They hold one file at a time, so that it is known which
one did it.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Lock
from typing import IO

import psutil
from pydantic import ValidationError

from rag.config import ParsingSettings
from rag.documents.options import ReadingOptions
from rag.documents.revision import parser_fingerprint
from rag.documents.worker import REPLIES, Job, Reply
from rag.errors import SourceError, StateError
from rag.types import ParsedFile

_LOOK_EVERY_S = 0.05
"""How often memory and time are looked at: what a process can fill meanwhile it may have over its bound."""
_START_TIMEOUT_S = 120.0
_END_TIMEOUT_S = 10.0
_MIB = 1024 * 1024


def default_workers() -> int:
    """Half the cores, at most four: the embedder needs the others, and seldom waits for more.

    Two at least: the embedder begins when a window of texts is full, and until then there is nothing else to do.
    """
    return max(2, min(4, (os.cpu_count() or 2) // 2))


class WorkerPool:
    """Idle processes that wait for the next file, of one run or of several one after the other. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._idle: list[_Worker] = []

    def start_one(self) -> None:
        """Begin to start a process, unless one waits already. Returns at once."""
        with self._lock:
            if not self._idle:
                self._idle.append(_Worker())

    def close(self) -> None:
        """End those that are idle."""
        with self._lock:
            workers, self._idle = self._idle, []
        for worker in workers:
            worker.end()

    def take(self) -> "_Worker":
        with self._lock:
            return self._idle.pop() if self._idle else _Worker()

    def give_back(self, worker: "_Worker") -> None:
        with self._lock:
            self._idle.append(worker)


class ParsingWorkers:
    """One run's parser: up to ``parallel`` processes. ``parse`` may be called by several threads.

    With a ``pool`` its processes are used, and left there for the next run.
    """

    def __init__(
        self, settings: ParsingSettings, passwords: Sequence[str] = (), pool: WorkerPool | None = None
    ) -> None:
        self.parallel = max(1, default_workers() if settings.workers is None else settings.workers)
        self._settings = settings
        self._options = ReadingOptions(tuple(passwords), settings.ocr)
        self._processes = pool or WorkerPool()
        self._owns_processes = pool is None
        self._lock = Lock()
        self._busy: set[_Worker] = set()
        self._closed = False

    @property
    def fingerprint(self) -> str:
        return parser_fingerprint()

    def warm_up(self) -> None:
        """Begin to start a process while something else takes its time."""
        self._processes.start_one()

    def parse(self, path: Path, source: str) -> ParsedFile:
        """What is in the file. ``SourceError`` says what is wrong with it, or which bound it broke."""
        worker = self._take()
        usable = False
        try:
            reply = worker.ask(Job(path, source, self._options, self._settings.timeout_s), self._settings.memory_mb)
            # What a large file left behind would count against the next one.
            usable = worker.memory_mib() < self._settings.memory_mb / 2
        finally:
            self._give_back(worker, usable)
        if reply.refused is not None:
            raise SourceError(reply.refused)
        if reply.out_of_memory or reply.parsed is None:
            raise SourceError("reading the file needed more memory than the system had; split it")
        return reply.parsed

    def close(self) -> None:
        """End the processes that are at work: their ``parse`` raises. Starts none from now on."""
        with self._lock:
            self._closed = True
            for worker in self._busy:
                worker.kill()
        if self._owns_processes:
            self._processes.close()

    def _take(self) -> "_Worker":
        with self._lock:
            if self._closed:
                raise SourceError("the run was ended before the file was read")
            worker = self._processes.take()
            self._busy.add(worker)
        return worker

    def _give_back(self, worker: "_Worker", usable: bool) -> None:
        with self._lock:
            self._busy.discard(worker)
            if usable and not self._closed:
                self._processes.give_back(worker)
                return
        worker.end()


class _Worker:
    """One process and the socket to it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        # It finds our modules where we did, however this program was started.
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", "rag.documents.worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                env=environment,
            )
        self._connection = Connection(ours.detach())
        self._ready = False

    def ask(self, job: Job, memory_mb: int) -> Reply:
        """Its reply; ``SourceError`` where the file broke a bound or the process, which must then be ended."""
        try:
            self._await_ready()
            self._connection.send(job)
            deadline = time.monotonic() + job.timeout_s
            while not self._connection.poll(_LOOK_EVERY_S):
                if (used := self.memory_mib()) > memory_mb:
                    raise SourceError(
                        f"reading the file took {used:,.0f} MB of memory; parsing.memory_mb allows {memory_mb:,}"
                    )
                if time.monotonic() > deadline:
                    raise SourceError(
                        f"reading the file took more than the {job.timeout_s:g} seconds of parsing.timeout_s"
                    )
            reply = REPLIES.validate_json(self._connection.recv_bytes())
        except (EOFError, OSError, ValidationError) as error:
            raise SourceError(f"the file broke its reader: the process {self._death()}") from error
        return reply

    def memory_mib(self) -> float:
        """What it holds of the memory now; 0 once it is gone."""
        try:
            return float(psutil.Process(self._process.pid).memory_info().rss) / _MIB
        except psutil.Error:
            return 0.0

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        with suppress(OSError):
            self._connection.close()
        self._errors.close()

    def _await_ready(self) -> None:
        if self._ready:
            return
        try:
            if self._connection.poll(_START_TIMEOUT_S) and self._connection.recv_bytes():
                self._ready = True
                return
            reason = f"did not begin within {_START_TIMEOUT_S:g} seconds"
        except (EOFError, OSError):
            reason = self._death()
        raise StateError(f"the process that parses files {reason}; set parsing.workers = 0 to parse without one")

    def _death(self) -> str:
        try:
            code = self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return "closed its end and did not end"
        if code < 0:
            try:
                return f"died of {signal.Signals(-code).name}"
            except ValueError:
                return f"died of signal {-code}"
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        return f"ended with {code}" + (f" ({' '.join(lines[-1].split())[:200]})" if lines else "")
