"""Which text has been said already? Word for word, or nearly: the same runs of terms, and nothing new that matters.

Nearly, by containment (Broder 1997, "On the resemblance and containment of documents"): the share of a text's runs of
three terms that stand in one other text. A number, a code or a negation that the other text lacks makes it news
whatever the share: "within 30 days" and "within 45 days" are a conflict, not a repetition. So does another product in
the heading: the same words about the ZP-60 answer nothing about the ZP-40. With the hundred candidates of a question
all pairs are compared exactly; hashing would save nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from rag.analysis import analyze
from rag.matching import identifiers
from rag.types import Evidence

NEAR = 0.85
"""A changed word costs three runs. Of a chunk of 100 terms five words may be others; of a sentence of 20 none may."""
_NEGATIONS = frozenset(
    ("no", "not", "never", "nor", "without", "cannot", "не", "нет", "без", "нельзя", "никогда", "ни")
)
_NEGATING_SIGNS = frozenset("不没无未勿非禁")


@dataclass(frozen=True, slots=True)
class Alike:
    """The chunk that says it already, and the share of the runs that it holds; ``is_same`` word for word."""

    chunk_id: str
    similarity: float
    is_same: bool


@dataclass(frozen=True, slots=True)
class _Text:
    chunk_id: str
    normalised: str
    about: frozenset[str]
    terms: frozenset[str]
    numbers: tuple[str, ...]
    """What holds a digit, in order."""
    runs: frozenset[tuple[str, ...]] = field(repr=False)


class Seen:
    """The passages so far, in the order in which they came."""

    def __init__(self, passages: Iterable[Evidence] = ()) -> None:
        self._texts = [_text(passage) for passage in passages]

    def add(self, passage: Evidence) -> None:
        self._texts.append(_text(passage))

    def nearest(self, passage: Evidence) -> Alike | None:
        """The first with the same text, else the one that holds most of it, where that is nearly all."""
        new = _text(passage)
        about_it = [old for old in self._texts if new.about <= old.about]
        same = next((old for old in about_it if old.normalised == new.normalised), None)
        if same is not None:
            return Alike(same.chunk_id, 1.0, True)
        best: Alike | None = None
        for old in about_it:
            similarity = len(new.runs & old.runs) / len(new.runs) if new.runs else 0.0
            if similarity >= NEAR and (best is None or similarity > best.similarity) and not _has_news(new, old):
                best = Alike(old.chunk_id, similarity, False)
        return best


def _has_news(new: _Text, old: _Text) -> bool:
    """A negation that the other lacks, or numbers that don't stand there in the same order."""
    theirs = iter(old.numbers)
    return not all(number in theirs for number in new.numbers) or any(
        term in _NEGATIONS or not _NEGATING_SIGNS.isdisjoint(term) for term in new.terms - old.terms
    )


def _text(passage: Evidence) -> _Text:
    terms = analyze(passage.text, passage.language)
    return _Text(
        passage.chunk_ids[0] if passage.chunk_ids else passage.document_id,
        " ".join(passage.text.casefold().split()),
        frozenset(identifiers(f"{passage.title}\n{passage.context}")),
        frozenset(terms),
        tuple(term for term in terms if any(sign.isdigit() for sign in term)),
        frozenset(zip(terms, terms[1:], terms[2:], strict=False)),
    )
