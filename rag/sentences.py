"""Text to sentence spans: what is quoted, attributed and checked. Knows nothing of models or questions.

A table row, a list item and a heading line are spans of their own, so that a quote never glues them to prose.
"""

import re

import sentencex

_OWN_LINE = re.compile(r"\s*(?:\||[-*+•–]\s|#{1,6}\s|\d{1,3}[.)]\s)")
_TABLE_RULE = re.compile(r"\s*\|?\s*:?-{2,}[\s:|-]*$")
_SENTENCE_END = re.compile(r"[.!?:;。！？：；…][\"'»”’)\]）】]*\s*$")
_BLOCK = re.compile(r"(?:[^\n]*\S[^\n]*(?:\n|$))+")
_SHORT_LINE = 0.6
"""A line shorter than this share of its block's longest, without an end mark, was not wrapped: it stands alone."""


def sentence_spans(text: str, language: str | None = None) -> list[tuple[int, int]]:
    """Half-open spans in order, without surrounding white space, covering everything but table rules.

    ``language`` is an ISO 639-1 code; English rules are used for ``None``.
    """
    spans: list[tuple[int, int]] = []
    for block in _BLOCK.finditer(text):
        for start, end in _runs(text, block.start(), block.end()):
            piece = text[start:end]
            if _TABLE_RULE.match(piece):
                continue
            if _OWN_LINE.match(piece):
                spans.append(_stripped(text, start, end))
                continue
            # Wrapped lines are one sentence; a blank in place of the break keeps the offsets.
            for boundary in sentencex.get_sentence_boundaries(language or "en", piece.replace("\n", " ")):
                span = _stripped(text, start + boundary["start_index"], start + boundary["end_index"])
                if span[0] < span[1]:
                    spans.append(span)
    return spans


def is_table_row(sentence: str) -> bool:
    return sentence.startswith("|")


def table_cells(row: str) -> list[str]:
    """The cells of a pipe table's row, stripped."""
    return [cell.strip() for cell in row.strip().strip("|").split("|")]


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
