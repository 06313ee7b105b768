"""SQLite files as a backup sees them: copied while others write, checked, and asked who uses them."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from rag.errors import StateError

COMPANIONS = ("-wal", "-shm", "-journal")
"""Ends of the names of files that belong to a database; a copy holds what they hold."""

_MAGIC = b"SQLite format 3\0"
_PAGES_A_STEP = 2000
_TIMEOUT_S = 30.0

Count = Callable[[int, int], None]
"""Told pages done and pages in all."""


def is_database(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def copy(source: Path, target: Path, progress: Count) -> None:
    """Copy the database as it is at this moment, whatever is written meanwhile. Raises ``StateError``."""
    try:
        with closing(_connect(source, "ro")) as origin, closing(sqlite3.connect(target)) as made:
            # Without a snapshot of our own, SQLite would begin again at each commit of another process.
            origin.execute("BEGIN")
            origin.execute("SELECT count(*) FROM sqlite_master").fetchone()
            origin.backup(
                made, pages=_PAGES_A_STEP, sleep=0, progress=lambda _, left, total: progress(total - left, total)
            )
    except sqlite3.Error as error:
        raise StateError(f"{source} cannot be copied: {error}; run `domainqa doctor`") from error
    if problems := damage(target):
        raise StateError(f"{source} is damaged ({problems[0]}), so it was not backed up; restore an earlier backup")


def damage(path: Path) -> list[str]:
    """What SQLite finds wrong with it; empty for a sound file. Reads all of it."""
    try:
        with closing(_connect(path, "rw")) as connection:
            return [str(line) for (line,) in connection.execute("PRAGMA integrity_check") if line != "ok"]
    except sqlite3.Error as error:
        return [str(error)]


def is_open_elsewhere(path: Path) -> bool:
    """Whether another process has the database open. One that cannot be read counts as not open."""
    try:
        with closing(_connect(path, "rw", timeout_s=0.5)) as connection:
            try:
                # To leave the write-ahead log one has to be alone.
                connection.execute("PRAGMA journal_mode = DELETE")
            except sqlite3.OperationalError as error:
                return "locked" in str(error)
            connection.execute("PRAGMA journal_mode = WAL")
    except sqlite3.Error:
        return False
    return False


def _connect(path: Path, mode: str, timeout_s: float = _TIMEOUT_S) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode={mode}", uri=True, timeout=timeout_s, isolation_level=None)
