"""How well a sentence matches the pieces of the evidence: shared by extracting, citing and abstaining.

Three signals: terms (weighted by how rare they are), identifiers, and the embedder's cosine where it knows the
language. Knows nothing of prompts or markers.
"""

import math
import re
import unicodedata
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np

from rag.analysis import analyze, query_terms
from rag.interfaces import Embedder, Vectors
from rag.languages import language_by_script
from rag.sentences import is_table_row, sentence_spans, table_cells
from rag.types import Evidence

_SIGN = "A-Za-z\u00c0-\u024f\u0370-\u03ff\u0400-\u04ff\\d"
_NAME = re.compile(f"[{_SIGN}]+(?:[-/._][{_SIGN}]+)*")
_LETTER_BEFORE_DIGIT = re.compile(r"[^\W\d_].*\d")
_DIGITS = "0123456789-/._"
_POWER = re.compile(r"(?:[a-zµμ]+/)?(?:[kcdm]?m|in|ft|см|м|мм)[23](?:/\w+)?")
"""``m3/h``, which is what NFKC makes of m³/h."""
_HYPHENS = str.maketrans("\u2010\u2212", "--")
_RULE_BEGINS = re.compile(r"[ \t]*\n[ \t]*\|?[ \t]*:?--")
_CACHE_SIZE = 20_000


@dataclass(frozen=True, slots=True)
class Piece:
    """A sentence or table row of a passage; offsets are the document's. ``header`` labels a row's cells."""

    evidence: Evidence
    start: int
    end: int
    text: str
    header: str | None = None

    @property
    def readable(self) -> str:
        """The text as shown to people: a table row becomes ``Column: cell; ...``, its cells as they stand."""
        if not is_table_row(self.text):
            return " ".join(self.text.split())
        names, cells = table_cells(self.header or ""), table_cells(self.text)
        if len(names) != len(cells):
            return "; ".join(cell for cell in cells if cell)
        return "; ".join(f"{name}: {cell}" if name else cell for name, cell in zip(names, cells, strict=True) if cell)


def pieces_of(evidence: Evidence) -> list[Piece]:
    """The quotable pieces of a passage: headings and a table's header row are not, they label what follows.

    A row is a header where a rule line follows it; the context repeats the header of a table that was cut before.
    """
    pieces: list[Piece] = []
    header = next((line for line in reversed(evidence.context.splitlines()) if is_table_row(line)), None)
    for start, end in sentence_spans(evidence.text, evidence.language):
        text = evidence.text[start:end]
        if not is_table_row(text):
            header = None
            if not text.startswith("#"):
                pieces.append(Piece(evidence, evidence.start + start, evidence.start + end, text))
        elif _RULE_BEGINS.match(evidence.text, end):
            header = text
        else:
            pieces.append(Piece(evidence, evidence.start + start, evidence.start + end, text, header))
    return pieces


def identifiers(text: str) -> set[str]:
    """Part numbers, codes, models, casefolded: what holds a letter before a digit. ``24-hour`` and ``5mm`` are none."""
    return set(ordered_identifiers(text))


def ordered_identifiers(text: str) -> list[str]:
    found = _NAME.findall(unicodedata.normalize("NFKC", text).translate(_HYPHENS).casefold())
    return [name for name in found if _LETTER_BEFORE_DIGIT.match(name.lstrip(_DIGITS)) and not _POWER.fullmatch(name)]


class Similarity:
    """Cosines of sentences, cached by text, where the embedder was trained on their language."""

    def __init__(self, embedder: Embedder, languages: Collection[str] = ()) -> None:
        self._embedder = embedder
        self._languages = frozenset(languages)
        self._cache: OrderedDict[str, Vectors] = OrderedDict()
        self._lock = Lock()

    def knows(self, text: str) -> bool:
        return not self._languages or language_by_script(text) in self._languages

    def cosines(self, query: str, texts: Sequence[str], *, is_question: bool) -> Vectors | None:
        """Shape (len(texts),), float32; ``None`` where the embedder can't read the query."""
        if not texts or not self.knows(query):
            return None
        query_vector = self._embedder.embed_query(query) if is_question else self._vectors([query])[0]
        return np.asarray(self._vectors(texts) @ query_vector, np.float32)

    def _vectors(self, texts: Sequence[str]) -> Vectors:
        with self._lock:
            known = {text: self._cache[text] for text in texts if text in self._cache}
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        if missing:
            known.update(zip(missing, self._embedder.embed_documents([self._fitting(t) for t in missing]), strict=True))
        with self._lock:
            for text in texts:
                self._cache[text] = known[text]
                self._cache.move_to_end(text)
            while len(self._cache) > _CACHE_SIZE:
                self._cache.popitem(last=False)
        return np.stack([known[text] for text in texts])

    def _fitting(self, text: str) -> str:
        """A sentence longer than the window is judged by its beginning; it is compared, not stored."""
        while self._embedder.count_tokens(text) > self._embedder.max_tokens:
            text = text[: max(1, len(text) * 3 // 4)]
        return text


def inverse_document_frequency(found: int, count: int) -> float:
    """BM25's weight of a term that stands in ``found`` of ``count`` texts (Robertson and Zaragoza 2009); above 0.

    An index may still count texts that were removed, so that more are found than there are.
    """
    return math.log(1 + (max(0, count - found) + 0.5) / (found + 0.5))


class TermMatcher:
    """Weighted share of a query's terms that a text holds."""

    def __init__(
        self,
        query: str,
        texts: Sequence[str],
        languages: Sequence[str | None],
        weights: Mapping[str, float] | None = None,
    ) -> None:
        """The query is stemmed for each text in the text's own language.

        ``weights`` says how rare a term is where the texts come from; without, its rarity among ``texts`` counts.
        """
        self._languages = languages
        self._texts = [set(analyze(text, language)) for text, language in zip(texts, languages, strict=True)]
        count = len(self._texts)
        self._weights: dict[str | None, dict[str, float]] = {}
        for language in dict.fromkeys(languages):
            found = {term: sum(term in text for text in self._texts) for term in query_terms(query, [language])}
            local = {term: inverse_document_frequency(n, count) for term, n in found.items()}
            self._weights[language] = {term: (weights or local).get(term, weight) for term, weight in local.items()}

    def coverage(self, index: int, context_terms: Collection[str] = (), context_weight: float = 0.0) -> float:
        """In [0, 1]. A term found only in the context counts ``context_weight`` of its weight."""
        weights = self._weights[self._languages[index]]
        total = sum(weights.values())
        if total == 0:
            return 0.0
        text = self._texts[index]
        covered = sum(
            weight if term in text else weight * context_weight if term in context_terms else 0.0
            for term, weight in weights.items()
        )
        return covered / total

    def terms(self, index: int) -> Collection[str]:
        """The query's terms as the text's language stems them."""
        return self._weights[self._languages[index]].keys()

    def coverage_beside(self, index: int, context_terms: Collection[str], only: Collection[str]) -> float:
        """In [0, 1], of the terms in ``only`` that the context doesn't account for; 0 where there are none."""
        text = self._texts[index]
        weights = {term: weight for term, weight in self._weights[self._languages[index]].items() if term in only}
        covered = sum(weight for term, weight in weights.items() if term in text)
        missing = sum(weight for term, weight in weights.items() if term not in text and term not in context_terms)
        return covered / (covered + missing) if covered else 0.0
