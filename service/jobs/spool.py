"""Uploaded files on the disk until they are ingested: received aside, made durable, then moved into place at once.

    HOME/spool/incoming/ID/00000...   being received; nobody looks there
    HOME/spool/jobs/ID/00000...       complete and on the disk; the number is the file's position in its job

No name of a client's is ever part of a path. Knows nothing of jobs but their ids.
"""

import os
import shutil
import time
from collections.abc import Collection as AnyOf
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from rag.errors import StateError

ABANDONED_AFTER_S = 3600.0
"""What no job knows is removed only then: it may belong to an upload that is about to be one."""


class Spool:
    def __init__(self, home: Path) -> None:
        self._incoming = home / "spool" / "incoming"
        self._jobs = home / "spool" / "jobs"

    def receive(self, job_id: str) -> "Incoming":
        """A place for a new job's files."""
        for folder in (self._incoming.parent, self._incoming, self._jobs):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Incoming(self._incoming / job_id, self._jobs / job_id)

    def path(self, job_id: str, position: int) -> Path:
        return self._jobs / job_id / _name(position)

    def drop_file(self, job_id: str, position: int) -> None:
        self.path(job_id, position).unlink(missing_ok=True)

    def drop(self, job_id: str) -> None:
        shutil.rmtree(self._jobs / job_id, ignore_errors=True)

    def sweep(self, known: AnyOf[str]) -> int:
        """Remove what uploads that were cut off and jobs that ended have left; how many folders."""
        oldest = time.time() - ABANDONED_AFTER_S
        removed = 0
        for folder in (*_children(self._incoming), *_children(self._jobs)):
            if folder.name in known and folder.parent == self._jobs:
                continue
            with suppress(OSError):
                if max((each.stat().st_mtime for each in (folder, *folder.iterdir())), default=0.0) < oldest:
                    shutil.rmtree(folder)
                    removed += 1
        return removed


class Incoming:
    """Files of an upload under way. Left without ``commit``, nothing of it stays."""

    def __init__(self, aside: Path, place: Path) -> None:
        self._aside = aside
        self._place = place
        self._count = 0
        self._committed = False
        aside.mkdir(mode=0o700)

    def new_file(self) -> BinaryIO:
        """The next file, to be written and then given to ``finish``."""
        path = self._aside / _name(self._count)
        self._count += 1
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")

    @staticmethod
    def finish(file: BinaryIO) -> None:
        """Close it once it is on the disk."""
        with file:
            file.flush()
            os.fsync(file.fileno())

    def commit(self) -> None:
        """All at once where the worker looks, and on the disk there."""
        _sync(self._aside)
        self._aside.rename(self._place)
        _sync(self._place.parent)
        self._committed = True

    def __enter__(self) -> "Incoming":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None or not self._committed:
            shutil.rmtree(self._place if self._committed else self._aside, ignore_errors=True)


def write(file: BinaryIO, data: bytes) -> None:
    """Raises ``StateError`` where the disk won't take it."""
    try:
        file.write(data)
    except OSError as error:
        raise StateError(f"an upload cannot be stored: {error.strerror or error}; see to the disk") from error


def _name(position: int) -> str:
    return f"{position:05d}"


def _children(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
