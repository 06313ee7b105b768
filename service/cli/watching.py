"""``domainqa ingest --watch``: a round at the start and after every change, one at a time, until Ctrl-C.

Changes that come while a round runs are gathered for the next one. A round that fails is told and tried again.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Any

from watchfiles import watch

from rag.errors import DomainQAError
from rag.types import IngestReport
from service.cli import output
from service.cli.progress import IngestDisplay

_DEBOUNCE_MS = 1600
"""A file that is being copied changes many times."""
_AGAIN_AFTER_MS = 15_000

Watch = Callable[[Sequence[Path], Event], Iterator[Iterable[Any]]]


def watch_changes(folders: Sequence[Path], stop: Event) -> Iterator[Iterable[Any]]:
    """Sets of changes below the folders, gathered while nobody asked; an empty one where nothing happened for long."""
    # An interrupted round must see the interrupt itself.
    return watch(
        *folders,
        debounce=_DEBOUNCE_MS,
        rust_timeout=_AGAIN_AFTER_MS,
        yield_on_timeout=True,
        stop_event=stop,
        raise_interrupt=True,
        ignore_permission_denied=True,
    )


def watch_folders(
    folders: Sequence[Path],
    run: Callable[[], IngestReport],
    display: IngestDisplay,
    report: Callable[[IngestReport], None],
    watching: Watch = watch_changes,
    stop: Event | None = None,
) -> None:
    """Returns when ``stop`` is set or Ctrl-C is pressed; what was done until then is kept.

    An error of the first round is raised: nothing has been watched yet.
    """
    stop = stop or Event()
    try:
        report(run())
        display.note(f"watching {', '.join(output.name(str(folder)) for folder in folders)}; Ctrl-C ends it")
        again = True  # for what changed during the first round
        for changes in watching(folders, stop):
            if changes or again:
                again = not _round(run, report)
    except KeyboardInterrupt:
        output.note("no longer watching")


def _round(run: Callable[[], IngestReport], report: Callable[[IngestReport], None]) -> bool:
    """Whether it went well. What it did is told, unless that is nothing."""
    try:
        done = run()
    except DomainQAError as error:
        output.warn(f"{error}; trying again")
        return False
    if done.added or done.updated or done.removed or done.withheld:
        report(done)
    return True
