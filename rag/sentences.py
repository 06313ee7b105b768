"""Text to sentence spans: what is quoted, attributed and checked. Knows nothing of models or questions.

A table row, a list item and a heading line are spans of their own, so that a quote never glues them to prose.
"""

import re
from collections.abc import Iterator

import sentencex

_OWN_LINE = re.compile(r"\s*(?:\||[-*+•–]\s|#{1,6}\s|\d{1,3}[.)]\s)")
_TABLE_RULE = re.compile(r"\|?\s*:?--[\s:|-]*$")
_SENTENCE_END = re.compile(r"[.!?:;。！？：；…][\"'»”’)\]）】]*\s*$")
_BAR = re.compile(r"(?<!\\)\|")
_SURROGATE = re.compile("[\ud800-\udfff]")
_WINDOW_CHARACTERS = 2000
"""Prose is split so much at a time, for the splitter's time grows with the square; a longer sentence is cut here."""
_SHORT_LINE = 0.6
"""A line shorter than this share of its block's longest, without an end mark, was not wrapped: it stands alone."""


def sentence_spans(text: str, language: str | None = None) -> list[tuple[int, int]]:
    """Half-open spans in order, without surrounding white space, covering everything but table rules.

    ``language`` is an ISO 639-1 code; English rules are used for ``None``.
    """
    spans: list[tuple[int, int]] = []
    for block_start, block_end in _blocks(text):
        for start, end in _runs(text, block_start, block_end):
            piece = text[start:end]
            if _TABLE_RULE.match(piece.strip()):
                continue
            found = [(start, end)] if _OWN_LINE.match(piece) else _prose(text, start, end, language or "en")
            spans.extend(span for span in (_stripped(text, *span) for span in found) if span[0] < span[1])
    return spans


def is_table_row(sentence: str) -> bool:
    return sentence.startswith("|")


def table_cells(row: str) -> list[str]:
    """The cells of a pipe table's row, stripped; a bar that belongs to a cell's text is written ``\\|``."""
    cells = _BAR.split(row.strip())
    first, last = cells[0] == "", len(cells) > 1 and cells[-1] == ""
    return [cell.strip().replace("\\|", "|") for cell in cells[first : len(cells) - last]]


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    """Stretches of lines that are not blank."""
    start, at = None, 0
    for line in text.split("\n"):
        if line and not line.isspace():
            start = at if start is None else start
        elif start is not None:
            yield start, at
            start = None
        at += len(line) + 1
    if start is not None:
        yield start, len(text)


def _prose(text: str, start: int, end: int, language: str) -> Iterator[tuple[int, int]]:
    """Sentences of wrapped lines; a blank in place of each break keeps the offsets."""
    while start < end:
        limit = min(end, start + _WINDOW_CHARACTERS)
        window = _SURROGATE.sub("\ufffd", text[start:limit].replace("\n", " "))
        found = [
            (start + boundary["start_index"], start + boundary["end_index"])
            for boundary in sentencex.get_sentence_boundaries(language, window)
        ]
        if limit < end and len(found) > 1:
            found.pop()
        yield from found
        start = found[-1][1] if found else limit


def _runs(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Split a block of lines into runs: lines that stand alone, and stretches of wrapped prose."""
    lines: list[tuple[int, int]] = []
    at = start
    for line in text[start:end].splitlines(keepends=True):
        lines.append((at, at + len(line)))
        at += len(line)
    longest = max(len(text[a:b].rstrip()) for a, b in lines)
    runs: list[tuple[int, int]] = []
    joins = False
    for a, b in lines:
        line = text[a:b].rstrip()
        alone = _OWN_LINE.match(line) is not None
        if joins and not alone:
            runs[-1] = (runs[-1][0], b)
        else:
            runs.append((a, b))
        starts_row = line.lstrip().startswith(("|", "#"))
        unwrapped = len(line) < _SHORT_LINE * longest and not _SENTENCE_END.search(line)
        joins = not starts_row and not unwrapped
    return runs


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end
