"""Question and evidence to the best verbatim sentences: an answer without generation, nothing invented.

Knows nothing of models or of how an answer is written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rag.analysis import analyze
from rag.matching import Piece, Similarity, TermMatcher, pieces_of
from rag.types import Evidence

# Chosen on the sample corpus's train and dev splits: 0.70 of the English answers held the gold string (0.67 with equal
# weights of both signals and rarity counted among the pieces alone).
_LEXICAL_WEIGHT = 0.7
_CONTEXT_WEIGHT = 0.8
_PASSAGE_WEIGHT = 0.15
_PIECES_JUDGED = 64
"""Those with the most of the question's terms: a whole document holds thousands, and each takes an embedding."""
_FURTHER_SHARE = 0.6
"""A further sentence is given only when it scores at least this share of the first.

On every second article of XQuAD, ranked by words alone, 0.5 and 0.6 lose a point at most of what two whole sentences
hold, 0.7 up to three and 0.85 five to seven.
"""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A piece of the evidence and how well it answers, in [0, 1] for the lexical and semantic parts together."""

    piece: Piece
    score: float


def extract(
    question: str,
    evidence: Sequence[Evidence],
    similarity: Similarity,
    *,
    max_sentences: int,
    term_weights: Mapping[str, float] | None = None,
) -> list[Excerpt]:
    """The best pieces, best first; empty when there is no evidence. Ties go to the earlier passage and place."""
    pieces = [piece for passage in evidence for piece in pieces_of(passage)]
    if not pieces:
        return []
    texts = [piece.readable for piece in pieces]
    contexts = {
        passage.number: set(analyze(f"{passage.title}\n{passage.context}", passage.language)) for passage in evidence
    }
    matcher = TermMatcher(question, texts, [piece.evidence.language for piece in pieces], term_weights)
    lexical = [
        matcher.coverage(index, contexts[piece.evidence.number], _CONTEXT_WEIGHT) for index, piece in enumerate(pieces)
    ]
    judged = sorted(sorted(range(len(pieces)), key=lambda index: -lexical[index])[:_PIECES_JUDGED])
    cosines = similarity.cosines(question, [texts[index] for index in judged], is_question=True)
    best_passage = max(passage.score for passage in evidence) or 1.0
    excerpts = []
    for place, index in enumerate(judged):
        match = lexical[index]
        if cosines is not None:
            match = _LEXICAL_WEIGHT * match + (1 - _LEXICAL_WEIGHT) * max(0.0, float(cosines[place]))
        prior = pieces[index].evidence.score / best_passage
        excerpts.append(Excerpt(pieces[index], (1 - _PASSAGE_WEIGHT) * match + _PASSAGE_WEIGHT * prior))
    excerpts.sort(key=lambda item: -item.score)
    # The same sentence may stand in several documents; it is said once.
    unique: dict[str, Excerpt] = {}
    for item in excerpts:
        unique.setdefault(item.piece.readable.casefold(), item)
    best = list(unique.values())[:max_sentences]
    return [item for item in best if item.score >= _FURTHER_SHARE * best[0].score]
