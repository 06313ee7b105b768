"""Records of local files: JSONL, JSON arrays and CSV, each also gzipped; and the values in them by path."""

import csv
import gzip
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from rag.errors import UsageError

_LONGEST_CELL = 10_000_000


@dataclass(frozen=True, slots=True)
class Record:
    """One record and where it stood, for messages: ``file, line 12``."""

    values: Mapping[str, Any]
    place: str

    def text(self, path: str) -> str:
        """The text at ``path``. Raises ``UsageError`` where there is none."""
        found = self.find(path)
        if not isinstance(found, str | int | float) or isinstance(found, bool):
            told = "is missing" if found is None else f"is {type(found).__name__}, not text"
            raise UsageError(f"{self.place}: {path!r} {told}; it has {', '.join(self.values)}")
        return str(found)

    def optional_text(self, path: str | None) -> str:
        """Empty where there is no such path, or nothing in it."""
        return "" if path is None or self.find(path) is None else self.text(path)

    def find(self, path: str) -> Any:
        """What stands at a path of names and list positions, joined by dots; ``None`` where it ends early."""
        found: Any = self.values
        for part in path.split("."):
            if isinstance(found, Mapping):
                found = found.get(part)
            elif isinstance(found, list) and part.isdigit() and int(part) < len(found):
                found = found[int(part)]
            else:
                return None
        return found


def record_id(label: str, *texts: str) -> str:
    """The same texts of the same source always have the same id."""
    digest = hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()
    return f"{label}-{digest[:16]}"


def read_records(path: Path) -> Iterator[Record]:
    """In the file's order. Raises ``UsageError`` naming file, line and fault."""
    try:
        with _open(path) as file:
            if _stem(path).endswith(".csv"):
                yield from _csv(file, path)
            elif _stem(path).endswith(".json"):
                yield from _array(file, path)
            else:
                yield from _lines(file, path)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").lower()


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _lines(file: TextIO, path: Path) -> Iterator[Record]:
    # Read line by line: str.splitlines would cut a JSON string at U+2028.
    for number, line in enumerate(file, start=1):
        if line.strip():
            yield _record(_parsed(line, f"{path}, line {number}"), f"{path}, line {number}")


def _array(file: TextIO, path: Path) -> Iterator[Record]:
    entries = _parsed(file.read(), str(path))
    if not isinstance(entries, list):
        raise UsageError(f"{path}: not an array of records; a file with one record a line is called .jsonl")
    for number, entry in enumerate(entries, start=1):
        yield _record(entry, f"{path}, record {number}")


def _csv(file: TextIO, path: Path) -> Iterator[Record]:
    csv.field_size_limit(_LONGEST_CELL)
    for number, row in enumerate(csv.DictReader(file), start=1):
        if None in row or None in row.values():
            raise UsageError(f"{path}, record {number}: it has not as many cells as the header")
        yield Record(row, f"{path}, record {number}")


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"{place}: not JSON: {error}") from error


def _record(entry: Any, place: str) -> Record:
    if not isinstance(entry, dict):
        raise UsageError(f"{place}: not a record but {type(entry).__name__}")
    return Record(entry, place)
