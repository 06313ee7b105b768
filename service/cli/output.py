"""How results look: one JSON value or tables on stdout, everything else on stderr.

Whatever comes from files, models and users is shown with its control characters escaped, so that no name and no
document can drive the reader's terminal.
"""

import json
import math
import re
import sys
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from rich.console import Console
from rich.table import Table
from rich.text import Text

Json: TypeAlias = "str | int | float | bool | Sequence[Json] | dict[str, Json] | None"

_PIPED_WIDTH = 120
_UNBOUNDED_WIDTH = 100_000
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters but tab and line feed
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # those that turn the direction of writing
    "\u2028\u2029\ufeff\ud800-\udfff]"  # line separators, the byte order mark, lone surrogates
)
_SURROGATE = re.compile("[\ud800-\udfff]")


def printable(text: str) -> str:
    """The text with every character escaped that could move the cursor or hide others. Line feeds and tabs stay."""
    return _UNSAFE.sub(lambda match: _escape(match.group()), text)


def one_line(text: str) -> str:
    """The same on a single line: runs of white space become one space."""
    return printable(" ".join(text.split()))


def name(text: str) -> str:
    """A file's or collection's name, exactly: its line feeds and tabs are escaped too."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def print_json(value: Json) -> None:
    """One JSON document on stdout. Characters that stdout cannot carry are escaped, NaN is a bug."""
    plain = not (sys.stdout.encoding or "").lower().startswith("utf")
    text = json.dumps(value, ensure_ascii=plain, allow_nan=False, indent=2)
    sys.stdout.write(_SURROGATE.sub(lambda match: f"\\u{ord(match.group()):04x}", text) + "\n")


def number(value: float) -> float | None:
    """JSON has no word for a mean of nothing but null."""
    return None if math.isnan(value) else value


def print_text(text: str | Text = "") -> None:
    """A line or paragraph on stdout, wrapped to the terminal's width."""
    stdout().print(text)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], numbers: Iterable[str] = ()) -> None:
    """A table on stdout; the columns in ``numbers`` are set to the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    right = set(numbers)
    for column in columns:
        # A word alone may be longer than its column: a path is folded, never cut.
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    console = stdout()
    if not console.is_terminal:
        console.width = _UNBOUNDED_WIDTH  # a row is a line, for grep and the like
    console.print(table)


def stdout() -> Console:
    """The console of results. Made anew each time: tests and pipes exchange ``sys.stdout``."""
    return _console(stderr=False)


def stderr() -> Console:
    """The console of progress and logs."""
    return _console(stderr=True)


def note(text: str) -> None:
    """A line about what is going on."""
    stderr().print(Text(one_line(text), style="dim"), soft_wrap=True)


def warn(text: str) -> None:
    sys.stderr.write(f"warning: {one_line(text)}\n")


def print_error(message: str) -> None:
    """The one line that an error is told in."""
    sys.stderr.write(f"error: {one_line(message)}\n")


def size(count: int) -> str:
    """Bytes for people."""
    value = float(count)
    for unit in ("B", "KB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 10 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def _console(stderr: bool) -> Console:
    console = Console(stderr=stderr, markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = max(console.width, _PIPED_WIDTH)
    return console


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}"
    return name(str(value))


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
