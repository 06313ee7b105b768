"""Documents to chunks that fit the embedder's window, cut along headings, tables, paragraphs and pages.

A chunk's text is a verbatim span of the document. Its context (title, headings, a split table's header row) is
what the span alone would not tell. Both together are counted with the embedder's own tokenizer: a chunk that is too
long would lose its tail without a word.
"""

import bisect
import functools
import hashlib
import itertools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rag.config import ChunkingSettings
from rag.errors import ConfigError
from rag.interfaces import Embedder
from rag.splitting import SENTENCE_END, cut, trimmed
from rag.types import Chunk, Document, Section, Table, embedded_text

_REVISION = 1
"""Raised whenever the same document could give other chunks."""
_MAX_CHARS_PER_TOKEN = 10
"""Some tokenizers make one unknown token of a word of any length: characters are bounded as well."""
_SMALL_SHARE = 1 / 3
"""A section below this share of the window may be merged with its neighbour."""
_BLOCK = re.compile(r"\S(?:.*?)(?=\n[ \t]*\n|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Region:
    """A section, or the part of one that stands on one page."""

    section: Section
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Unit:
    """A piece that is not cut any further. ``table`` is set for the rows of a table that is split."""

    start: int
    end: int
    tokens: int
    table: Table | None = None


class Chunker:
    """Splits documents for one embedder."""

    def __init__(self, settings: ChunkingSettings, embedder: Embedder) -> None:
        if settings.max_tokens is not None and settings.max_tokens > embedder.max_tokens:
            raise ConfigError(
                f"chunking.max_tokens is {settings.max_tokens}, but {embedder.model} reads {embedder.max_tokens}: "
                "lower it or leave it unset"
            )
        self._window = settings.max_tokens or embedder.max_tokens
        self._overlap = settings.overlap_tokens
        if self._overlap > self._window // 2:
            raise ConfigError(
                f"chunking.overlap_tokens is {self._overlap}, more than half of the window of {self._window} tokens"
            )
        self._count = embedder.count_tokens
        self._frame = embedder.count_tokens("")
        self._max_context = int(settings.context_share * (self._window - self._frame))
        self._settings = settings
        self._embedder = embedder

    @property
    def fingerprint(self) -> str:
        """Changes whenever the same document could give other chunks."""
        parts = (_REVISION, self._window, self._overlap, self._max_context, self._embedder.fingerprint)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    def chunk(self, document: Document) -> list[Chunk]:
        """The chunks in order of their start.

        Every character but white space lies in a chunk; chunks overlap only by ``overlap_tokens`` and only inside a
        section. A chunk's page is the one it starts on, and no more than a begun sentence reaches beyond it.
        """
        chunks: list[Chunk] = []
        measured = _Measured(document, functools.cache(self._tokens))
        for group in self._groups(measured):
            chunks.extend(self._chunk_group(measured, group))
        assert _covers(document.text, chunks)
        return chunks

    def _tokens(self, text: str) -> int:
        """What a text adds to a chunk's tokens, never less than its characters allow and never nothing."""
        by_characters = math.ceil(len(text) / _MAX_CHARS_PER_TOKEN)
        if by_characters > self._window:
            return by_characters
        return max(self._count(text) - self._frame, by_characters, 1) if text else 0

    # --- grouping sections ----------------------------------------------------------------------

    def _groups(self, measured: "_Measured") -> Iterator[list[_Region]]:
        """Runs of small neighbouring regions below one parent that fit a chunk; any other region by itself."""
        group: list[_Region] = []
        total = 0
        small = self._window * _SMALL_SHARE
        for region in _regions(measured.document):
            tokens = measured.tokens(region.start, region.end)
            joins = False
            if group and _below_one_parent(measured.document.text, group[0], region):
                bare = all(_is_bare_heading(measured.document.text, one) for one in group)
                fits = total + tokens <= self._budget(measured, group[0].section)
                joins = bare or (fits and min(total, tokens) <= small)
                joins = joins and measured.page_at(group[-1].start) == measured.page_at(region.start)
            if not joins and group:
                yield group
                group, total = [], 0
            group.append(region)
            total += tokens
        if group:
            yield group

    def _chunk_group(self, measured: "_Measured", group: Sequence[_Region]) -> Iterator[Chunk]:
        for start, end, table in self._packed(measured, list(self._units(measured, group)), group[-1].section):
            yield from self._fitted(measured, start, end, group, table)

    # --- units ----------------------------------------------------------------------------------

    def _units(self, measured: "_Measured", group: Sequence[_Region]) -> Iterator[_Unit]:
        """The blocks in order: paragraphs, whole tables, rows of large tables, pieces of large paragraphs.

        What follows a heading leaves room for it, so that the heading never stands alone.
        """
        headings = 0
        for region in group:
            budget = self._budget(measured, region.section)
            for start, end, table in _blocks(measured, region.start, region.end):
                limit = max(budget - headings, 2)
                tokens = measured.tokens(start, end)
                if _is_heading(measured.document.text, start, end) and tokens <= limit // 2:
                    headings += tokens
                    yield _Unit(start, end, tokens)
                    continue
                headings = 0
                if tokens <= limit:
                    yield _Unit(start, end, tokens)
                elif table is None:
                    yield from self._pieces(measured, start, end, limit, None)
                else:
                    yield from self._rows(measured, table, limit)

    def _rows(self, measured: "_Measured", table: Table, limit: int) -> Iterator[_Unit]:
        text = measured.document.text
        position = table.start
        head = True
        for line in text[table.start : table.end].splitlines(keepends=True):
            start, end = trimmed(text, position, position + len(line))
            position += len(line)
            if start < end:
                yield from self._pieces(measured, start, end, limit, None if head else table)
            head = head and re.fullmatch(r"[|\s:-]*", line) is None  # up to and with the rule below the header

    def _pieces(self, measured: "_Measured", start: int, end: int, limit: int, table: Table | None) -> Iterator[_Unit]:
        """The span as one unit, or cut where it is too long, at the coarsest separators that will do."""
        if table is not None:
            limit = max(limit - self._header_tokens(measured, table), 2)
        tokens = measured.tokens(start, end)
        if tokens <= limit:
            yield _Unit(start, end, tokens, table)
            return
        text = measured.document.text
        for first, last in cut(text, start, end, max(limit - self._overlap, 2), measured.count):
            first, last = trimmed(text, first, last)
            if first < last:
                yield _Unit(first, last, measured.tokens(first, last), table)

    def _budget(self, measured: "_Measured", section: Section) -> int:
        """Tokens that text may have beside the section's context."""
        return max(self._window - self._frame - self._context_tokens(measured, section), 2)

    # --- packing --------------------------------------------------------------------------------

    def _packed(
        self, measured: "_Measured", units: Sequence[_Unit], section: Section
    ) -> Iterator[tuple[int, int, Table | None]]:
        """Neighbouring units up to the budget, evenly: no chunk full to the brim before one with a single line.

        The table is that of the first unit, whose header the context must repeat.
        """
        budget = self._budget(measured, section)
        fill = math.ceil(sum(unit.tokens for unit in units) / budget)
        even = math.ceil(sum(unit.tokens for unit in units) / fill) if fill else 0
        packed: list[_Unit] = []
        total = reserve = 0
        for unit in units:
            overflows = total + unit.tokens > budget - reserve
            evened = fill > 1 and total + unit.tokens / 2 > even and not _only_headings(measured, packed)
            if packed and (overflows or evened):
                yield packed[0].start, packed[-1].end, packed[0].table
                last, packed, total = packed[-1], [], 0
                if overlap := self._overlap_unit(measured, last, unit):
                    packed, total = [overlap], overlap.tokens
            if not packed:
                reserve = self._header_tokens(measured, unit.table)
            packed.append(unit)
            total += unit.tokens
        if packed:
            yield packed[0].start, packed[-1].end, packed[0].table

    def _overlap_unit(self, measured: "_Measured", last: _Unit, following: _Unit) -> _Unit | None:
        """The end of the last unit, from a sentence's start on, as long as the overlap allows; rows never overlap."""
        if not self._overlap or last.table or following.table:
            return None
        best = None
        ends = [match.end() for match in SENTENCE_END.finditer(measured.document.text, last.start, last.end)]
        for end in reversed(ends):
            start, stop = trimmed(measured.document.text, end, last.end)
            if start < stop:
                tokens = measured.tokens(start, stop)
                if tokens > self._overlap:
                    break
                best = _Unit(start, stop, tokens)
        return best

    # --- context and fit ------------------------------------------------------------------------

    def _fitted(
        self, measured: "_Measured", start: int, end: int, group: Sequence[_Region], table: Table | None
    ) -> Iterator[Chunk]:
        """The span as a chunk; cut in two where the estimate was too low, until the exact count fits."""
        document = measured.document
        text = document.text[start:end]
        path = _heading_path(group, start, end)
        context = self._context(measured, text, path, table)
        fits = len(text) <= self._window * _MAX_CHARS_PER_TOKEN
        fits = fits and self._count(embedded_text(context, text)) <= self._window
        if not fits and len(text) == 1:
            context, fits = "", True
            assert self._count(text) <= self._window
        if fits:
            yield Chunk(text, context, start, end, path, measured.page_at(start))
            return
        half = max(measured.tokens(start, end) // 2, 2)
        pieces = list(cut(document.text, start, end, half, measured.count))
        if len(pieces) < 2:
            middle = (start + end) // 2
            pieces = [(start, middle), (middle, end)]
        for first, last in pieces:
            first, last = trimmed(document.text, first, last)
            if first < last:
                yield from self._fitted(measured, first, last, group, table)

    def _context(self, measured: "_Measured", text: str, path: tuple[str, ...], table: Table | None) -> str:
        names = dict.fromkeys([" ".join(measured.document.title.split()), *path])
        line = self._shortened(measured, [name for name in names if name and name not in text])
        if table is None:
            return line
        header = self._shortened_to(measured, table.header, self._max_context)
        rest = self._max_context - measured.count(header)
        line = self._shortened_to(measured, line, rest) if rest > 0 else ""
        return f"{line}\n{header}" if line and header else line or header

    def _shortened(self, measured: "_Measured", names: list[str]) -> str:
        """The names joined; where they are too long, those between the first and the last go first."""
        while len(names) > 2 and measured.count(" > ".join(names)) > self._max_context:
            del names[1]
        return self._shortened_to(measured, " > ".join(names), self._max_context)

    def _shortened_to(self, measured: "_Measured", text: str, max_tokens: int) -> str:
        while text and measured.count(text) > max_tokens:
            keep = int(len(text) * max_tokens / measured.count(text))
            text = text[: min(keep, len(text) - 1)].rstrip(" >|")
        return text

    def _context_tokens(self, measured: "_Measured", section: Section) -> int:
        return measured.count(self._context(measured, "", section.heading_path, None)) + 1

    def _header_tokens(self, measured: "_Measured", table: Table | None) -> int:
        return min(measured.count(table.header) + 1, self._max_context) if table else 0


class _Measured:
    """A document with its token counts, each span counted once."""

    def __init__(self, document: Document, count: Callable[[str], int]) -> None:
        self.document = document
        self.count = count
        self._table_starts = [table.start for table in document.tables]
        self._page_starts = [page.start for page in document.pages]

    def tokens(self, start: int, end: int) -> int:
        return self.count(self.document.text[start:end])

    def tables_in(self, start: int, end: int) -> Sequence[Table]:
        first, last = bisect.bisect_left(self._table_starts, start), bisect.bisect_left(self._table_starts, end)
        return self.document.tables[first:last]

    def page_at(self, offset: int) -> int | None:
        index = bisect.bisect_right(self._page_starts, offset) - 1
        return self.document.pages[index].number if index >= 0 else None


def _regions(document: Document) -> Iterator[_Region]:
    """The sections, cut where a page ends. A sentence that runs over goes with the page it began on."""
    sections = document.sections or (Section((), 0, len(document.text)),)
    cuts = [_page_cut(document.text, page.start, page.end) for page in document.pages[1:]]
    for section in sections:
        inside = [cut for cut in cuts if section.start < cut < section.end]
        for start, end in zip([section.start, *inside], [*inside, section.end], strict=True):
            if document.text[start:end].strip():
                yield _Region(section, start, end)


def _page_cut(text: str, start: int, end: int) -> int:
    before = text[max(start - 200, 0) : start].rstrip()
    if not before or before[-1] in ".!?…:;。！？；：|)" or text.startswith("#", start):
        return start
    match = SENTENCE_END.search(text, start, min(end, start + 600))
    return match.end() if match else start


def _is_bare_heading(text: str, region: _Region) -> bool:
    return _is_heading(text, *trimmed(text, region.start, region.end))


def _below_one_parent(text: str, first: _Region, other: _Region) -> bool:
    """Whether ``other`` belongs below ``first`` or is its sibling; a sibling's bare heading goes with what follows."""
    path, other_path = first.section.heading_path, other.section.heading_path
    if other_path[: len(path)] == path:
        return True
    return other_path[:-1] == path[:-1] and not _is_bare_heading(text, other)


def _heading_path(group: Sequence[_Region], start: int, end: int) -> tuple[str, ...]:
    """Of the section that the span begins inside of; from a heading on, what all sections in the span share."""
    sections = [region.section for region in group if region.start < end and start < region.end]
    if start > sections[0].start:
        return sections[0].heading_path
    shared = sections[0].heading_path
    for section in sections[1:]:
        pairs = zip(shared, section.heading_path, strict=False)
        shared = tuple(one for one, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
    return shared


def _blocks(measured: "_Measured", start: int, end: int) -> Iterator[tuple[int, int, Table | None]]:
    """Tables whole, and between them what blank lines separate."""
    text = measured.document.text
    for table in measured.tables_in(start, end):
        for block in _BLOCK.finditer(text, start, table.start):
            yield (*trimmed(text, block.start(), block.end()), None)
        yield (*trimmed(text, table.start, table.end), table)
        start = table.end
    for block in _BLOCK.finditer(text, start, end):
        yield (*trimmed(text, block.start(), block.end()), None)


def _is_heading(text: str, start: int, end: int) -> bool:
    return text.startswith("#", start) and "\n" not in text[start:end]


def _only_headings(measured: "_Measured", units: Sequence[_Unit]) -> bool:
    return all(_is_heading(measured.document.text, unit.start, unit.end) for unit in units)


def _covers(text: str, chunks: Sequence[Chunk]) -> bool:
    position = 0
    for chunk in chunks:
        if chunk.text != text[chunk.start : chunk.end] or not chunk.text.strip():
            return False
        if text[position : chunk.start].strip():
            return False
        position = max(position, chunk.end)
    return not text[position:].strip()
