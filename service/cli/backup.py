"""``domainqa backup`` and ``domainqa restore``: a home as one file, and back."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from service.cli import output, session
from service.cli.options import JsonOutput
from service.cli.waiting import Waiting

_SAY_EVERY_S = 2.0


def backup(
    ctx: typer.Context,
    target: Annotated[Path, typer.Argument(metavar="FILE|FOLDER", help="A new file, or a folder to put one into.")],
    with_indexes: Annotated[
        bool, typer.Option("--with-indexes", help="Take the indexes too: larger, and ready sooner when restored.")
    ] = False,
    as_json: JsonOutput = False,
) -> None:
    """Copy the home into one file, while it may be in use.

    Documents, vectors, keys, adapters and configuration; no models. A name that ends in .gz is compressed.
    """
    from service.backup.saving import back_up

    started = time.monotonic()
    with _shown() as show:
        saved = back_up(session.of(ctx).home_folder(), target, with_indexes=with_indexes, progress=show)
    for each in saved.skipped:
        output.warn(f"left out: {each}")
    if as_json:
        output.print_json(
            {
                "file": str(saved.file),
                "bytes": saved.size,
                "members": saved.members,
                "indexes": saved.indexes,
                "skipped": list(saved.skipped),
                "seconds": round(time.monotonic() - started, 3),
            }
        )
    else:
        output.print_text(f"{output.name(str(saved.file))}: {saved.members} files, {output.size(saved.size)}")


def restore(
    ctx: typer.Context,
    archive: Annotated[Path, typer.Argument(metavar="FILE", help="What `domainqa backup` wrote.")],
    force: Annotated[
        bool, typer.Option("--force", help="Set aside a home that is not empty; it stays beside the restored one.")
    ] = False,
    as_json: JsonOutput = False,
) -> None:
    """Put a backup in the place of the home, whole or not at all.

    Everything is checked first, and the indexes are built; the home is replaced as the last step.
    """
    from service.backup.restoring import restore as put_back

    started = time.monotonic()
    with Waiting() as waiting:
        done = put_back(archive, session.of(ctx).home_folder(), force=force, note=waiting.say)
    seconds = time.monotonic() - started
    for each in done.collections:
        if each.reason is not None:
            output.warn(f"collection {output.name(each.collection)}: {each.reason}")
    if as_json:
        output.print_json(
            {
                "home": str(done.home),
                "created_at": done.manifest.created_at,
                "members": len(done.manifest.members),
                "collections": [
                    {"name": each.collection, "chunks": each.chunks, "reason": each.reason} for each in done.collections
                ],
                "set_aside": None if done.set_aside is None else str(done.set_aside),
                "seconds": round(seconds, 3),
            }
        )
        return
    output.print_text(f"restored the backup of {done.manifest.created_at} to {output.name(str(done.home))}")
    if done.set_aside is not None:
        output.note(f"the home that was there is {done.set_aside}; remove it when all is well")


@contextmanager
def _shown() -> Iterator["_Show"]:
    with Waiting("copying") as waiting:
        yield _Show(waiting)


class _Show:
    """At most a line every few seconds."""

    def __init__(self, waiting: Waiting) -> None:
        self._waiting = waiting
        self._said = time.monotonic()

    def __call__(self, name: str, done: int, total: int) -> None:
        if time.monotonic() - self._said >= _SAY_EVERY_S:
            self._said = time.monotonic()
            self._waiting.say(f"copying {name}: {100 * done // max(total, 1)} %")
