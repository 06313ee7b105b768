"""Answer text to citations that were checked: markers, attribution, support. Knows nothing of how the text was made.

A marker ``[n]`` without a passage ``n`` never comes out, streamed or not. Sentences without a marker in an answer that
cites nothing are attributed to evidence afterwards, and the citation says so.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rag.analysis import analyze
from rag.matching import Piece, Similarity, TermMatcher, facts, numbers, pieces_of
from rag.sentences import sentence_spans
from rag.types import Citation, Evidence

PageOf = Callable[[Evidence, int], int | None]
"""(passage, document offset) to the page there."""

_MARKER = re.compile(r"[\[【]\s*(\d{1,4}(?:\s*[,;]\s*\d{1,4})*)\s*[\]】]")
_OPENING = "[【"
_LONGEST_MARKER = 40
_LEADING_MARKERS = re.compile(r"(?:\s*\[\d+\])+")
_MIN_COVERAGE = 0.5
_MIN_COSINE = 0.6
_MIN_COVERAGE_WITH_COSINE = 0.3


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


def cite(text: str, evidence: Sequence[Evidence], similarity: Similarity, page_of: PageOf) -> Cited:
    """Tie each sentence to the best piece of the passages it names, or of any where no sentence names one."""
    sentences = _sentences(text)
    if not sentences:
        return Cited((), None)
    pieces = {passage.number: pieces_of(passage) for passage in evidence}
    names_sources = any(sentence.markers for sentence in sentences)
    citations: list[Citation] = []
    supported = True
    for sentence in sentences:
        if names_sources:
            candidates = [pieces.get(marker, []) for marker in sentence.markers]
        else:
            candidates = [[piece for own in pieces.values() for piece in own]]
        found = [
            (piece, holds)
            for own in candidates
            for piece, holds in [_best_piece(sentence.bare, own, similarity)]
            if piece is not None and (names_sources or holds)
        ]
        supported = supported and any(holds for _, holds in found)
        citations += [
            _citation(piece, sentence, holds, attributed=not names_sources, page_of=page_of) for piece, holds in found
        ]
    return Cited(tuple(citations), supported)


def _citation(piece: Piece, sentence: _Sentence, supported: bool, *, attributed: bool, page_of: PageOf) -> Citation:
    passage = piece.evidence
    return Citation(
        marker=passage.number,
        document_id=passage.document_id,
        source=passage.source,
        title=passage.title,
        page=page_of(passage, piece.start),
        start=piece.start,
        end=piece.end,
        quote=piece.text,
        supported=supported,
        attributed=attributed,
        answer_start=sentence.start,
        answer_end=sentence.end,
    )


def _best_piece(sentence: str, pieces: Sequence[Piece], similarity: Similarity) -> tuple[Piece | None, bool]:
    """The piece that matches best, a supporting one before any other, and whether it supports the sentence."""
    if not pieces:
        return None, False
    texts = [piece.readable for piece in pieces]
    matcher = TermMatcher(sentence, texts, [piece.evidence.language for piece in pieces])
    cosines = similarity.cosines(sentence, texts, is_question=False)
    best: tuple[bool, float] | None = None
    best_piece: Piece | None = None
    for index, piece in enumerate(pieces):
        context = f"{piece.evidence.title}\n{piece.evidence.context}"
        coverage = matcher.coverage(index, set(analyze(context, piece.evidence.language)), 1.0)
        cosine = None if cosines is None else float(cosines[index])
        holds = _facts_hold(sentence, piece, context) and _is_close(coverage, cosine)
        rank = (holds, coverage + (cosine or 0.0))
        if best is None or rank > best:
            best, best_piece = rank, piece
    assert best is not None
    return best_piece, best[0]


def _facts_hold(sentence: str, piece: Piece, context: str) -> bool:
    """Plain numbers must stand in the piece itself; identifiers may stand anywhere in the passage or its context."""
    if not numbers(sentence) <= facts(piece.readable) | facts(context):
        return False
    return facts(sentence) <= facts(f"{piece.evidence.text}\n{context}\n{piece.readable}")


def _is_close(coverage: float, cosine: float | None) -> bool:
    if coverage >= _MIN_COVERAGE:
        return True
    return cosine is not None and cosine >= _MIN_COSINE and coverage >= _MIN_COVERAGE_WITH_COSINE


def _sentences(text: str) -> list[_Sentence]:
    """Sentences with their markers; markers behind a full stop belong to the sentence before them."""
    spans: list[tuple[int, int]] = []
    for start, end in sentence_spans(text):
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
