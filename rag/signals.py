"""How well what was found fits what is asked: a row of named numbers, about in [0, 1], that a calibration weighs.

A question may be refused though its words are everywhere: what counts is whether one row, sentence or passage holds
them together, about the thing that is named, with the kind of quantity that is asked for. Knows nothing of thresholds.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rag.analysis import analyze, query_terms
from rag.asking import content, holds_quantity, quantity_asked
from rag.matching import identifiers, pieces_of
from rag.sentences import is_table_row, table_cells
from rag.types import Evidence, Hit, StoredChunk

LEXICAL_SIGNALS = (
    "lexical_best",
    "lexical_drop",
    "names_unknown",
    "passage_coverage",
    "first_coverage",
    "union_coverage",
    "title_coverage",
    "piece_coverage",
    "context_coverage",
    "named_coverage",
    "rarest_missing",
    "quantity_missing",
    "asked_coverage",
)
"""What the words alone tell; every question has them."""
DENSE_SIGNALS = ("dense_best", "dense_mean", "dense_drop", "agreement")
"""What the dense channel adds where it had a say. Their scale is the embedder's. Nothing is embedded for them: gate A
stands before the first token."""

AGAINST = frozenset({"names_unknown", "rarest_missing", "quantity_missing"})
"""These speak against an answer, all others for one."""

_HITS_JUDGED = 8
_FIRST = 3
_DROP_TO = 4
"""A drop is from the best to the fifth: flat scores mean that nothing stands out."""
_AGREED_RANK = 10
_NEAR_BEST = 0.85
_BM25_CEILING = 2.2
"""BM25 with k1 = 1.2 gives a term at most k1 + 1 times its rarity."""
_RUNS = re.compile(r"\d+|[^\W\d_]+")
_GAP = r"[-/._\s\u2010-\u2013\u2212]*"


@dataclass(frozen=True, slots=True)
class _Piece:
    """A sentence or table row; ``around`` are the terms of it, its passage's title and headings together."""

    text: str
    own: frozenset[str]
    around: frozenset[str]
    language: str | None
    names: int
    """How many of the question's names it is about."""
    row: bool
    unlabelled: bool
    """A row whose columns are not known by name: any number in it may be the one that is asked for."""

    def holds(self, kind: str) -> bool:
        return holds_quantity("number" if self.unlabelled else kind, self.text)


@dataclass(frozen=True, slots=True)
class _Passage:
    head: frozenset[str]
    whole: frozenset[str]
    """The head's terms included."""
    language: str | None
    pieces: tuple[_Piece, ...]


def read_signals(
    query: str, hits: Sequence[Hit], weights: Mapping[str, float], question: str | None = None
) -> dict[str, float]:
    """All lexical signals, and the dense ones where the dense channel had a say; ``hits`` of the query, best first.

    ``weights`` says how rare each of the query's terms is in the collection. A follow-up is given as it was asked, too:
    by itself it lacks what it is about, and with the talk before it holds what was asked then. So what the passages
    cover is read both ways, and the better reading of each signal counts. Only ``first_coverage`` is of the question as
    it was asked: the talk before found these passages, and covers them well. Without hits every signal is 0.
    """
    judged = hits[:_HITS_JUDGED]
    dense = any("dense" in hit.channels for hit in judged)
    signals = dict.fromkeys((*LEXICAL_SIGNALS, *(DENSE_SIGNALS if dense else ())), 0.0)
    if not judged:
        return signals
    names = [_pattern(name) for name in sorted(identifiers(query))]
    signals["names_unknown"] = _unknown(names, judged)
    signals |= _channel("lexical", judged, _BM25_CEILING * sum(weights.values()))
    signals |= _coverage(query, judged, weights)
    if question is not None and question != query:
        as_asked = _coverage(question, judged, weights)
        for name, value in as_asked.items():
            signals[name] = min(signals[name], value) if name in AGAINST else max(signals[name], value)
        signals["first_coverage"] = as_asked["first_coverage"]
    if dense:
        signals |= _channel("dense", judged, 1.0)
        signals |= {"dense_mean": _mean_of_first(judged), "agreement": _agreement(judged)}
    return signals


def _coverage(question: str, hits: Sequence[Hit], weights: Mapping[str, float]) -> dict[str, float]:
    names = [_pattern(name) for name in sorted(identifiers(question))]
    passages = [_passage(hit.chunk, names) for hit in hits]
    terms = _Terms(question, [passage.language for passage in passages], weights)
    pieces = [piece for passage in passages for piece in passage.pieces]
    return _passage_signals(terms, passages) | _piece_signals(terms, pieces, quantity_asked(question))


class _Terms:
    """The question's terms, by language as the documents' were stemmed, with their rarity."""

    def __init__(self, question: str, languages: Iterable[str | None], weights: Mapping[str, float]) -> None:
        asked, names = content(question), " ".join(identifiers(question))
        self._all: dict[str | None, dict[str, float]] = {}
        for language in dict.fromkeys(languages):
            own = {term: weights.get(term, 0.0) for term in query_terms(asked, [language])}
            naming = set(query_terms(names, [language]))
            beside = {term: weight for term, weight in own.items() if term not in naming}
            self._all[language] = beside or own

    def coverage(self, language: str | None, text: frozenset[str]) -> float:
        return _covered(self._all[language], text)

    def rarest_missing(self, language: str | None, text: frozenset[str]) -> float:
        """The weight of the rarest term that is missing, as a share of the rarest term's."""
        weights = self._all[language]
        missing = max((weight for term, weight in weights.items() if term not in text), default=0.0)
        return missing / (max(weights.values(), default=0.0) or 1.0)


def _passage_signals(terms: _Terms, passages: Sequence[_Passage]) -> dict[str, float]:
    coverages = [terms.coverage(passage.language, passage.whole) for passage in passages]
    best = passages[coverages.index(max(coverages))]
    first = coverages[:_FIRST]
    union = frozenset[str]().union(*(passage.whole for passage in passages))
    return {
        "passage_coverage": max(coverages),
        "first_coverage": sum(first) / len(first),
        "union_coverage": max(terms.coverage(passage.language, union) for passage in passages),
        "title_coverage": max(terms.coverage(passage.language, passage.head) for passage in passages),
        "rarest_missing": terms.rarest_missing(best.language, best.whole),
    }


def _piece_signals(terms: _Terms, pieces: Sequence[_Piece], kind: str | None) -> dict[str, float]:
    if not pieces:
        return {"quantity_missing": float(kind is not None)}
    around = [terms.coverage(piece.language, piece.around) for piece in pieces]
    most = max(piece.names for piece in pieces)
    named = [index for index, piece in enumerate(pieces) if piece.names == most]
    best = max(around[index] for index in named)
    near = {index for index in named if around[index] >= _NEAR_BEST * best}
    # Prose goes on: what a sentence names, the next one may tell.
    near |= {index + 1 for index in near if index + 1 in named and not pieces[index].row and not pieces[index + 1].row}
    asked = named if kind is None else [index for index in named if pieces[index].holds(kind)]
    return {
        "piece_coverage": max(terms.coverage(piece.language, piece.own) for piece in pieces),
        "context_coverage": max(around),
        "named_coverage": max(terms.coverage(pieces[index].language, pieces[index].around) for index in named),
        "quantity_missing": float(near.isdisjoint(asked)),
        "asked_coverage": max((around[index] for index in asked), default=0.0),
    }


def _channel(name: str, hits: Sequence[Hit], ceiling: float) -> dict[str, float]:
    scores = [hit.channels[name].score for hit in hits if name in hit.channels]
    best, drop = _best_and_drop(scores)
    # Cosines have a scale of their own; BM25's drop is told as a share of the best.
    return {f"{name}_best": best / (ceiling or 1.0), f"{name}_drop": drop if name == "dense" else drop / (best or 1.0)}


def _best_and_drop(scores: Sequence[float]) -> tuple[float, float]:
    if not scores:
        return 0.0, 0.0
    ordered = sorted(scores, reverse=True)
    return max(0.0, ordered[0]), ordered[0] - ordered[min(_DROP_TO, len(ordered) - 1)]


def _mean_of_first(hits: Sequence[Hit]) -> float:
    scores = sorted((hit.channels["dense"].score for hit in hits if "dense" in hit.channels), reverse=True)[:_FIRST]
    return max(0.0, sum(scores) / len(scores))


def _agreement(hits: Sequence[Hit]) -> float:
    """The share of the first hits that several channels rank high."""
    first = hits[:_FIRST]
    agreed = [
        len(hit.channels) > 1
        and all(place.rank is not None and place.rank <= _AGREED_RANK for place in hit.channels.values())
        for hit in first
    ]
    return sum(agreed) / len(first)


def _unknown(names: Sequence[re.Pattern[str]], hits: Sequence[Hit]) -> float:
    """The share of the names that stand in no hit: a neighbour's facts are no answer."""
    texts = [_normalised(_text(hit.chunk)) for hit in hits]
    unknown = [name for name in names if not any(name.search(text) for text in texts)]
    return len(unknown) / len(names) if names else 0.0


def _passage(chunk: StoredChunk, names: Sequence[re.Pattern[str]]) -> _Passage:
    heading = f"{chunk.title}\n{chunk.context}"
    head = frozenset(analyze(heading, chunk.language))
    pieces = []
    everywhere = _names_in(_text(chunk), names)
    for piece in pieces_of(_evidence(chunk)):
        text = piece.readable
        own = frozenset(analyze(text, chunk.language))
        # A sentence speaks of what its passage names; a row of what it names itself.
        row = is_table_row(piece.text)
        found = _names_in(f"{heading}\n{text}", names) if row else everywhere
        unlabelled = row and len(table_cells(piece.header or "")) != len(table_cells(piece.text))
        pieces.append(_Piece(text, own, own | head, chunk.language, found, row, unlabelled))
    whole = head.union(analyze(chunk.text, chunk.language))
    return _Passage(head, whole, chunk.language, tuple(pieces))


def _names_in(text: str, names: Sequence[re.Pattern[str]]) -> int:
    searched = _normalised(text)
    return sum(name.search(searched) is not None for name in names)


def _evidence(chunk: StoredChunk) -> Evidence:
    """The chunk as a passage by itself, so that it is cut into pieces as evidence is."""
    return Evidence(
        number=0,
        document_id=chunk.document_id,
        version=chunk.version,
        source=chunk.source,
        title=chunk.title,
        language=chunk.language,
        start=chunk.start,
        end=chunk.end,
        page=chunk.page,
        context=chunk.context,
        text=chunk.text,
        chunk_ids=(chunk.id,),
        score=0.0,
    )


def _text(chunk: StoredChunk) -> str:
    return f"{chunk.title}\n{chunk.context}\n{chunk.text}"


def _covered(weights: Mapping[str, float], text: frozenset[str]) -> float:
    total = sum(weights.values())
    return sum(weight for term, weight in weights.items() if term in text) / total if total else 0.0


def _normalised(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _pattern(name: str) -> re.Pattern[str]:
    """Finds a name however it is separated, and not within a longer one: ``DR-1`` is no ``DR-10``."""
    runs = _RUNS.findall(name)
    ends = r"(?!\d)" if runs[-1].isdigit() else r"(?![^\W\d_])"
    return re.compile(r"(?<![^\W_])" + _GAP.join(map(re.escape, runs)) + ends)
