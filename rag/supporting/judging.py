"""Which piece of some passages comes closest to a claim, and whether it supports it.

A claim is supported where nothing speaks against it and most of its content words stand in the piece; where the
question is known, most of those that the claim adds to it. Word by word that is strict, for a wrong sign of support
misleads and a missing one only sends the reader to the passage. A model of entailment, where there is one, has the last
word and may do with fewer common words.
"""

from collections.abc import Mapping, Sequence

from rag.analysis import analyze, query_terms
from rag.interfaces import Entailment
from rag.matching import Piece, Similarity, TermMatcher, pieces_of
from rag.supporting.clauses import content_terms
from rag.supporting.objections import objection
from rag.types import Evidence

# Chosen on claims made by rule of XQuAD, beside the sample's train and dev questions, where precision on that mix of
# claims passes 0.9 in all three languages (it is lower on the hardest kinds): tests/benchmarks/quality/citations.py.
_MIN_COVERAGE = 0.7
_MIN_OWN_COVERAGE = 0.5
"""Where the question is known: of the piece alone. What the question says may stand in the sentence before the piece,
to which it refers back; what the claim adds may not.
"""
_MIN_COVERAGE_OF_ADDED = 0.8
_MIN_COVERAGE_TO_ASK = 0.3
_PIECES_JUDGED = 32
"""Those that cover most: a whole document holds thousands, and each takes an embedding."""
_PIECES_ASKED = 4
"""How many the model of entailment reads for one claim."""


class Judge:
    """The pieces of some passages, ready to be compared with one claim after another."""

    def __init__(
        self,
        evidence: Sequence[Evidence],
        *,
        similarity: Similarity,
        term_weights: Mapping[str, float] | None = None,
        question: str | None = None,
        entailment: Entailment | None = None,
    ) -> None:
        self._pieces = [piece for passage in evidence for piece in pieces_of(passage)]
        self._texts = [piece.readable for piece in self._pieces]
        self._languages = [piece.evidence.language for piece in self._pieces]
        self._contexts = {
            passage.number: set(analyze(f"{passage.title}\n{passage.context}", passage.language))
            for passage in evidence
        }
        self._similarity = similarity
        self._weights = term_weights
        self._asked = None if question is None else frozenset(query_terms(question, set(self._languages)))
        self._entailment = entailment

    def best(self, claim: str) -> tuple[Piece, bool] | None:
        """The piece that matches best, a supporting one before any other, and whether it supports the claim."""
        matcher = TermMatcher(claim, self._texts, self._languages, self._weights)
        content = {language: content_terms(claim, language) for language in set(self._languages)}
        coverages = [
            matcher.coverage_beside(index, self._contexts[piece.evidence.number], content[piece.evidence.language])
            for index, piece in enumerate(self._pieces)
        ]
        judged = sorted(range(len(self._pieces)), key=lambda index: -coverages[index])[:_PIECES_JUDGED]
        if not judged:
            return None
        cosines = self._similarity.cosines(claim, [self._texts[index] for index in judged], is_question=False)
        scores = {
            index: coverages[index] + (0.0 if cosines is None else float(cosines[place]))
            for place, index in enumerate(judged)
        }
        if self._entailment is not None:
            holding = self._entailing(claim, sorted(judged, key=lambda index: -scores[index]), coverages)
        else:
            holding = {
                index
                for index in judged
                if self._covers(matcher, index, coverages[index], content[self._languages[index]])
                and objection(claim, self._pieces[index]) is None
            }
        best = max(judged, key=lambda index: (index in holding, scores[index]))
        return self._pieces[best], best in holding

    def _covers(self, matcher: TermMatcher, index: int, own: float, content: frozenset[str]) -> bool:
        if self._asked is None:
            return own >= _MIN_COVERAGE
        context = self._contexts[self._pieces[index].evidence.number]
        added = (content - self._asked).intersection(matcher.terms(index))
        if added - context and matcher.coverage_beside(index, context, added) < _MIN_COVERAGE_OF_ADDED:
            return False
        beside = matcher.coverage_beside(index, context | self._before(index), content)
        return own >= _MIN_OWN_COVERAGE and beside >= _MIN_COVERAGE

    def _before(self, index: int) -> frozenset[str]:
        """The terms of the sentence before the piece in its passage."""
        piece = self._pieces[index]
        if index == 0 or self._pieces[index - 1].evidence is not piece.evidence or piece.header is not None:
            return frozenset()
        return frozenset(analyze(self._texts[index - 1], self._languages[index - 1]))

    def _entailing(self, claim: str, ranked: Sequence[int], coverages: Sequence[float]) -> set[int]:
        assert self._entailment is not None
        asked = [
            index
            for index in ranked
            if coverages[index] >= _MIN_COVERAGE_TO_ASK and objection(claim, self._pieces[index]) is None
        ][:_PIECES_ASKED]
        if not asked:
            return set()
        verdicts = self._entailment.entails([self._texts[index] for index in asked], claim)
        return {index for index, verdict in zip(asked, verdicts, strict=True) if verdict}
