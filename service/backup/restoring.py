"""An archive back into a home: unpacked and checked beside it, indexes built, then put in its place in one step.

An archive is not trusted: only plain files below the home are taken from it, and only those that its manifest lists
with the hash that they have.
"""

import hashlib
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from rag.catalog import CATALOG_FILE, Catalog
from rag.errors import DomainQAError, StateError, UsageError
from service.backup import databases
from service.backup.manifest import NAME, PREFIX, Manifest, Member

_BLOCK_BYTES = 1 << 20
_MAX_MANIFEST_BYTES = 1 << 28
_MAX_SHOWN = 100

Note = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A collection's chunks, or the reason why its index could not be made, with what mends it."""

    collection: str
    chunks: int | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Restored:
    home: Path
    manifest: Manifest
    collections: tuple[Rebuilt, ...]
    set_aside: Path | None
    """Where the home that was there before lies now."""


def restore(archive: Path, home: Path, *, force: bool, note: Note) -> Restored:
    """Put the archive in the place of ``home``, which must be empty or missing; with ``force`` it is set aside.

    Raises ``UsageError`` where the home is not free, ``StateError`` naming the member that is damaged or not to be
    trusted. Whatever is raised, the home is as it was.
    """
    archive, home = archive.expanduser(), home.resolve()
    _check_place(home, force)
    if not archive.is_file():
        raise UsageError(f"there is no backup {archive}")
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=f".restoring-{home.name}-", dir=home.parent))
    except OSError as error:
        raise StateError(f"nothing can be written beside {home}: {error}") from error
    try:
        note(f"unpacking {archive.name}")
        manifest = _unpack(archive, staged)
        note("checking the databases")
        _check_databases(staged, manifest)
        collections = _open(staged, note)
        return Restored(home, manifest, collections, _put_in_place(staged, home, force))
    except OSError as error:
        raise StateError(f"{archive} cannot be restored to {home}: {error}; the home is as it was") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _check_place(home: Path, force: bool) -> None:
    if home.exists() and not home.is_dir():
        raise UsageError(f"{home} is no folder; name another home")
    if not home.is_dir() or not any(home.iterdir()):
        return
    if not force:
        raise UsageError(f"{home} is not empty; name another with --home, or set this one aside with --force")
    if (home / CATALOG_FILE).is_file() and databases.is_open_elsewhere(home / CATALOG_FILE):
        raise UsageError(f"{home} is in use; stop `domainqa serve` and whatever else works on it first")


# --- unpacking ----------------------------------------------------------------------------------


def _unpack(archive: Path, staged: Path) -> Manifest:
    """The files into ``staged``, each as the manifest says."""
    found: dict[str, tuple[int, str]] = {}
    manifest: Manifest | None = None
    name = "its beginning"
    try:
        with tarfile.open(archive, "r|*") as tar:
            for info in tar:
                name = info.name
                if manifest is not None:
                    raise StateError(f"the backup {archive} goes on after its manifest, with {_shown(name)}")
                if name == NAME and info.isreg():
                    manifest = _manifest(archive, tar, info)
                    continue
                path = _safe_path(archive, info)
                if path in found:
                    raise StateError(f"the backup {archive} has {_shown(name)} twice")
                found[path] = _extract(tar, info, staged / path)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise StateError(f"the backup {archive} is damaged at {_shown(name)}: {error}; use another backup") from error
    if manifest is None:
        raise StateError(
            f"the backup {archive} has no manifest: it was cut off after {_shown(name)}, or is no backup; use another"
        )
    _compare(archive, manifest, found)
    for member in manifest.members:
        (staged / member.name).chmod(member.mode & 0o777)
    return manifest


def _safe_path(archive: Path, info: tarfile.TarInfo) -> str:
    """The member's path below the home. Raises ``StateError`` for all but plain files that stay below it."""
    refused = f"the backup {archive} is refused: its member {_shown(info.name)}"
    if not info.isreg() or info.issparse():
        raise StateError(f"{refused} is not a plain file")
    path = PurePosixPath(info.name)
    parts = info.name.split("/")
    if path.is_absolute() or "\\" in info.name or "\0" in info.name or not info.name.startswith(PREFIX):
        raise StateError(f"{refused} does not lie in {PREFIX}")
    if any(part in ("", ".", "..") for part in parts):
        raise StateError(f"{refused} could lead out of the home")
    return "/".join(parts[1:])


def _extract(tar: tarfile.TarFile, info: tarfile.TarInfo, target: Path) -> tuple[int, str]:
    """Size and hash of what was written. Nothing that is there is followed or replaced."""
    source = tar.extractfile(info)
    assert source is not None
    digest = hashlib.sha256()
    size = 0
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as out:
        while block := source.read(_BLOCK_BYTES):
            digest.update(block)
            size += len(block)
            out.write(block)
        out.flush()
        os.fsync(out.fileno())
    return size, digest.hexdigest()


def _manifest(archive: Path, tar: tarfile.TarFile, info: tarfile.TarInfo) -> Manifest:
    source = tar.extractfile(info)
    assert source is not None
    try:
        return Manifest.model_validate_json(source.read(_MAX_MANIFEST_BYTES))
    except ValidationError as error:
        raise StateError(
            f"the manifest of the backup {archive} cannot be read: it is damaged, or from a newer version of domainqa"
        ) from error


def _compare(archive: Path, manifest: Manifest, found: dict[str, tuple[int, str]]) -> None:
    listed: dict[str, Member] = {member.name: member for member in manifest.members}
    for name in found:
        if name not in listed:
            raise StateError(f"the backup {archive} is refused: its manifest knows no {_shown(name)}")
    for name, member in listed.items():
        if name not in found:
            raise StateError(f"the backup {archive} is damaged: {_shown(name)} is missing; use another backup")
        if found[name] != (member.size, member.sha256):
            raise StateError(
                f"the backup {archive} is damaged: {_shown(name)} is not what was saved; use another backup"
            )
    if CATALOG_FILE not in listed:
        raise StateError(f"the backup {archive} holds no {CATALOG_FILE}; it is not a home's")


def _shown(name: str) -> str:
    return repr(name if len(name) <= _MAX_SHOWN else name[:_MAX_SHOWN] + "…")


# --- making a home of it ------------------------------------------------------------------------


def _check_databases(staged: Path, manifest: Manifest) -> None:
    for member in manifest.members:
        path = staged / member.name
        if databases.is_database(path) and (problems := databases.damage(path)):
            raise StateError(f"the database {_shown(member.name)} of the backup is damaged: {problems[0]}")


def _open(staged: Path, note: Note) -> tuple[Rebuilt, ...]:
    """Bring the catalog to this version's schema, and make the indexes that are not there or don't fit it."""
    from rag.reindexing import ensure_index

    with Catalog.open(staged) as catalog:
        rebuilt = []
        for collection in catalog.all_collections():
            note(f"building the index of {collection.name}")
            try:
                rebuilt.append(Rebuilt(collection.name, ensure_index(staged, catalog, collection)))
            except DomainQAError as error:
                # Its documents are all there; only it cannot be searched before this is done.
                reason = f"{error}; run `domainqa reindex --collection {collection.name}`"
                rebuilt.append(Rebuilt(collection.name, None, reason))
        return tuple(rebuilt)


def _put_in_place(staged: Path, home: Path, force: bool) -> Path | None:
    _check_place(home, force)
    if not home.is_dir() or not any(home.iterdir()):
        staged.rename(home)
        _sync(home.parent)
        return None
    aside = home.with_name(f"{home.name}.before-restore-{datetime.now(UTC):%Y%m%d-%H%M%S}")
    with _moved(home, aside):
        staged.rename(home)
    _sync(home.parent)
    return aside


@contextmanager
def _moved(home: Path, aside: Path) -> Iterator[None]:
    """Out of the way for the block, and back if it fails."""
    home.rename(aside)
    try:
        yield
    except BaseException:
        aside.rename(home)
        raise


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
