"""What every reader makes of a file: one text and where its sections, pages and tables lie in it.

``LayoutBuilder`` writes blocks one after the other and notes their offsets, so that nobody has to look for them
afterwards. Headings come out as Markdown headings, tables as pipe tables; everything else is the bare text.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from rag.types import Page, Section, Table

# Line ends of all kinds, form feeds among them, become "\n"; other control characters, lone surrogates,
# non-characters, byte order marks and soft hyphens go: none of them is text a reader could see.
_LINE_ENDS = re.compile("\r\n|[\r\f\v\x1c\x1d\x1e\x85\u2028\u2029]")
_INVISIBLE = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\ufeff\ufffe\uffff\ud800-\udfff]")
_MAX_HEADING_CHARS = 200


@dataclass(frozen=True, slots=True)
class Layout:
    """A file's text and structure. ``title`` and ``date`` are the file's own metadata as found, or ``None``."""

    text: str
    sections: tuple[Section, ...]
    pages: tuple[Page, ...] = ()
    tables: tuple[Table, ...] = ()
    title: str | None = None
    date: str | None = None


def clean(text: str) -> str:
    """The text with ``\\n`` as its only line end and without control characters."""
    return _INVISIBLE.sub("", _LINE_ENDS.sub("\n", text))


def sections_from(headings: Sequence[tuple[int, int, str]], length: int) -> tuple[Section, ...]:
    """Sections that tile ``[0, length)``, from headings given as (offset, level, text) in order."""
    sections = []
    path: list[tuple[int, str]] = []
    start = 0
    current: tuple[str, ...] = ()
    for offset, level, text in headings:
        if offset > start:
            sections.append(Section(current, start, offset))
        path = [entry for entry in path if entry[0] < level] + [(level, text)]
        start, current = offset, tuple(name for _, name in path)
    if length > start:
        sections.append(Section(current, start, length))
    return tuple(sections)


class LayoutBuilder:
    """Collects blocks in reading order; ``build`` gives the layout."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0
        self._after_item = False
        self._headings: list[tuple[int, int, str]] = []
        self._tables: list[Table] = []
        self._pages: list[Page] = []
        self._pending_page: Page | None = None

    def page(self, number: int, *, recognised: bool = False) -> None:
        """What follows stands on this page. A page without text gets no span."""
        self._pending_page = Page(number, 0, 0, recognised)

    def heading(self, level: int, text: str) -> None:
        line = " ".join(clean(text).split())
        if not line:
            return
        if len(line) > _MAX_HEADING_CHARS:
            self.paragraph(line)
            return
        start = self._append(f"{'#' * min(max(level, 1), 6)} {line}")
        self._headings.append((start, level, line))

    def paragraph(self, text: str) -> None:
        """A block of prose or code; of blank lines in a row one is kept, of spaces at line ends none."""
        block = "\n".join(line.rstrip() for line in clean(text).split("\n")).strip("\n")
        block = re.sub(r"\n{3,}", "\n\n", block)
        if block.strip():
            self._append(block)

    def item(self, text: str, depth: int = 0, marker: str = "-") -> None:
        lines = [line.strip() for line in clean(text).split("\n") if line.strip()]
        if lines:
            indent = "  " * depth
            self._append(f"{indent}{marker} " + f"\n{indent}  ".join(lines), item=True)

    def table(self, rows: Iterable[Sequence[str]]) -> None:
        """A pipe table; the first row is the header. Empty rows, and columns empty in every row, are left out."""
        cells = [[_cell(value) for value in row] for row in rows]
        cells = [row for row in cells if any(row)]
        width = max((len(row) for row in cells), default=0)
        cells = [row + [""] * (width - len(row)) for row in cells]
        used = [column for column in range(width) if any(row[column] for row in cells)]
        lines = ["| " + " | ".join(row[column] for column in used) + " |" for row in cells]
        if not lines:
            return
        rule = "|" + " --- |" * len(used)
        block = "\n".join([lines[0], rule, *lines[1:]])
        start = self._append(block)
        self._tables.append(Table(start, start + len(block), lines[0]))

    def build(self, title: str | None = None, date: str | None = None) -> Layout:
        text = "".join(self._parts)
        ends = [*(page.start for page in self._pages[1:]), len(text)][: len(self._pages)]
        pages = tuple(replace(page, end=end) for page, end in zip(self._pages, ends, strict=True))
        return Layout(text, sections_from(self._headings, len(text)), pages, tuple(self._tables), title, date)

    def _append(self, block: str, *, item: bool = False) -> int:
        separator = "" if not self._parts else "\n" if item and self._after_item else "\n\n"
        self._parts += [separator, block]
        start = self._length + len(separator)
        self._length = start + len(block)
        self._after_item = item
        if self._pending_page is not None:
            self._pages.append(replace(self._pending_page, start=start))
            self._pending_page = None
        return start


def _cell(value: str) -> str:
    return " ".join(clean(value).split()).replace("|", "\\|")
