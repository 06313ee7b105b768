"""Which of a model's questions are worth keeping, and why the others are not."""

import re
from collections.abc import Callable, Sequence
from typing import Literal

from finetune.cleaning.decontamination import Decontaminator
from finetune.synthesis.asking import Ask, Pair
from rag.evaluation.metrics import contains, evidence_rank, token_f1
from rag.languages import language_by_script
from rag.resemblance import KnownTexts, figures_of, normalised
from rag.types import Hit

Rejection = Literal[
    "the request failed",
    "nothing to ask",
    "unreadable reply",
    "no question",
    "speaks of the passage",
    "in another language",
    "the quote is not in the chunk",
    "the answer does not follow",
    "our retriever does not find it",
    "asked before",
    "near an evaluation question",
]
Search = Callable[[str], Sequence[Hit]]

_LONGEST_QUESTION, _LONGEST_ANSWER, _SHORTEST_QUOTE = 300, 400, 8
_FEWEST_WORDS = 3
_OWN_SCRIPT = ("ja", "ko", "zh", "ru", "ar", "el")
_ANSWERS_AGREE = 0.5
_SPEAKS_OF_IT = re.compile(
    r"\b(?:the|this|given|above) (?:passage|text|document|excerpt|sentence|table above|section above)\b"
    r"|\b(?:mentioned|described|given|stated) (?:here|above|below)\b"
    r"|\bв (?:этом|данном|приведённом) (?:тексте|отрывке)\b|\bсогласно (?:тексту|отрывку)\b"
    r"|(?:本文|文中|上文|该段落|这段文字)",
    re.IGNORECASE,
)


def quoted_span(text: str, quote: str) -> tuple[int, int] | None:
    """Where the quote stands, white space and case aside; ``None`` where it doesn't, or is too short to prove much."""
    words = quote.split()
    if len(quote) < _SHORTEST_QUOTE or not words:
        return None
    match = re.search(r"\s+".join(map(re.escape, words)), text, re.IGNORECASE)
    return match.span() if match else None


def fault_of(ask: Ask, pair: Pair) -> Rejection | None:
    """What the words alone tell."""
    if len(normalised(pair.question).split()) < _FEWEST_WORDS or len(pair.question) > _LONGEST_QUESTION:
        return "no question"
    if not pair.answer or len(pair.answer) > _LONGEST_ANSWER or normalised(pair.answer) == normalised(pair.question):
        return "no question"
    if _SPEAKS_OF_IT.search(pair.question):
        return "speaks of the passage"
    if not _is_in(ask.language, pair.question):
        return "in another language"
    if quoted_span(ask.chunk.text, pair.quote) is None:
        return "the quote is not in the chunk"
    return None


def _is_in(language: str, question: str) -> bool:
    """By script where the language has its own; ``language_by_script`` calls all that is Latin English."""
    script = language_by_script(question)
    return script == (language if language in _OWN_SCRIPT else "en")


def follows(pair: Pair, again: str) -> bool:
    """Whether the answer that was given with the chunk alone is the same."""
    return (
        token_f1(again, [pair.answer]) >= _ANSWERS_AGREE
        or contains(again, [pair.answer]) == 1
        or contains(pair.answer, [again]) == 1
    )


def is_found(ask: Ask, pair: Pair, search: Search) -> bool:
    """Whether the search for the question brings the quote."""
    span = quoted_span(ask.chunk.text, pair.quote)
    assert span is not None
    start, end = ask.chunk.start + span[0], ask.chunk.start + span[1]
    return evidence_rank(search(pair.question), ask.chunk.source, start, end) is not None


class Novelty:
    """Questions so far, and those of evaluations."""

    def __init__(self, decontaminator: Decontaminator | None) -> None:
        self._asked: set[str] = set()
        self._near = KnownTexts(0.7, words_per_run=2)
        self._figures: dict[str, frozenset[str]] = {}
        self._decontaminator = decontaminator

    def fault_of(self, question: str) -> Rejection | None:
        if normalised(question) in self._asked:
            return "asked before"
        figures = figures_of(question)
        if any(self._figures[other] == figures for other, _ in self._near.similar(question)):
            return "asked before"
        if self._decontaminator is not None and self._decontaminator.find_question(question) is not None:
            return "near an evaluation question"
        return None

    def add(self, question: str) -> None:
        key = normalised(question)
        if key in self._asked:
            return
        self._asked.add(key)
        self._near.add(question, question)
        self._figures[question] = figures_of(question)
