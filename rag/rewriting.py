"""A follow-up to a question that stands alone, without a model. Knows nothing of retrieval.

A question that names something itself (a part number, a code) is left as it is. Any other one is asked together with
the questions before it, back to the last one that names something: "And its weight?" is about what was asked before.
"""

from collections.abc import Sequence

from rag.matching import identifiers
from rag.types import Message, Turn

_QUESTIONS_BACK = 3


def standalone(question: str, history: Sequence[Turn | Message]) -> str:
    """The question to search with; the question itself when there is no history."""
    parts = [question]
    if not identifiers(question):
        for earlier in reversed(_questions(history)[-_QUESTIONS_BACK:]):
            parts.insert(0, earlier)
            if identifiers(earlier):
                break
    return " ".join(parts)


def _questions(history: Sequence[Turn | Message]) -> list[str]:
    texts = (
        item.question if isinstance(item, Turn) else item.content if item.role == "user" else "" for item in history
    )
    return [text for text in texts if text]
