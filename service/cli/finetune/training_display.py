"""How far a training run is, on stderr."""

import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from service.cli import output

if TYPE_CHECKING:
    from finetune.loop import StepDone

_LINE_EVERY_S = 15.0
_DONE = {"drop": "the batch was dropped", "roll_back": "went back to earlier weights", "stop": "stopped"}


class TrainingDisplay:
    """A bar on a terminal, a line now and then elsewhere."""

    def __init__(self, line_every_s: float = _LINE_EVERY_S) -> None:
        console = output.stderr()
        self._bar = (
            Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[told]}", markup=False),
                console=console,
                transient=True,
            )
            if console.is_terminal
            else None
        )
        self._task = self._bar.add_task("starting", total=None, told="") if self._bar is not None else None
        self._line_every_s = line_every_s
        self._last_line = 0.0

    def __enter__(self) -> "TrainingDisplay":
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
            self._bar.console.print(output.one_line(text), style="dim", highlight=False, markup=False)

    def update(self, done: "StepDone") -> None:
        if done.verdict.reason is not None:
            self.note(f"step {done.step}: {_DONE[done.verdict.action]}, for {done.verdict.reason}")
        told = f"loss {done.loss:.3f}, {done.tokens_per_s:.0f} tokens/s"
        if done.tokens_per_s > 0:
            told += f", about {_duration(done.tokens_left / done.tokens_per_s)} left"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description="steps", total=done.steps, completed=done.step, told=told)
        elif time.monotonic() - self._last_line >= self._line_every_s or done.step == done.steps:
            self._last_line = time.monotonic()
            output.note(f"step {done.step} of {done.steps}, {told}")


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
