"""What the rules find in one document: questions with one answer and the words that say so, before they are facts."""

import re
from dataclasses import dataclass
from typing import Literal

from rag.matching import identifiers

FoundKind = Literal["table", "table-reverse", "table-largest", "table-smallest", "definition", "key-value", "statement"]


@dataclass(frozen=True, slots=True)
class Found:
    """One thing that a document says, with the wordings that ask for it. ``start`` and ``end`` span its quote."""

    kind: FoundKind
    questions: tuple[str, ...]
    answer: str
    start: int
    end: int
    key: str
    """What is asked for, within the document's group: the last part of the fact key."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A sentence turned into a question; ``about`` is what it asks for, in whatever words."""

    kind: FoundKind
    question: str
    answer: str
    about: str


def names_in(text: str) -> frozenset[str]:
    """Words that keep their capital inside a sentence."""
    return frozenset(re.findall(r"(?<=[^\W\d_A-ZА-ЯЁ] )[A-ZА-ЯЁ]\w+", text))


def inside_sentence(words: str, names: frozenset[str]) -> str:
    """Words that began a sentence as they stand within one: an ordinary first word loses its capital."""
    first = re.split(r"\W", words)[0]
    keeps = first in names or (len(first) > 1 and not first[1:].islower()) or bool(identifiers(words.split()[0]))
    return words if keeps else words[0].lower() + words[1:]
