"""A home into one archive, while it may be serving and ingesting.

Databases are copied through SQLite, the adapters under their registry's lock; every other file of a home is replaced
in one step when it changes. Left out is what a home makes again: indexes unless asked for, locks, the engine's state
and logs, models from the cache; and uploads that wait to be read, which come and go while a backup is made.
"""

import hashlib
import io
import os
import stat
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO, Literal

from finetune.adapters import FOLDER as ADAPTERS
from finetune.adapters import AdapterRegistry
from rag.catalog import CATALOG_FILE
from rag.errors import StateError, UsageError
from rag.models import default_cache
from rag.models.cache import MARKER
from service.backup import databases
from service.backup.manifest import NAME, PREFIX, Manifest, Member

INDEXES = "collections"
_PASSING = frozenset({"engine", "locks", "spool"})
_UNFINISHED = (".staged-", ".removed-", ".fetching-", ".restoring-")

Progress = Callable[[str, int, int], None]
"""Told what is being copied, and how much of it is done of how much."""


@dataclass(frozen=True, slots=True)
class Saved:
    """What was written. ``skipped`` are links and the like, which are not followed."""

    file: Path
    size: int
    members: int
    indexes: bool
    skipped: tuple[str, ...]


def back_up(home: Path, target: Path, *, with_indexes: bool, progress: Progress) -> Saved:
    """Write the archive, whole or not at all. ``target`` is a new file, or a folder to put one into.

    Raises ``UsageError`` for a target that won't do, ``StateError`` for a home that cannot be copied.
    """
    home = home.resolve()
    if not (home / CATALOG_FILE).is_file():
        raise UsageError(f"there is nothing to back up: {home} has no {CATALOG_FILE}")
    file = _target(home, target)
    partial = file.with_name(f".{file.name}.partial-{os.getpid()}")
    skipped: list[str] = []
    try:
        with partial.open("xb") as out, tempfile.TemporaryDirectory(prefix=".backup-", dir=file.parent) as scratch:
            partial.chmod(0o600)  # it holds all documents, and keys
            with tarfile.open(fileobj=out, mode=_mode(file), format=tarfile.PAX_FORMAT) as archive:
                writer = _Writer(archive, Path(scratch), progress)
                for name in _files(home, with_indexes, skipped):
                    writer.add(home, name)
                writer.finish(with_indexes)
            out.flush()
            os.fsync(out.fileno())
        _refuse_existing(file)  # once more: a rename replaces
        partial.rename(file)
    except OSError as error:
        raise StateError(f"the backup {file} cannot be written: {error}") from error
    finally:
        partial.unlink(missing_ok=True)
    return Saved(file, file.stat().st_size, len(writer.members), with_indexes, tuple(skipped))


def _target(home: Path, target: Path) -> Path:
    file = target.expanduser()
    if file.is_dir():
        file = file / f"domainqa-{datetime.now(UTC):%Y%m%d-%H%M%S}.tar"
    _refuse_existing(file)
    if not file.parent.is_dir():
        raise UsageError(f"there is no folder {file.parent}; make it first")
    if file.parent.resolve().is_relative_to(home):
        raise UsageError(f"{file} lies in the home that it is a copy of, and would be lost with it; name another place")
    return file


def _refuse_existing(file: Path) -> None:
    if file.exists():
        raise UsageError(f"{file} is there already; name another file")


def _mode(file: Path) -> Literal["w", "w:gz"]:
    return "w:gz" if file.suffix in (".gz", ".tgz") else "w"


def _files(home: Path, with_indexes: bool, skipped: list[str]) -> Iterator[str]:
    """Paths below the home: the catalog first, so that indexes copied after it hold all that it has published."""
    yield CATALOG_FILE
    cache = default_cache().resolve()
    with ExitStack() as held:
        for folder, folders, names in os.walk(home):
            where = Path(folder)
            top = where == home
            folders[:] = sorted(
                each
                for each in folders
                if not (top and (each in _PASSING or (each == INDEXES and not with_indexes)))
                and not each.startswith(_UNFINISHED)
                and (where / each).resolve() != cache
                and not (where / each / MARKER).is_file()
            )
            for each in list(folders):
                if (where / each).is_symlink():
                    folders.remove(each)
                    skipped.append(f"{(where / each).relative_to(home)} (a link)")
            if top and ADAPTERS in folders:
                held.enter_context(AdapterRegistry(home).changing())
            for name in sorted(names):
                path = where / name
                if name == CATALOG_FILE and top:
                    continue
                if name.endswith((*databases.COMPANIONS, ".lock", "-lock", ".log")) or name.startswith(_UNFINISHED):
                    continue
                if not stat.S_ISREG(path.lstat().st_mode):
                    skipped.append(f"{path.relative_to(home)} (not a plain file)")
                    continue
                yield path.relative_to(home).as_posix()


class _Writer:
    """Members into an archive, their hashes taken on the way."""

    def __init__(self, archive: tarfile.TarFile, scratch: Path, progress: Progress) -> None:
        self.members: list[Member] = []
        self._archive = archive
        self._scratch = scratch
        self._progress = progress

    def add(self, home: Path, name: str) -> None:
        path = home / name
        mode = stat.S_IMODE(path.stat().st_mode)
        if not databases.is_database(path):
            self._put(path, name, mode)
            return
        copied = self._scratch / "database"
        databases.copy(path, copied, lambda done, total: self._progress(name, done, total))
        self._put(copied, name, mode)
        copied.unlink()

    def finish(self, with_indexes: bool) -> None:
        made = Manifest(
            domainqa=version("domainqa"),
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            indexes=with_indexes,
            members=tuple(self.members),
        )
        content = made.model_dump_json(indent=1).encode()
        self._archive.addfile(_info(NAME, len(content), 0o600), io.BytesIO(content))

    def _put(self, path: Path, name: str, mode: int) -> None:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            hashed = _Hashed(file, lambda done: self._progress(name, done, size))
            self._archive.addfile(_info(PREFIX + name, size, mode), hashed)
        self.members.append(Member(name=name, size=size, sha256=hashed.digest.hexdigest(), mode=mode))


def _info(name: str, size: int, mode: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, mode, int(time.time())
    return info


class _Hashed:
    """A file that is hashed as it is read."""

    def __init__(self, file: BinaryIO, progress: Callable[[int], None]) -> None:
        self.digest = hashlib.sha256()
        self._file = file
        self._done = 0
        self._progress = progress

    def read(self, size: int = -1) -> bytes:
        block = self._file.read(size)
        self.digest.update(block)
        self._done += len(block)
        self._progress(self._done)
        return block
