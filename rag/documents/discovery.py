"""Which files to read: the given paths, folders walked, each file with the name it goes by. Opens nothing."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rag.errors import UsageError
from rag.types import Failure


@dataclass(frozen=True, slots=True)
class SourceFile:
    """``source`` is the path relative to the folder given, with ``/``; for a file given by itself, its name.

    ``is_upload``: the path is ours and short-lived, so that its end says nothing about the document.
    """

    path: Path
    source: str
    is_upload: bool = False


def discover(paths: Sequence[Path], skipped: list[Failure] | None = None) -> list[SourceFile]:
    """Every regular file below ``paths``, in the order given, each folder sorted by source.

    Hidden files and folders and the lock files of office programs (``~$``) are left out. So are links that lead out
    of the folder or to nothing; they are added to ``skipped``. Raises ``UsageError`` for a path that does not exist
    and for two paths that give one source.
    """
    skipped = [] if skipped is None else skipped
    found: dict[str, Path] = {}
    for path in paths:
        if not path.exists():
            raise UsageError(f"there is no file or folder {path}")
        files = sorted(_walk(path, path.resolve(), "", skipped, frozenset())) if path.is_dir() else [(path.name, path)]
        for source, file in files:
            earlier = found.setdefault(source, file)
            if earlier is not file:
                if earlier.resolve() == file.resolve():
                    continue
                raise UsageError(
                    f"{earlier} and {file} would both be the source {source!r}; ingest the folder that holds both"
                )
    return [SourceFile(file, source) for source, file in found.items()]


def _walk(
    folder: Path, root: Path, prefix: str, skipped: list[Failure], above: frozenset[Path]
) -> Iterator[tuple[str, Path]]:
    resolved = folder.resolve()
    if resolved in above:
        return  # a link to a folder that holds it
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        skipped.append(Failure(prefix.rstrip("/") or str(folder), f"the folder cannot be listed: {error.strerror}"))
        return
    for entry in entries:
        if entry.name.startswith((".", "~$")):
            continue
        path, source = folder / entry.name, prefix + entry.name
        if entry.is_symlink():
            target = path.resolve()
            if not target.exists():
                skipped.append(Failure(source, "the link leads to nothing"))
                continue
            if not target.is_relative_to(root):
                skipped.append(Failure(source, f"the link leads out of {root}"))
                continue
        if path.is_dir():
            yield from _walk(path, root, f"{source}/", skipped, above | {resolved})
        elif path.is_file():
            yield source, path
