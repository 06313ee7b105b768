"""The engine's output on disk: bounded, without its key; read back from the end, or as it grows."""

import os
import re
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

_LONGEST_LINE = 64 * 1024
_KEPT_BACK = 256
_BLOCK = 64 * 1024
_POLL_S = 0.25
_RUN = "domainqa: starting "
_ENDS = re.compile(rb"[\r\n]+")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")


class RotatingLog:
    """A file and the one before it, together at most ``max_bytes``. Whole lines; ``secret`` becomes ``***``."""

    def __init__(self, path: Path, max_bytes: int, secret: str = "") -> None:
        self._path = path
        self._half = max(2, max_bytes // 2)
        self._secret = secret.encode()
        self._pending = b""
        self._file = path.open("ab", buffering=0)
        self._size = self._file.tell()

    def write(self, data: bytes) -> None:
        """Takes what comes from a pipe, in any pieces. A progress bar's carriage return ends a line too."""
        *lines, self._pending = _ENDS.split(self._pending + data)
        for line in lines:
            self._put(line)
        if len(self._pending) > _LONGEST_LINE:
            # Some is kept back, in which a secret may have begun.
            head, self._pending = self._pending[:-_KEPT_BACK], self._pending[-_KEPT_BACK:]
            self._put(head)

    def close(self) -> None:
        self._put(self._pending)
        self._pending = b""
        self._file.close()

    def _put(self, line: bytes) -> None:
        if not line:
            return
        if self._secret:
            line = line.replace(self._secret, b"***")
        for start in range(0, len(line), self._half - 1):
            piece = line[start : start + self._half - 1] + b"\n"
            if self._size + len(piece) > self._half:
                self._rotate()
            self._file.write(piece)
            self._size += len(piece)

    def _rotate(self) -> None:
        self._file.close()
        self._path.replace(before(self._path))
        self._file = self._path.open("ab", buffering=0)
        self._size = 0


def before(path: Path) -> Path:
    """The file that the current one took the place of."""
    return path.with_name(path.name + ".1")


def last_lines(path: Path, count: int) -> list[str]:
    """The last lines, oldest first, without colours and control characters; fewer where there are fewer."""
    lines: list[str] = []
    for file in (path, before(path)):
        if len(lines) < count and file.is_file():
            lines = _tail(file, count - len(lines)) + lines
    return lines


def begin_run(log: RotatingLog, command: Sequence[str]) -> None:
    """Tell the runs in the log apart, and how each was started."""
    log.write(f"{_RUN}{shlex.join(command)}\n".encode())


def last_lines_of_run(path: Path, count: int) -> list[str]:
    """Of the last lines those that the latest run wrote, without the command that began it."""
    lines = last_lines(path, count)
    begins = [number for number, line in enumerate(lines) if line.startswith(_RUN)]
    return lines[begins[-1] + 1 :] if begins else lines


def follow(path: Path, goes_on: Callable[[], bool]) -> Iterator[str]:
    """Lines as they are written from now on, through rotations, until ``goes_on()`` says no."""
    pending = b""
    file = path.open("rb") if path.is_file() else None
    if file is not None:
        file.seek(0, 2)
    try:
        while True:
            ending = not goes_on()
            replaced = file is not None and _was_replaced(path, file.fileno())
            # Read after the looks: what was written before them is not missed.
            data = file.read() if file is not None else b""
            *lines, pending = (pending + data).split(b"\n")
            yield from map(_plain, lines)
            if replaced or (file is None and path.is_file()):
                if file is not None:
                    file.close()
                file = path.open("rb")
            elif ending:
                return
            elif not data:
                time.sleep(_POLL_S)
    finally:
        if file is not None:
            file.close()


def _was_replaced(path: Path, descriptor: int) -> bool:
    try:
        return path.stat().st_ino != os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False


def _tail(file: Path, count: int) -> list[str]:
    data = b""
    with file.open("rb") as opened:
        end = opened.seek(0, 2)
        while end > 0 and data.count(b"\n") <= count:
            start = max(0, end - _BLOCK)
            opened.seek(start)
            data = opened.read(end - start) + data
            end = start
    return [_plain(line) for line in data.splitlines()[-count:]] if count else []


def _plain(line: bytes) -> str:
    return _ESCAPES.sub("", line.decode("utf-8", "replace"))
