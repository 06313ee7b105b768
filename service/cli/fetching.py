"""Models that a command needs, fetched where they are missing, with bars on a terminal and lines elsewhere."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from rag import models
from rag.errors import ModelError
from service.cli import output

_LINE_EVERY_S = 5.0


def missing(wanted: Sequence[str], cache: Path) -> list[str]:
    """Those of the references that would have to be fetched."""
    known = {info.reference: info.folder for info in models.list_models(cache)}
    return [
        reference
        for reference in wanted
        if known.get(reference) is None and (reference in known or not Path(reference).expanduser().is_dir())
    ]


def provide(wanted: Sequence[str], offline: bool) -> None:
    """Fetch what is missing. Offline, that is an error which says how to get it."""
    cache = models.default_cache()
    absent = missing(wanted, cache)
    if not absent:
        return
    if offline:
        raise ModelError(
            f"{' and '.join(absent)} not found in the model cache {cache}, and nothing is fetched offline; "
            f"run `domainqa models fetch` where there is a network"
        )
    with progress_shown() as show:
        for reference in absent:
            models.resolve(reference, cache, show)


@contextmanager
def progress_shown() -> Iterator[models.ProgressCallback]:
    """A callback that shows how far each model is, on stderr."""
    console = output.stderr()
    if not console.is_terminal:
        yield _lines()
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def show(progress: models.Progress) -> None:
            if progress.reference not in tasks:
                tasks[progress.reference] = bars.add_task(progress.reference, total=None)
            text = f"{progress.step} {output.one_line(progress.reference)}"
            if progress.total is None:
                bars.update(tasks[progress.reference], description=text)
            else:
                bars.update(tasks[progress.reference], description=text, completed=progress.done, total=progress.total)

        yield show


def _lines() -> Callable[[models.Progress], None]:
    said: dict[str, tuple[str, float]] = {}

    def show(progress: models.Progress) -> None:
        step, at = said.get(progress.reference, ("", 0.0))
        now = time.monotonic()
        if progress.step != step or now - at >= _LINE_EVERY_S:
            said[progress.reference] = (progress.step, now)
            output.note(str(progress))

    return show
