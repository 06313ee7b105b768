"""Is there evidence? Gate A, before the first token, and what an abstention says. Knows nothing of models.

What is probable comes from a calibration; from which probability on there is an answer, from it or from the settings.
"""

import re
from collections.abc import Mapping, Sequence

from rag.analysis import analyze
from rag.calibration import calibration_of
from rag.languages import language_by_script
from rag.prompting import NOT_SAID
from rag.signals import read_signals
from rag.types import Collection, Hit, Judgement, NearestDocument

_NEAREST = 3
_ANY = 1e-9
"""A threshold of 0 refuses nothing that has a passage; what has none is always refused."""
_MARKERS = re.compile(r"\[\d+\]")

_NEAREST_HEADING = {
    "en": "The nearest documents are:",
    "ru": "Ближайшие документы:",
    "zh": "最接近的文档：",
}


def judge(
    query: str,
    hits: Sequence[Hit],
    term_weights: Mapping[str, float],
    collection: Collection,
    min_probability: float | None = None,
    question: str | None = None,
) -> Judgement:
    """How probable it is that the collection answers the question; without hits it does not.

    ``query`` is what was searched for, ``question`` what was asked where that is something else.
    ``min_probability`` stands in for the threshold that the collection's calibration chose.
    """
    calibration = calibration_of(collection)
    signals = read_signals(query, hits, term_weights, question)
    model = calibration.model_for(signals, collection.embedder)
    threshold = calibration.threshold if min_probability is None else min_probability
    if not hits:
        return Judgement(0.0, max(threshold, _ANY), signals, {})
    return Judgement(model.probability(signals), threshold, signals, model.contributions(signals))


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
    words = _words(text)
    return any(words[: len(said)] == said for said in map(_words, NOT_SAID.values()))


def may_say_not_said(beginning: str) -> bool:
    """Whether a reply that begins so may still turn out to be that abstention; its last word may be cut."""
    words = _words(beginning)[:-1]
    return says_not_said(beginning) or any(said[: len(words)] == words for said in map(_words, NOT_SAID.values()))


def _words(text: str) -> list[str]:
    return analyze(_MARKERS.sub(" ", text), None)
