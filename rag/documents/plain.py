"""Plain text and delimited tables (CSV, TSV)."""

import csv
import io
import itertools
import re

from rag.documents.decoding import decode
from rag.documents.layout import Layout, LayoutBuilder, clean, sections_from
from rag.errors import SourceError

_DELIMITERS = ",;\t|"
_MAX_TITLE_CHARS = 100
_SENTENCE_END = (".", "!", "?", "。", "！", "？", ":", "：", ",", ";")


def read_plain(data: bytes) -> Layout:
    """The text as it stands. A short first line that a blank line follows and no full stop ends is the title."""
    text = clean(decode(data))
    return Layout(text, sections_from([], len(text)), title=_first_line_title(text))


def read_delimited(data: bytes) -> Layout:
    """One pipe table; the first row is its header."""
    text = decode(data)
    builder = LayoutBuilder()
    try:
        builder.table(csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text)))
    except csv.Error as error:
        raise SourceError(f"the table cannot be read: {error}") from error
    return builder.build()


def _first_line_title(text: str) -> str | None:
    match = re.match(r"\s*(\S[^\n]*)\n[ \t]*\n", text)
    if match is None:
        return None
    line = match[1].strip()
    return line if len(line) <= _MAX_TITLE_CHARS and not line.endswith(_SENTENCE_END) else None


def _delimiter(text: str) -> str:
    """The sign that splits the most of the first rows into the same number of cells, more than one."""
    best, best_key = ",", (0, 0)
    for delimiter in _DELIMITERS:
        rows = csv.reader(io.StringIO(text[:100_000], newline=""), delimiter=delimiter)
        widths = [len(row) for row in itertools.islice(rows, 20) if row]
        width = max(set(widths), key=widths.count, default=0)
        key = (widths.count(width), width)
        if width > 1 and key > best_key:
            best, best_key = delimiter, key
    return best
