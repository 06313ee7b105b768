"""Is there evidence? Gate A, before the first token, and what an abstention says. Knows nothing of models.

The score is a plain mean of two readable signals; its thresholds are settings, chosen on development data.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence

from rag.analysis import analyze
from rag.config import AnsweringSettings
from rag.languages import language_by_script
from rag.matching import TermMatcher, identifiers
from rag.prompting import NOT_SAID
from rag.types import Hit, NearestDocument

_HITS_JUDGED = 3
_SEPARATORS = re.compile(r"[-/._\s\u2010-\u2013\u2212]+")
_NEAREST = 3
_MARKERS = re.compile(r"\[\d+\]")

_NEAREST_HEADING = {
    "en": "The nearest documents are:",
    "ru": "Ближайшие документы:",
    "zh": "最接近的文档：",
}


def has_evidence(
    question: str, hits: Sequence[Hit], term_weights: Mapping[str, float], settings: AnsweringSettings
) -> bool:
    """Whether the hits know every identifier of the question, and one of the first covers enough of it."""
    if unknown_identifiers(question, hits):
        return False
    thresholds = {True: settings.min_evidence, False: settings.min_evidence_lexical}
    return any(
        score >= thresholds["dense" in hit.channels]
        for hit, score in zip(hits, evidence_scores(question, hits, term_weights), strict=False)
    )


def unknown_identifiers(question: str, hits: Sequence[Hit]) -> set[str]:
    """Part numbers and the like in the question that stand in no hit: a neighbour's facts are no answer.

    Separators don't count (``ZP40`` is ``ZP-40``), and a longer number that begins the same way is near enough.
    """
    texts = [_joined(f"{hit.chunk.title}\n{hit.chunk.context}\n{hit.chunk.text}") for hit in hits]
    return {name for name in identifiers(question) if not any(_joined(name) in text for text in texts)}


def evidence_scores(question: str, hits: Sequence[Hit], term_weights: Mapping[str, float]) -> list[float]:
    """For each of the first hits, in [0, 1]: how much of the question it covers.

    The share of the question's terms, weighted by their rarity in the collection, that stand in the passage, its title
    or headings; where the dense channel found the hit, the mean of that and the cosine.
    """
    judged = hits[:_HITS_JUDGED]
    texts = [f"{hit.chunk.title}\n{hit.chunk.context}\n{hit.chunk.text}" for hit in judged]
    matcher = TermMatcher(question, texts, [hit.chunk.language for hit in judged], term_weights)
    scores = []
    for index, hit in enumerate(judged):
        coverage = matcher.coverage(index)
        dense = hit.channels.get("dense")
        scores.append(coverage if dense is None else (coverage + max(0.0, dense.score)) / 2)
    return scores


def _joined(text: str) -> str:
    return _SEPARATORS.sub("", unicodedata.normalize("NFKC", text).casefold())


def abstention_text(question: str, nearest: Sequence[NearestDocument]) -> str:
    """The documents don't say, in the question's language, with the nearest documents' titles."""
    language = language_by_script(question)
    sentence = NOT_SAID.get(language, NOT_SAID["en"])
    if not nearest:
        return sentence
    heading = _NEAREST_HEADING.get(language, _NEAREST_HEADING["en"])
    titles = "\n".join(f"- {document.title} ({document.source})" for document in nearest)
    return f"{sentence} {heading}\n{titles}"


def nearest_documents(hits: Sequence[Hit]) -> tuple[NearestDocument, ...]:
    """The documents of the best hits, each once, best first."""
    nearest: dict[str, NearestDocument] = {}
    for hit in hits:
        chunk = hit.chunk
        nearest.setdefault(chunk.document_id, NearestDocument(chunk.document_id, chunk.source, chunk.title, hit.score))
    return tuple(nearest.values())[:_NEAREST]


def says_not_said(text: str) -> bool:
    """Whether a model's reply is, or begins with, the abstention it was told to give."""
    words = analyze(_MARKERS.sub(" ", text), None)
    return any(words[: len(said)] == said for sentence in NOT_SAID.values() for said in [analyze(sentence, None)])
