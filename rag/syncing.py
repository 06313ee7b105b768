"""Which documents of a synced folder have lost their file, and whether so many may be removed.

A folder that is not mounted looks like one whose files were all deleted. Changes nothing.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rag.catalog import KnownSource
from rag.errors import UsageError
from rag.preparing import is_gone
from rag.types import WithheldRemoval

_FEW = 10
_LARGE_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Sync:
    """That an ingest also removes what its folders have lost."""

    allow_mass_removal: bool = False
    """Else at most half of a folder's documents, or fewer than ten; and none where the folder is empty."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A folder's documents that have lost their file, or how many they are where they are too many."""

    documents: tuple[KnownSource, ...] = ()
    withheld: WithheldRemoval | None = None


def check_folders(folders: Sequence[Path], synced: Iterable[Path]) -> None:
    """``UsageError`` for what cannot be synced: a file, or a folder inside or around another synced one."""
    resolved = [folder.resolve() for folder in folders]
    for folder in resolved:
        if not folder.is_dir():
            raise UsageError(f"{folder} is no folder; only folders can be synced")
        for other in (*synced, *resolved):
            if folder != other and (folder.is_relative_to(other) or other.is_relative_to(folder)):
                raise UsageError(
                    f"{folder} and the synced folder {other} lie in each other, so that each would take the other's "
                    "documents for lost; sync the outer one alone (`domainqa documents folders --forget FOLDER`)"
                )


def missing(
    folder: Path,
    known: Mapping[str, KnownSource],
    given: Mapping[str, str],
    unseen: Collection[str],
    moved: Collection[str],
    sync: Sync,
) -> Missing:
    """The documents below ``folder`` (an absolute path without links) whose file is gone.

    ``given`` are the locations of the files that were found, by source, ``unseen`` the sources of files and folders
    that could not be looked at, ``moved`` the sources of documents that go by another one now.
    """
    below = [each for each in known.values() if Path(each.location).is_relative_to(folder)]
    located = set(given.values())
    gone = []
    for each in below:
        found = each.source in given or _parents(each.source) & given.keys()
        looked_at = not ({each.source} | _parents(each.source)) & set(unseen)
        if found or not looked_at or each.source in moved:
            continue
        # A link that is gone leaves the file it led to, which goes by its own name.
        if is_gone(Path(each.location)) or each.location in located:
            gone.append(each)
    nothing_there = not any(Path(location).is_relative_to(folder) for location in located)
    many = len(gone) >= _FEW and len(gone) > len(below) * _LARGE_SHARE
    if gone and (nothing_there or many) and not sync.allow_mass_removal:
        return Missing(withheld=WithheldRemoval(str(folder), len(gone), len(below)))
    # What is attached to a mail before the mail, which would take it along uncounted.
    return Missing(tuple(sorted(gone, key=lambda each: each.source, reverse=True)))


def _parents(source: str) -> set[str]:
    """The folders and files that the source is in."""
    parts = source.split("/")
    return {"/".join(parts[:end]) for end in range(1, len(parts))}
