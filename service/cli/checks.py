"""What ``doctor`` looks at in a home: room, permissions, adapters, catalog and indexes. Changes nothing."""

import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rag.errors import DomainQAError
from service.cli import output, session

if TYPE_CHECKING:
    from rag.config import Settings

State = Literal["ok", "warning", "error"]

_LITTLE_ROOM_BYTES = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at, what was found, whether that is well, and what mends it."""

    name: str
    found: str
    state: State = "ok"
    mend: str | None = None


def home_checks(own: session.Session) -> Iterator[Check]:
    """Of the folder, without opening what is in it."""
    home = own.home_folder()
    yield Check("home", str(home))
    if not home.is_dir():
        return
    yield _permissions(home)
    yield _room(home)


def adapter_checks(own: session.Session, settings: "Settings") -> Iterator[Check]:
    """Each registered adapter's files, byte by byte, and whether the engine of these settings can serve it."""
    from finetune.adapters import AdapterRegistry
    from service.registered import offline_problem

    registry = AdapterRegistry(own.home_folder())
    for failure in registry.broken():
        yield _adapter(failure.source, failure.reason)
    for manifest in registry.list():
        try:
            registry.verify(manifest.name)
        except DomainQAError as error:
            yield _adapter(manifest.name, str(error))
            continue
        problem = offline_problem(registry, manifest, settings)
        yield Check(f"adapter {manifest.name}", problem or "there", "ok" if problem is None else "warning")
    known = {manifest.name for manifest in registry.list()}
    for label, history in registry.labels().items():
        if history and history[-1] not in known:
            yield Check(
                f"adapter label {label}",
                f"stands for {history[-1]}, which is not registered",
                "error",
                f"domainqa adapters rollback {label}",
            )


def catalog_checks(own: session.Session) -> Iterator[Check]:
    from rag.catalog import CATALOG_FILE

    if not (own.home_folder() / CATALOG_FILE).exists():
        # Opening the library would make one.
        yield Check("catalog", "none yet", "warning", "domainqa ingest PATH")
        return
    try:
        with own.library() as library:
            collections = library.collections()
            yield Check("catalog", f"{len(collections)} collections")
            for collection in collections:
                if collection.embedding_model != library.settings.embedding.model:
                    yield Check(
                        f"collection {collection.name}",
                        f"embedded with {collection.embedding_model}, but the profile says "
                        f"{library.settings.embedding.model}",
                        "error",
                        f"domainqa reindex {collection.name}",
                    )
            for finding in library.check():
                name = "home" if finding.collection is None else f"collection {finding.collection}"
                yield Check(name, finding.what, "warning" if finding.harmless else "error", finding.command)
    except DomainQAError as error:
        yield Check("catalog", str(error), "error")


def _permissions(home: Path) -> Check:
    mode = stat.S_IMODE(home.stat().st_mode)
    if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        return Check("permissions", f"this user may not read and write {home}", "error", f"chown -R $(id -un) {home}")
    if mode & 0o027:
        return Check(
            "permissions",
            f"others on this machine may read or change the documents ({mode:04o})",
            "warning",
            f"chmod 700 {home}",
        )
    return Check("permissions", f"{mode:04o}")


def _room(home: Path) -> Check:
    """An ingest writes a new index beside the old one, a copy of what is there at most."""
    from rag.catalog import CATALOG_FILE

    catalog = home / CATALOG_FILE
    needed = max(_LITTLE_ROOM_BYTES, catalog.stat().st_size if catalog.exists() else 0)
    free = shutil.disk_usage(home).free
    found = f"{output.size(free)} free"
    if free < needed:
        return Check(
            "disk", f"{found}; an ingest may need {output.size(needed)}", "warning", "make room, or move the home"
        )
    return Check("disk", found)


def _adapter(name: str, reason: str) -> Check:
    return Check(f"adapter {name}", reason, "error", f"domainqa adapters remove {name}")
