"""The model cache: one folder a model, complete or not there.

A folder counts when it holds a marker that names its origin and every file's size and SHA-256. It is filled in a
hidden folder beside its place and renamed into it in one step, under a file lock, so that a second process or a
power cut never shows half a model. The cache is shared between homes. Knows nothing of what the files mean.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from rag.errors import ModelError

MARKER = "domainqa.json"
_WEIGHT_SUFFIXES = (".safetensors", ".bin")
_STAGED = ".fetching-"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a fetch is. ``done`` and ``total`` are bytes; ``total`` is ``None`` where nobody knows."""

    reference: str
    step: Literal["waiting", "downloading", "unpacking", "converting"]
    done: int = 0
    total: int | None = None

    def __str__(self) -> str:
        if self.step == "waiting":
            return f"{self.reference}: waiting for another process that fetches it"
        if self.total is None:
            return f"{self.reference}: {self.step}"
        return f"{self.reference}: {self.step} {self.done / 1e6:.0f} of {self.total / 1e6:.0f} MB"


ProgressCallback = Callable[[Progress], None]


def ignore_progress(_: Progress) -> None:
    """For callers that show nothing."""


def default_cache() -> Path:
    """``DOMAINQA_MODELS``, else ``~/.cache/domainqa/models``."""
    return Path(os.environ.get("DOMAINQA_MODELS") or "~/.cache/domainqa/models").expanduser()


def is_complete(folder: Path, origin: str | None = None) -> bool:
    """Whether the marker is there, names this origin (any when ``None``), and every file has its size."""
    marker = _read_marker(folder)
    if marker is None or (origin is not None and marker.origin != origin):
        return False
    return all(_size(folder / name) == file.size for name, file in marker.files.items())


def damaged_files(folder: Path) -> list[str]:
    """Names of the files whose bytes are not those that were placed. Reads every byte."""
    marker = _read_marker(folder)
    if marker is None:
        return [MARKER]
    return [
        name
        for name, file in marker.files.items()
        if _size(folder / name) != file.size or sha256_of(folder / name) != file.sha256
    ]


def folder_size(folder: Path) -> int:
    """Bytes of all files below, those that vanish meanwhile left out."""
    return sum(_size(path) or 0 for path in folder.rglob("*")) if folder.is_dir() else 0


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_hash(folder: Path) -> str:
    """Hash of the names and bytes of a model's weight files: the same weights have the same hash anywhere.

    Taken from the marker for a cached model; any other folder is read.
    """
    marker = _read_marker(folder) if is_complete(folder) else None
    if marker is not None:
        hashes = {name: file.sha256 for name, file in marker.files.items() if name.endswith(_WEIGHT_SUFFIXES)}
    else:
        paths = [path for path in folder.rglob("*") if path.suffix in _WEIGHT_SUFFIXES and path.is_file()]
        hashes = {path.relative_to(folder).as_posix(): sha256_of(path) for path in paths}
    if not hashes:
        raise ModelError(f"{folder} holds no weights ({' or '.join('*' + suffix for suffix in _WEIGHT_SUFFIXES)})")
    return hashlib.sha256(json.dumps(sorted(hashes.items())).encode()).hexdigest()


@contextmanager
def locked(cache: Path, name: str, progress: ProgressCallback) -> Iterator[None]:
    """Hold the one place for filling ``cache / name``; what an interrupted fetch left there is removed first.

    A full disk or a folder that cannot be written is a ``ModelError``.
    """
    try:
        (cache / ".locks").mkdir(parents=True, exist_ok=True)
        lock = FileLock(cache / ".locks" / f"{name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            progress(Progress(name, "waiting"))
            lock.acquire()
        try:
            _remove(cache / f"{_STAGED}{name}")
            yield
        finally:
            lock.release()
    except OSError as error:
        raise ModelError(
            f"{name} cannot be stored in the model cache {cache} ({error}); "
            "make room, or set DOMAINQA_MODELS to a folder that can be written"
        ) from error


@contextmanager
def staging(cache: Path, name: str) -> Iterator[Path]:
    """An empty folder beside ``cache / name``, gone afterwards. Hold the lock."""
    folder = cache / f"{_STAGED}{name}"
    try:
        folder.mkdir()
        yield folder
    finally:
        _remove(folder)


def place(staged: Path, target: Path, origin: str) -> None:
    """Write the marker into ``staged`` and rename it to ``target``, in place of what was there."""
    files = {
        path.relative_to(staged).as_posix(): {"size": path.stat().st_size, "sha256": sha256_of(path)}
        for path in sorted(staged.rglob("*"))
        if path.is_file()
    }
    for name in files:
        (staged / name).chmod(0o644)  # some writers leave 0600, and the cache may serve several users
    (staged / MARKER).write_text(json.dumps({"origin": origin, "files": files}, indent=1), "utf-8")
    _remove(target)
    staged.rename(target)


@dataclass(frozen=True, slots=True)
class _File:
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class _Marker:
    origin: str
    files: dict[str, _File]


def _read_marker(folder: Path) -> _Marker | None:
    """``None`` where there is none, or one that nobody can read: the folder then counts as not there."""
    try:
        content = json.loads((folder / MARKER).read_text("utf-8"))
        return _Marker(content["origin"], {name: _File(**file) for name, file in content["files"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size if path.is_file() else None
    except OSError:
        return None


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
