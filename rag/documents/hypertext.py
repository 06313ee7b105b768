"""HTML to a layout, with the standard library's parser.

kreuzberg's HTML reader drops text that stands in no paragraph, captions, quotations and definition lists, so this one
is ours. What a browser would not show (scripts, styles, hidden parts) is no text.
"""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

from rag.documents.decoding import declared_encoding, decode
from rag.documents.layout import Layout, LayoutBuilder

_SKIPPED = frozenset("script style template noscript svg math iframe object select button nav".split())  # noqa: SIM905
_VOID = frozenset("area base br col embed hr img input link meta source track wbr".split())  # noqa: SIM905
_HIDEABLE = frozenset("div section article aside span form details table".split())  # noqa: SIM905
"""Tags that must be closed: a hidden ``<p>`` may be left open, and would hide the rest of the page."""
_INLINE_TEXT = (
    "a abbr acronym b bdi bdo big cite code data del dfn em font i img ins kbd label mark q rp rt ruby s samp"
)
_INLINE_FORM = "small span strike strong sub sup time tt u var wbr input"
_INLINE = frozenset(f"{_INLINE_TEXT} {_INLINE_FORM}".split())
_MAX_CELL_CHARS = 1000
"""A table with a longer cell is there for the looks."""
_DATE_NAMES = ("date", "dcterms.modified", "dcterms.created", "dc.date", "last-modified", "article:modified_time",
               "article:published_time")  # fmt: skip
# Conditional comments and other marked sections: html.parser raises on those it doesn't know.
_MARKED_SECTION = re.compile(r"<!\[.*?\]>", re.DOTALL)


def read_html(data: bytes) -> Layout:
    return layout_html(decode(data, declared_encoding(data)))


def layout_html(html: str, builder: LayoutBuilder | None = None) -> Layout:
    """The page's layout; with a ``builder`` its blocks follow what was built before."""
    reader = _Reader(builder or LayoutBuilder())
    reader.feed(_MARKED_SECTION.sub("", html))
    reader.close()
    return reader.finish()


@dataclass(frozen=True, slots=True)
class _Cell:
    text: str
    columns: int
    rows: int


@dataclass(slots=True)
class _Table:
    """A table being read. One that holds other tables, headings or lists is there for the looks: ``laid_out``."""

    rows: list[list[_Cell]] = field(default_factory=list)
    outer_text: list[str] | None = None
    """While a cell is open: the text that stood before it."""
    columns: int = 1
    spanned_rows: int = 1
    laid_out: bool = False


class _Reader(HTMLParser):
    def __init__(self, builder: LayoutBuilder) -> None:
        super().__init__(convert_charrefs=True)
        self._builder = builder
        self._text: list[str] = []
        self._title: list[str] = []
        self._dates: dict[str, str] = {}
        self._heading = 0
        self._preformatted = 0
        self._item_marker: str | None = None
        self._lists: list[int | None] = []
        self._tables: list[_Table] = []
        self._skipped: list[str] = []
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if self._skipped:
            if tag == self._skipped[-1]:
                self._skipped.append(tag)
        elif tag in _SKIPPED or ("hidden" in attributes and tag in _HIDEABLE):
            self._skipped.append(tag)
        elif tag == "meta":
            name = (attributes.get("name") or attributes.get("property") or "").lower()
            if name in _DATE_NAMES and attributes.get("content"):
                self._dates.setdefault(name, str(attributes["content"]))
        elif tag == "title":
            self._in_title = not self._title
        elif tag == "br":
            self._text.append("\n")
        elif tag == "img":
            self._text.append(f" {attributes.get('alt') or ''} ")
        elif tag not in _INLINE:
            self._open_block(tag, attributes)

    def handle_endtag(self, tag: str) -> None:
        if self._skipped:
            if tag == self._skipped[-1]:
                self._skipped.pop()
        elif tag == "title":
            self._in_title = False
        elif tag not in _INLINE and tag not in _VOID:
            self._close_block(tag)

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self._title.append(data)
        elif not self._skipped:
            self._text.append(data if self._preformatted else re.sub(r"[ \t\r\n\f]+", " ", data))

    def finish(self) -> Layout:
        while self._tables:
            self._close_table()
        self._flush()
        date = next((self._dates[name] for name in _DATE_NAMES if name in self._dates), None)
        return self._builder.build(" ".join("".join(self._title).split()) or None, date)

    def _open_block(self, tag: str, attributes: dict[str, str | None]) -> None:
        heading = re.fullmatch("h([1-6])", tag)
        if self._tables and (heading or tag in ("table", "ul", "ol")):
            self._dissolve(self._tables[-1])
        if tag == "table":
            self._flush()
            self._tables.append(_Table())
        elif self._tables and not self._tables[-1].laid_out:
            self._open_in_table(tag, attributes)
        else:
            self._flush()
            if heading:
                self._heading = int(heading[1])
            elif tag == "pre":
                self._preformatted += 1
            elif tag in ("ul", "ol"):
                self._lists.append(0 if tag == "ol" else None)
            elif tag == "li":
                number = self._lists[-1] if self._lists else None
                if number is not None:
                    self._lists[-1] = number + 1
                self._item_marker = "-" if number is None else f"{number + 1}."

    def _close_block(self, tag: str) -> None:
        if tag == "table":
            if self._tables:
                self._close_table()
        elif self._tables and not self._tables[-1].laid_out:
            if tag in ("td", "th", "tr"):
                self._close_cell()
            elif tag == "caption":
                self._flush()
            else:
                self._text.append("\n\n")
        else:
            self._flush()
            if re.fullmatch("h[1-6]", tag):
                self._heading = 0
            elif tag == "pre":
                self._preformatted = max(self._preformatted - 1, 0)
            elif tag in ("ul", "ol") and self._lists:
                self._lists.pop()
                self._item_marker = " " if self._lists else None
            elif tag == "li":
                self._item_marker = None

    def _open_in_table(self, tag: str, attributes: dict[str, str | None]) -> None:
        table = self._tables[-1]
        if tag == "tr":
            self._close_cell()
            table.rows.append([])
        elif tag in ("td", "th"):
            self._close_cell()
            if not table.rows:
                table.rows.append([])
            table.outer_text, self._text = self._text, []
            table.columns, table.spanned_rows = _span(attributes.get("colspan")), _span(attributes.get("rowspan"))
        elif tag != "caption":
            self._text.append("\n\n")

    def _close_cell(self) -> None:
        table = self._tables[-1]
        if table.outer_text is not None:
            table.rows[-1].append(_Cell(_lines("".join(self._text)), table.columns, table.spanned_rows))
            self._text, table.outer_text = table.outer_text, None

    def _close_table(self) -> None:
        if not self._tables[-1].laid_out:
            self._close_cell()
        table = self._tables.pop()
        self._flush()
        if not table.laid_out:
            cells = [cell for row in table.rows for cell in row]
            if max(map(len, table.rows), default=0) > 1 and all(len(cell.text) <= _MAX_CELL_CHARS for cell in cells):
                self._builder.table(_grid(table.rows))
            else:
                self._as_paragraphs(table)

    def _dissolve(self, table: _Table) -> None:
        """Take a table for a frame: its cells so far are paragraphs, and its tags part blocks from now on."""
        if not table.laid_out:
            open_text = self._text if table.outer_text is not None else []
            before = self._text if table.outer_text is None else table.outer_text
            table.laid_out, self._text = True, before
            self._flush()
            self._as_paragraphs(table)
            self._text = open_text

    def _as_paragraphs(self, table: _Table) -> None:
        for row in table.rows:
            for cell in row:
                self._builder.paragraph(cell.text)

    def _flush(self) -> None:
        raw, self._text = "".join(self._text), []
        if not raw.strip():
            return
        block = _lines(raw)
        if self._preformatted:
            self._builder.paragraph(raw)
        elif self._heading:
            self._builder.heading(self._heading, block)
        elif self._item_marker is not None:
            self._builder.item(block, max(len(self._lists) - 1, 0), self._item_marker)
            self._item_marker = " "  # what follows in the same item is indented below it
        else:
            self._builder.paragraph(block)


def _lines(text: str) -> str:
    return "\n".join(" ".join(line.split()) for line in text.split("\n")).strip()


def _span(value: str | None) -> int:
    return min(int(value), 1000) if value and value.isascii() and value.isdigit() and int(value) else 1


def _grid(rows: list[list[_Cell]]) -> list[list[str]]:
    """Cells at their columns: a cell over several rows is repeated in each, one over several columns stands first."""
    grid: list[list[str]] = []
    open_cells: dict[int, tuple[int, str]] = {}
    for row in rows:
        line: list[str] = []
        cells = iter(row)
        while True:
            left, text = open_cells.get(len(line), (0, ""))
            if left:
                open_cells[len(line)] = (left - 1, text)
                line.append(text)
                continue
            cell = next(cells, None)
            if cell is None:
                break
            open_cells[len(line)] = (cell.rows - 1, cell.text)
            line += [cell.text, *[""] * (cell.columns - 1)]
        grid.append(line)
    return grid
