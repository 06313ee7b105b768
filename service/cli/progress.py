"""How far an ingest or a reindex is, on stderr."""

import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from service.cli import output

if TYPE_CHECKING:
    from rag.ingestion import IngestProgress

_LINE_EVERY_S = 5.0
_DOCUMENTS_TO_JUDGE = 50
"""Documents are embedded many at a time, so the first ones say little about the time that is left."""
_SHOWN_SOURCE_CHARACTERS = 40


class IngestDisplay:
    """A bar on a terminal, a line now and then elsewhere."""

    def __init__(self, line_every_s: float = _LINE_EVERY_S) -> None:
        console = output.stderr()
        self._bar = (
            Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}", markup=False),
                TimeRemainingColumn(compact=True),
                TextColumn("{task.fields[source]}", markup=False, style="dim"),
                console=console,
                transient=True,
            )
            if console.is_terminal
            else None
        )
        self._task = self._bar.add_task("starting", total=None, rate="", source="") if self._bar is not None else None
        self._started: float | None = None
        self._line_every_s = line_every_s
        self._last_line = 0.0

    def __enter__(self) -> "IngestDisplay":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def note(self, text: str) -> None:
        if self._bar is None or self._task is None:
            output.note(text)
        else:
            self._bar.update(self._task, description=output.one_line(text))

    def update(self, progress: "IngestProgress") -> None:
        now = time.monotonic()
        if self._started is None:
            self._started = self._last_line = now
        seconds = now - self._started
        rate = f"{progress.chunks / seconds:.1f} chunks/s" if progress.chunks and seconds > 0 else ""
        if self._bar is not None and self._task is not None:
            self._bar.update(
                self._task,
                description="documents",
                total=progress.documents_total,
                completed=progress.documents_done,
                rate=rate,
                source=_short(progress.source),
            )
        elif now - self._last_line >= self._line_every_s:
            self._last_line = now
            parts = [f"{progress.documents_done} of {progress.documents_total} documents", f"{progress.chunks} chunks"]
            if rate:
                parts.append(rate)
            if progress.documents_done >= _DOCUMENTS_TO_JUDGE:
                left = seconds / progress.documents_done * (progress.documents_total - progress.documents_done)
                parts.append(f"about {left:.0f} s left")
            output.note(f"{', '.join(parts)}; at {output.name(progress.source)}")


class CountDisplay:
    """How many of a known number are done: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, what: str, line_every_s: float = _LINE_EVERY_S) -> None:
        self._what = what
        console = output.stderr()
        self._bar = Progress(console=console, transient=True) if console.is_terminal else None
        self._task = self._bar.add_task(what, total=None) if self._bar is not None else None
        self._line_every_s = line_every_s
        self._last_line = time.monotonic()

    def __enter__(self) -> "CountDisplay":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def note(self, text: str) -> None:
        if self._bar is None or self._task is None:
            output.note(text)
        else:
            self._bar.update(self._task, description=output.one_line(text))

    def update(self, done: int, total: int, told: str = "") -> None:
        """``told`` is what else there is to say."""
        described = f"{self._what}{f', {told}' if told else ''}"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=described, total=total, completed=done)
        elif time.monotonic() - self._last_line >= self._line_every_s:
            self._last_line = time.monotonic()
            output.note(f"{done} of {total} {described}")


def _short(source: str) -> str:
    shown = output.name(source)
    return shown if len(shown) <= _SHOWN_SOURCE_CHARACTERS else "…" + shown[1 - _SHOWN_SOURCE_CHARACTERS :]
