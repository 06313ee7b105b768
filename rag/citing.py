"""Answer text to citations that were checked: markers, attribution, support. Knows nothing of how the text was made.

A marker ``[n]`` without a passage ``n`` never comes out, streamed or not. Sentences without a marker are attributed to
evidence afterwards where it supports them, and the citation says so.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from rag.interfaces import Entailment, PageOf
from rag.languages import language_by_script
from rag.matching import Piece, Similarity
from rag.sentences import sentence_spans
from rag.supporting import Judge
from rag.types import Citation, Evidence

_MARKER = re.compile(r"[\[【]\s*(\d+(?:\s*[,;]\s*\d+)*)\s*[\]】]")
_PRINTED = re.compile(r"\[(\d+)\]")
_OPENING = "[【"
_LONGEST_MARKER = 40
_LINE = re.compile(r"[^\n]+")
_LEADING_MARKERS = re.compile(r"(?:\s*\[\d+\])+")


class MarkerFilter:
    """Lets text through as it streams, holding back what could become a marker; valid ones come out as ``[n]``.

    How the text is cut into pieces changes nothing. A bracket that could still pair with later text into a marker that
    was never checked is dropped.
    """

    def __init__(self, valid: Sequence[int]) -> None:
        self._valid = frozenset(valid)
        self._held = ""

    def feed(self, delta: str) -> str:
        """The text that can be shown now."""
        return "".join(self._next(sign) for sign in delta)

    def flush(self) -> str:
        """The end of the text: a half marker is dropped, a lone bracket is text."""
        held, self._held = self._held, ""
        return "" if any(sign.isdecimal() for sign in held) else held

    def _next(self, sign: str) -> str:
        if not self._held:
            if sign in _OPENING:
                self._held = sign
                return ""
            return sign
        if sign in _OPENING or len(self._held) >= _LONGEST_MARKER:
            rest, self._held = self._held[1:], ""
            return rest + self._next(sign)
        self._held += sign
        if sign.isdecimal() or sign.isspace() or sign in ",;":
            return ""
        held, self._held = self._held, ""
        marker = _MARKER.fullmatch(held)
        if marker is None:
            return held
        named = (int(number) for number in re.findall(r"\d+", marker.group(1)))
        return "".join(f"[{number}]" for number in named if number in self._valid)


class Renumbering:
    """Evidence numbers, which run through a conversation, to numbers by first use in one answer: presentation only.

    Text is given as ``MarkerFilter`` lets it through, where no marker is ever cut in two.
    """

    def __init__(self) -> None:
        self._shown: dict[int, int] = {}

    def text(self, delta: str) -> str:
        return _PRINTED.sub(lambda marker: f"[{self.number(int(marker[1]))}]", delta)

    def number(self, marker: int) -> int:
        """The reader's number; the next one for a marker that was not seen before."""
        return self._shown.setdefault(marker, len(self._shown) + 1)


def numbers_for_readers(text: str, citations: Iterable[Citation]) -> dict[int, int]:
    """Each cited evidence number to the reader's: those printed in the text first, then those found afterwards."""
    in_order = sorted(citations, key=lambda citation: citation.answer_start)
    cited = {citation.marker for citation in in_order}
    order = dict.fromkeys(int(number) for number in _PRINTED.findall(text))
    for citation in in_order:
        order.setdefault(citation.marker)
    return {number: place for place, number in enumerate(order, start=1) if number in cited}


@dataclass(frozen=True, slots=True)
class Cited:
    """``supported``: every sentence has a citation that supports it. ``None`` for a text without sentences."""

    citations: tuple[Citation, ...]
    supported: bool | None


@dataclass(frozen=True, slots=True)
class _Sentence:
    start: int
    end: int
    bare: str
    """The text without its markers."""
    markers: tuple[int, ...]


def cite(
    text: str,
    evidence: Sequence[Evidence],
    similarity: Similarity,
    page_of: PageOf,
    term_weights: Mapping[str, float] | None = None,
    question: str | None = None,
    entailment: Entailment | None = None,
) -> Cited:
    """Tie each sentence to the best piece of each passage it names, or of all where it names none.

    ``term_weights`` says how rare the text's terms are in the collection; without, their rarity in the evidence counts.
    With the ``question`` it is known what a sentence adds to it, and that above all must stand in the piece. With
    ``entailment`` a model has the last word on pieces that nothing speaks against.
    """
    sentences = _sentences(text)
    if not sentences:
        return Cited((), None)
    judge = partial(Judge, similarity=similarity, term_weights=term_weights, question=question, entailment=entailment)
    passages = {passage.number: judge([passage]) for passage in evidence}
    anywhere = judge(evidence)
    citations: list[Citation] = []
    supported = True
    for sentence in sentences:
        attributed = not sentence.markers
        candidates = [passages[marker] for marker in sentence.markers if marker in passages] or [anywhere]
        found = [match for pieces in candidates if (match := pieces.best(sentence.bare)) is not None]
        supported = supported and any(holds for _, holds in found)
        citations += [
            _citation(piece, sentence.start, sentence.end, page_of, supported=holds, attributed=attributed)
            for piece, holds in found
            if holds or not attributed
        ]
    return Cited(tuple(citations), supported)


def quote(pieces: Sequence[Piece], page_of: PageOf) -> tuple[str, Cited]:
    """An answer of pieces as they stand, one a line with its marker behind it, and the citations that it has by that.

    What looks like a marker in a document's own text is put in round brackets.
    """
    lines: list[str] = []
    citations: list[Citation] = []
    at = 0
    for piece in pieces:
        text = _MARKER.sub(r"(\1)", piece.readable)
        line = f"{text} [{piece.evidence.number}]"
        citations.append(_citation(piece, at, at + len(line), page_of, supported=True, attributed=False))
        lines.append(line)
        at += len(line) + 1
    return "\n".join(lines), Cited(tuple(citations), True if pieces else None)


def _citation(piece: Piece, start: int, end: int, page_of: PageOf, *, supported: bool, attributed: bool) -> Citation:
    passage, page = piece.evidence, page_of(piece.evidence, piece.start)
    return Citation(
        marker=passage.number,
        document_id=passage.document_id,
        source=passage.source,
        title=passage.title,
        page=None if page is None else page.number,
        start=piece.start,
        end=piece.end,
        quote=piece.text,
        supported=supported,
        attributed=attributed,
        answer_start=start,
        answer_end=end,
        recognised=page is not None and page.recognised,
    )


def _sentences(text: str) -> list[_Sentence]:
    """Sentences with their markers; markers behind a full stop belong to the sentence before them.

    A line's end always ends a sentence: models don't wrap their lines.
    """
    spans: list[tuple[int, int]] = []
    language = language_by_script(text)
    lines = [
        (match.start() + start, match.start() + end)
        for match in _LINE.finditer(text)
        for start, end in sentence_spans(match.group(), language)
    ]
    for start, end in lines:
        leading = _LEADING_MARKERS.match(text, start, end)
        if leading and spans:
            spans[-1] = (spans[-1][0], leading.end())
            start = leading.end()
            while start < end and text[start].isspace():
                start += 1
        if start < end:
            spans.append((start, end))
    sentences = []
    for start, end in spans:
        whole = text[start:end]
        bare = " ".join(_MARKER.sub(" ", whole).split())
        if any(sign.isalnum() for sign in bare):
            markers = tuple(
                dict.fromkeys(int(n) for group in _MARKER.findall(whole) for n in re.findall(r"\d+", group))
            )
            sentences.append(_Sentence(start, end, bare, markers))
    return sentences
