"""Generations of a collection's indexes on disk: written aside, checked when loaded, switched atomically.

``home/collections/<id>/CURRENT`` names the folder in use, ``snapshot-<n>``. A folder holds ``dense.faiss``,
``lexical/`` and ``manifest.json`` with what made it and the hash of every file; it never changes once written.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from rag.analysis import ANALYZER_FINGERPRINT
from rag.errors import IndexStateError
from rag.index.dense import METRIC, DenseIndex
from rag.index.lexical import LexicalIndex
from rag.types import Collection

MANIFEST_FILE = "manifest.json"
DENSE_FILE = "dense.faiss"
LEXICAL_FOLDER = "lexical"

_CURRENT_FILE = "CURRENT"
_NAME = re.compile(r"snapshot-(\d+)")
_PROBE_TOLERANCE = 1e-3


class Probe(BaseModel):
    """A row that must find itself: searching its own vector gives the expected score, and the row has it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    row: int
    score: float
    vector: tuple[float, ...]


class Manifest(BaseModel):
    """What made a generation, and what it must look like when it is loaded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    embedder: str
    embedding_model: str
    dimension: int
    metric: str
    normalised: bool
    analyzer: str
    oldest_seq: int
    """Rows retired at or before it are gone: readers at a lower number would miss them."""
    seq: int
    """Rows created after it are not in yet: readers at a higher number would miss them."""
    rows: int
    files: Mapping[str, str]
    """SHA-256 by path below the folder."""
    probe: Probe | None
    """``None`` in an empty index."""


@dataclass(frozen=True, slots=True)
class Generation:
    """A generation that passed its checks."""

    name: str
    manifest: Manifest
    dense: DenseIndex
    lexical: LexicalIndex


def collection_folder(home: Path, collection_id: int) -> Path:
    return home / "collections" / str(collection_id)


def collection_folders(home: Path) -> dict[int, Path]:
    """The folders of all collections by the collection's number."""
    found = (home / "collections").glob("*")
    return {int(path.name): path for path in found if path.name.isdecimal() and path.is_dir()}


def current_name(folder: Path) -> str | None:
    """The name of the generation in use, ``None`` before the first one."""
    try:
        return (folder / _CURRENT_FILE).read_text("ascii").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise IndexStateError(f"{folder / _CURRENT_FILE} cannot be read: {error}; run `domainqa reindex`") from error


def load_generation(folder: Path, name: str, collection: Collection) -> Generation:
    """Load and check the generation of that name; ``IndexStateError`` says what is wrong with it."""
    where = folder / name
    manifest = _read_manifest(where, collection)
    _check_origin(manifest, collection)
    for path, digest in manifest.files.items():
        try:
            found = file_digest(where / path)
        except OSError as error:
            raise _damaged(collection, f"{where / path} cannot be read ({error.strerror})") from error
        if found != digest:
            raise _damaged(collection, f"{where / path} has changed since it was written")
    try:
        dense = DenseIndex.load(where / DENSE_FILE)
        lexical = LexicalIndex.open(where / LEXICAL_FOLDER)
    except (RuntimeError, ValueError) as error:
        raise _damaged(collection, f"{where} cannot be loaded ({error})") from error
    if not len(dense) == len(lexical) == manifest.rows or dense.dimension != manifest.dimension:
        raise _damaged(
            collection,
            f"{where} should hold {manifest.rows} rows of {manifest.dimension} dimensions, but the dense part has "
            f"{len(dense)} of {dense.dimension} and the lexical part {len(lexical)}",
        )
    if manifest.probe is not None and not probe_holds(dense, manifest.probe):
        raise _damaged(collection, f"row {manifest.probe.row} of {where} no longer finds itself")
    return Generation(name, manifest, dense, lexical)


def make_probe(dense: DenseIndex) -> Probe | None:
    """A probe of the first row. ``AssertionError`` if the index does not find it: then it must not be published."""
    if len(dense) == 0:
        return None
    row = int(dense.rows[0])
    vector = dense.vector(row)
    probe = Probe(row=row, score=float(vector @ vector), vector=tuple(vector.tolist()))
    assert probe_holds(dense, probe), f"row {row} does not find itself in the index just built"
    return probe


def probe_holds(dense: DenseIndex, probe: Probe) -> bool:
    vector = np.array(probe.vector, np.float32)
    try:
        own_score = float(vector @ dense.vector(probe.row))
    except RuntimeError:  # the row is not there
        return False
    best = dense.search(vector, 1)[0].score
    return all(abs(score - probe.score) <= _PROBE_TOLERANCE for score in (own_score, best))


def new_generation_name(folder: Path) -> str:
    """A name never used before, not even by a generation that a crash left unfinished."""
    numbers = [int(match[1]) for path in folder.glob("snapshot-*") if (match := _NAME.fullmatch(path.name))]
    return f"snapshot-{max(numbers, default=0) + 1}"


def start_from(previous: Path, folder: Path) -> None:
    """Begin ``folder`` with the lexical files of the previous generation; those are only ever added to."""
    for path in previous.iterdir():
        if path.suffix == ".lock":
            continue
        # Tantivy replaces these two by renaming, but a copy needs no trust in that.
        if path.suffix == ".json":
            shutil.copy2(path, folder / path.name)
            continue
        try:
            os.link(path, folder / path.name)
        except OSError:  # a file system without hard links
            shutil.copy2(path, folder / path.name)


def is_write_once(name: str) -> bool:
    """Whether a file of that name in one generation is the same in the next: Tantivy's segments are."""
    return name.startswith(f"{LEXICAL_FOLDER}/") and not name.endswith(".json")


def finish(where: Path, manifest: Manifest) -> None:
    """Write the manifest, and see to it that all of the folder is on the disk."""
    (where / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=1), "utf-8")
    for path in (*where.rglob("*"), where, where.parent):
        _sync(path)


def switch(folder: Path, name: str) -> None:
    """Make the generation of that name the current one, in one step."""
    aside = folder / f"{_CURRENT_FILE}.new"
    aside.write_text(name, "ascii")
    _sync(aside)
    aside.replace(folder / _CURRENT_FILE)
    _sync(folder)


def remove_leftovers(folder: Path, current: str | None) -> None:
    """Remove what killed processes left: generations that were never switched to, and those before the last but one."""
    newest = _number(current) if current is not None else 0
    older = [path.name for path in folder.glob("snapshot-*") if _number(path.name) < newest]
    keep = {current, max(older, key=_number, default=None)}
    remove_old(folder, {name for name in keep if name is not None})


def remove_old(folder: Path, keep: set[str]) -> None:
    """Remove generations that are neither current nor the one before: a reader may still be opening that."""
    for path in folder.glob("snapshot-*"):
        if path.name not in keep:
            shutil.rmtree(path)


def digests(where: Path, known: Mapping[str, str]) -> dict[str, str]:
    """SHA-256 of every file below ``where`` by relative path; ``known`` has those of files that cannot have changed."""
    found = {}
    for path in sorted(where.rglob("*")):
        name = path.relative_to(where).as_posix()
        if path.is_file() and path.suffix != ".lock" and name != MANIFEST_FILE:
            found[name] = known.get(name) or file_digest(path)
    return found


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_manifest(where: Path, collection: Collection) -> Manifest:
    try:
        return Manifest.model_validate_json((where / MANIFEST_FILE).read_text("utf-8"))
    except FileNotFoundError as error:
        raise IndexStateError(
            f"the index of collection {collection.name!r} is missing: there is no {where / MANIFEST_FILE}; "
            "run `domainqa reindex`"
        ) from error
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise _damaged(collection, f"{where / MANIFEST_FILE} cannot be read") from error


def _check_origin(manifest: Manifest, collection: Collection) -> None:
    if (manifest.embedder, manifest.dimension) != (collection.embedder, collection.dimension):
        raise IndexStateError(
            f"the index of collection {collection.name!r} was built with {manifest.embedding_model} "
            f"({manifest.dimension} dimensions, {manifest.embedder}), the collection has "
            f"{collection.embedding_model} ({collection.dimension} dimensions, {collection.embedder}); "
            "run `domainqa reindex`"
        )
    if (manifest.metric, manifest.normalised) != (METRIC, True):
        raise IndexStateError(
            f"the index of collection {collection.name!r} was built for the metric {manifest.metric!r} "
            f"(normalised: {manifest.normalised}), this version uses {METRIC!r}; run `domainqa reindex`"
        )
    for analyzer in (manifest.analyzer, collection.analyzer):
        if analyzer != ANALYZER_FINGERPRINT:
            raise IndexStateError(
                f"the index of collection {collection.name!r} was built with the analyzer {analyzer}, "
                f"this version has {ANALYZER_FINGERPRINT}; run `domainqa reindex`"
            )


def _damaged(collection: Collection, what: str) -> IndexStateError:
    return IndexStateError(f"the index of collection {collection.name!r} is damaged: {what}; run `domainqa reindex`")


def _number(name: str) -> int:
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else 0


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
