"""Which gold quotes of a question file still stand in a collection, and which a new version of a document broke.

A quote stands where its words do, whatever blanks and line ends lie between them.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from rag.evaluation.questions import EvaluationQuestion
from rag.resemblance import containment, word_runs

Fault = Literal["document gone", "quote gone"]
_WORDS_PER_RUN = 3


@dataclass(frozen=True, slots=True)
class BrokenQuote:
    """``similarity`` is the share of the quote's runs of three words that the document still holds."""

    question: str
    document: str
    quote: str
    fault: Fault
    similarity: float = 0.0
    moved_to: str | None = None
    """Another document that the quote stands in."""


@dataclass(frozen=True, slots=True)
class QuoteCheck:
    quotes: int
    broken: tuple[BrokenQuote, ...]

    @property
    def faults(self) -> Counter[Fault]:
        return Counter(each.fault for each in self.broken)


def check_quotes(
    questions: Sequence[EvaluationQuestion], sources: Sequence[str], text_of: Callable[[str], str]
) -> QuoteCheck:
    """``text_of`` gives a source's text, asked for once; all are read only where a quote is looked for elsewhere."""
    texts: dict[str, str] = {}
    known = set(sources)

    def read(source: str) -> str:
        if source not in texts:
            texts[source] = _plain(text_of(source))
        return texts[source]

    count = 0
    broken = []
    for question in questions:
        for evidence in question.evidence:
            count += 1
            quote, source = _plain(evidence.quote), evidence.document
            if source in known and quote in read(source):
                continue
            moved_to = next((other for other in sources if quote in read(other)), None)
            fault: Fault = "quote gone" if source in known else "document gone"
            kept = containment(_runs(quote), _runs(read(source))) if source in known else 0.0
            broken.append(BrokenQuote(question.id, source, evidence.quote, fault, kept, moved_to))
    return QuoteCheck(count, tuple(broken))


def _plain(text: str) -> str:
    return " ".join(text.split())


def _runs(text: str) -> frozenset[str]:
    return word_runs(text, _WORDS_PER_RUN)
