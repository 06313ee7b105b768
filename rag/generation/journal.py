"""The file of a batch: JSONL, a line for each request that ended, written at once and read by the next run.

A line is keyed by a hash of the request's id, messages, sampling and adapter and the model's name, so an answer is
only ever taken for the very same request. A process killed while it wrote leaves a last line without its line feed:
that line is dropped, and its request asked again. A failed request has a line too, which the next run replaces.
"""

import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from rag.errors import StateError
from rag.types import FinishReason, Message, Sampling, Usage


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """``id`` is the caller's, and stands once in a batch."""

    id: str
    messages: tuple[Message, ...]
    sampling: Sampling
    adapter: str | None = None


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of a request: an answer, or ``error`` in words and ``error_kind``, the name of its class.

    ``tries`` counts the times it was asked, and ``seconds`` is the last one's.
    """

    id: str
    text: str = ""
    finish_reason: FinishReason | None = None
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    tries: int = 0
    error: str | None = None
    error_kind: str | None = None

    @property
    def ok(self) -> bool:
        return self.error_kind is None


def request_key(request: BatchRequest, model: str) -> str:
    # What is not set is left out, so that a setting we come to know later changes no key.
    sampling = {name: value for name, value in asdict(request.sampling).items() if value is not None}
    messages = [[message.role, message.content] for message in request.messages]
    parts = [model, request.id, messages, sampling, request.adapter]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


class _Line(BaseModel):
    """A record as it stands in the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    id: str
    text: str
    finish_reason: FinishReason | None
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int | None
    seconds: float
    tries: int
    error: str | None
    error_kind: str | None

    @classmethod
    def of(cls, key: str, result: BatchResult) -> "_Line":
        return cls(
            key=key,
            id=result.id,
            text=result.text,
            finish_reason=result.finish_reason,
            prompt_tokens=result.usage.prompt_tokens,
            completion_tokens=result.usage.completion_tokens,
            cached_tokens=result.usage.cached_tokens,
            seconds=result.seconds,
            tries=result.tries,
            error=result.error,
            error_kind=result.error_kind,
        )

    def result(self) -> BatchResult:
        return BatchResult(
            id=self.id,
            text=self.text,
            finish_reason=self.finish_reason,
            usage=Usage(self.prompt_tokens, self.completion_tokens, self.cached_tokens),
            seconds=self.seconds,
            tries=self.tries,
            error=self.error,
            error_kind=self.error_kind,
        )


class Journal:
    """An open journal, which is this process's alone. ``answered`` holds the answers that were in it, by key."""

    def __init__(self, path: Path, file: BinaryIO, lines: dict[str, BatchResult]) -> None:
        self.answered: Mapping[str, BatchResult] = {key: result for key, result in lines.items() if result.ok}
        self._path = path
        self._file = file
        self._lines = lines

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator["Journal"]:
        """Make the journal, or read it and cut off a torn last line.

        Raises ``StateError`` where it is damaged, cannot be written, or is another process's at the moment.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # The operating system's own lock: a killed process holds none.
            with FileLock(f"{path}.lock", timeout=0, fallback_to_soft=False):
                lines = _read(path)
                with path.open("ab", buffering=0) as file:
                    yield cls(path, file, lines)
        except Timeout as error:
            raise StateError(f"another batch is writing {path}; wait for it, or name another file") from error

    def append(self, key: str, result: BatchResult) -> None:
        line = _encode(key, result)
        try:
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._file.close()  # whatever came after a torn line would be lost with it
            raise StateError(f"{self._path} cannot be written: {error}; make room and run the batch again") from error
        self._lines[key] = result

    def put_in_order(self, keys: Sequence[str]) -> None:
        """Rewrite the file, all or nothing: the lines of these keys in their order, then those of other requests."""
        wanted = dict.fromkeys(keys)
        others = [key for key in self._lines if key not in wanted]
        temporary = self._path.with_name(f"{self._path.name}.new")
        try:
            with temporary.open("wb") as file:
                file.writelines(_encode(key, self._lines[key]) for key in (*wanted, *others))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
        except OSError as error:
            raise StateError(f"{self._path} cannot be written: {error}; make room and run the batch again") from error


def _read(path: Path) -> dict[str, BatchResult]:
    """The last record of each key."""
    if not path.exists():
        return {}
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    lines: dict[str, BatchResult] = {}
    for number, line in enumerate(data[:whole].split(b"\n")[:-1], start=1):
        try:
            record = _Line.model_validate(json.loads(line.decode("utf-8", "surrogatepass")))
        except (ValueError, ValidationError) as error:
            raise StateError(
                f"{path}, line {number}, is no record of a batch: {' '.join(str(error).split())}; "
                "delete that line to have its request asked again, or name another file"
            ) from error
        lines[record.key] = record.result()
    if whole < len(data):
        os.truncate(path, whole)
    return lines


def _encode(key: str, result: BatchResult) -> bytes:
    fields = _Line.of(key, result).model_dump()
    return f"{json.dumps(fields, ensure_ascii=False)}\n".encode("utf-8", "surrogatepass")
