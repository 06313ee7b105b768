"""What the reader sees on stderr while something takes its time: a spinner on a terminal, plain lines elsewhere."""

from types import TracebackType

from rich.status import Status
from rich.text import Text

from service.cli import output


class Waiting:
    """Says what is being done until ``stop``, or until its block is left."""

    def __init__(self, first: str | None = None) -> None:
        console = output.stderr()
        self._status = Status("", console=console) if console.is_terminal else None
        self._first = first

    def say(self, text: str) -> None:
        if self._status is None:
            output.note(text)
        else:
            self._status.update(Text(output.one_line(text), style="dim"))
            self._status.start()

    def stop(self) -> None:
        """Clear the line. Nothing else may be printed before."""
        if self._status is not None:
            self._status.stop()

    def __enter__(self) -> "Waiting":
        if self._first is not None and self._status is not None:
            self.say(self._first)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
