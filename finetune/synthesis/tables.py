"""Questions from a document's tables: a cell by its row and column, a row by a cell, the largest and the smallest.

A table is read by rows where one column tells the rows apart, by columns where the header holds the part numbers.
One that has neither gives no questions. Knows nothing of languages' grammar; see ``wordings``.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from finetune.synthesis import wordings
from finetune.synthesis.found import Found, FoundKind
from rag.matching import identifiers
from rag.sentences import table_cells
from rag.types import Document, Table

_RULE = re.compile(r"\|?\s*:?--[\s:|-]*$")
_NUMBER = re.compile(r"[-+]?\d+(?:[ \u00a0\u202f]\d{3})*(?:[.,]\d+)?")
_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(?:,\d{3})+")
_UNIT_COLUMNS = ("unit", "units", "единица", "единица измерения", "ед. изм.", "ед.", "单位")
_EMPTY = frozenset(("", "-", "–", "—", "n/a", "/", "无", "нет"))
_LONGEST_CELL = 120
_LONGEST_KEY = 60
_LONGEST_REVERSED = 40
_FEWEST_TO_COMPARE = 4


@dataclass(frozen=True, slots=True)
class _Row:
    start: int
    end: int
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Grid:
    """Keys by attributes. ``unit_of`` is the unit of a cell, from the attribute's name or a column of units."""

    kind: str
    keys: tuple[str, ...]
    attributes: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]
    """One tuple for each key, in the attributes' order."""
    units: tuple[tuple[str | None, ...], ...]
    rows: tuple[tuple[_Row, ...], ...]
    """Where a value stands."""


def from_tables(document: Document, language: str, wordings_per_fact: int) -> Iterator[Found]:
    for number, table in enumerate(document.tables, start=1):
        grid = _grid(document.text, table)
        if grid is not None:
            name = f"table-{number}"
            yield from _lookups(grid, language, document.title, name, wordings_per_fact)
            yield from _reverse(grid, language, name, wordings_per_fact)
            yield from _extremes(grid, language, document.title, name, wordings_per_fact)


def _lookups(grid: _Grid, language: str, title: str, name: str, count: int) -> Iterator[Found]:
    for k, key in enumerate(grid.keys):
        for a, attribute in enumerate(grid.attributes):
            value = grid.values[k][a]
            if value.casefold() in _EMPTY or len(value) > _LONGEST_CELL:
                continue
            column, _ = wordings.split_unit(attribute)
            questions = wordings.lookups(language, key, column, count)
            if not wordings.names_a_thing(key):
                questions = [wordings.according_to(language, title, question) for question in questions]
            row = grid.rows[k][a]
            answer = _with_unit(value, grid.units[k][a])
            yield Found("table", tuple(questions), answer, row.start, row.end, f"{name}/{key}/{attribute}")


def _reverse(grid: _Grid, language: str, name: str, count: int) -> Iterator[Found]:
    """Which key has a value, where only one has it; one for each key, going round the attributes."""
    if len(grid.keys) < 2 or not grid.attributes:
        return
    for k, key in enumerate(grid.keys):
        for offset in range(len(grid.attributes)):
            a = (k + offset) % len(grid.attributes)
            value = grid.values[k][a]
            alike = [row[a] for row in grid.values].count(value)
            if value.casefold() in _EMPTY or len(value) > _LONGEST_REVERSED or alike > 1:
                continue
            column, _ = wordings.split_unit(grid.attributes[a])
            told = _with_unit(value, grid.units[k][a])
            row = grid.rows[k][a]
            questions = wordings.reverse(language, grid.kind, column, told, count)
            yield Found("table-reverse", tuple(questions), key, row.start, row.end, f"{name}/{key}/key")
            break


def _extremes(grid: _Grid, language: str, title: str, name: str, count: int) -> Iterator[Found]:
    for a, attribute in enumerate(grid.attributes):
        numbers = [_number(row[a]) for row in grid.values]
        known = [number for number in numbers if number is not None]
        if len(known) < _FEWEST_TO_COMPARE or len(known) < len(numbers) or len({row[a] for row in grid.units}) > 1:
            continue
        column, _ = wordings.split_unit(attribute)
        extremes: tuple[tuple[Literal["largest", "smallest"], Decimal], ...]
        extremes = (("largest", max(known)), ("smallest", min(known)))
        for word, best in extremes:
            if known.count(best) > 1:
                continue
            k = numbers.index(best)
            row = grid.rows[k][a]
            asked = wordings.extremes(language, grid.kind, column, count, largest=word == "largest")
            questions = [wordings.according_to(language, title, question) for question in asked]
            kind: FoundKind = "table-largest" if word == "largest" else "table-smallest"
            yield Found(kind, tuple(questions), grid.keys[k], row.start, row.end, f"{name}/{word}/{attribute}")


def _grid(text: str, table: Table) -> _Grid | None:
    header = table_cells(table.header)
    rows = [row for row in _rows(text, table) if len(row.cells) == len(header)]
    if len(header) < 2 or not rows or not all(header) or len({name.casefold() for name in header}) < len(header):
        return None
    if len(header) > 2 and all(identifiers(name) for name in header[1:]) and not identifiers(header[0]):
        return _by_columns(header, rows)
    return _by_rows(header, rows)


def _by_rows(header: Sequence[str], rows: Sequence[_Row]) -> _Grid | None:
    columns = list(zip(*(row.cells for row in rows), strict=True))
    key_at = next((at for at, cells in enumerate(columns) if _tells_apart(cells)), None)
    if key_at is None:
        return None
    unit_at = next((at for at, name in enumerate(header) if name.casefold() in _UNIT_COLUMNS), None)
    wanted = [at for at in range(len(header)) if at not in (key_at, unit_at)]

    def unit(row: _Row, at: int) -> str | None:
        own = wordings.split_unit(header[at])[1]
        if own is None and unit_at is not None and _number(row.cells[at]) is not None:
            return row.cells[unit_at] or None
        return own

    return _Grid(
        kind=wordings.split_unit(header[key_at])[0],
        keys=tuple(row.cells[key_at] for row in rows),
        attributes=tuple(header[at] for at in wanted),
        values=tuple(tuple(row.cells[at] for at in wanted) for row in rows),
        units=tuple(tuple(unit(row, at) for at in wanted) for row in rows),
        rows=tuple((row,) * len(wanted) for row in rows),
    )


def _by_columns(header: Sequence[str], rows: Sequence[_Row]) -> _Grid | None:
    names = [row.cells[0] for row in rows]
    if not _tells_apart(names):
        return None
    units = tuple(wordings.split_unit(name)[1] for name in names)
    return _Grid(
        kind=header[0],
        keys=tuple(header[1:]),
        attributes=tuple(names),
        values=tuple(tuple(row.cells[at] for row in rows) for at in range(1, len(header))),
        units=(units,) * (len(header) - 1),
        rows=(tuple(rows),) * (len(header) - 1),
    )


def _rows(text: str, table: Table) -> Iterator[_Row]:
    at = table.start
    for number, line in enumerate(text[table.start : table.end].splitlines(keepends=True)):
        bare = line.rstrip()
        if number > 0 and bare and not _RULE.match(bare.strip()):
            yield _Row(at, at + len(bare), tuple(table_cells(bare)))
        at += len(line)


def _tells_apart(cells: Sequence[str]) -> bool:
    """Names, each once: a column of bare numbers may tell rows apart too, but nobody asks by them."""
    counts = Counter(cell.casefold() for cell in cells)
    return (
        max(counts.values()) == 1
        and all(cell.casefold() not in _EMPTY and len(cell) <= _LONGEST_KEY for cell in cells)
        and not any(_number(cell) is not None for cell in cells)
    )


def _number(cell: str) -> Decimal | None:
    if not _NUMBER.fullmatch(cell):
        return None
    if _THOUSANDS.fullmatch(cell):
        return Decimal(cell.replace(",", ""))
    return Decimal(re.sub(r"\s", "", cell).replace(",", "."))


def _with_unit(value: str, unit: str | None) -> str:
    """``75 °C``; a cell of words keeps to itself."""
    return f"{value} {unit}" if unit is not None and _number(value) is not None else value
