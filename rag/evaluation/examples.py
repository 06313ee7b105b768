"""Solved examples for the few-shot arm: of other groups than those asked about, so that none tells an answer."""

import hashlib
from collections.abc import Sequence

from rag.errors import UsageError
from rag.evaluation.observing import group_of
from rag.evaluation.questions import EvaluationQuestion
from rag.types import Message


class Examples:
    def __init__(self, pool: Sequence[EvaluationQuestion], asked: Sequence[EvaluationQuestion], seed: int) -> None:
        """``pool`` may hold the questions asked."""
        taken = {group_of(question) for question in asked}
        self._pool = sorted(
            (each for each in pool if each.answerable and not each.history and group_of(each) not in taken),
            key=lambda each: hashlib.sha256(f"{seed} {each.id}".encode()).digest(),
        )

    def messages(self, count: int, language: str) -> tuple[Message, ...]:
        """The same for every question of a language. Raises ``UsageError`` where there are too few."""
        chosen = [each for each in self._pool if each.language == language][:count]
        if len(chosen) < count:
            raise UsageError(
                f"few-shot needs {count} answerable questions in {language!r} of other groups than those asked about, "
                f"and the question files have {len(chosen)}; add some or leave the arm out"
            )
        return tuple(
            message
            for each in chosen
            for message in (Message("user", each.question), Message("assistant", each.answers[0]))
        )
