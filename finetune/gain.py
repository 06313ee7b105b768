"""What an adapter gains on questions of the domain: both answers of the flow as it is served, scored alike."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from finetune.forgetting import Pair
from rag.build import Library
from rag.evaluation.metrics import contains, token_f1
from rag.evaluation.observing import group_of
from rag.evaluation.questions import EvaluationQuestion
from rag.question import Question

Metric = Literal["f1", "contains"]

CANDIDATE = "candidate-under-check"
"""The name under which the adapter is known while it is measured."""


def candidate(adapter: Path) -> dict[str, str]:
    """For ``generation.adapters`` of the library that measures."""
    return {CANDIDATE: str(adapter.resolve())}


def measure(
    library: Library,
    questions: Sequence[EvaluationQuestion],
    collection: str,
    strategy: str,
    metric: Metric,
    on_question: Callable[[int, int], None] | None = None,
) -> list[Pair]:
    """A pair a question: the strategy without the adapter, and with it.

    Where a question cannot be answered, an abstention scores 1 and any answer 0.
    """

    async def run() -> list[Pair]:
        pairs = []
        for number, question in enumerate(questions, start=1):
            before, after = [
                await _score(library, question, collection, name, metric)
                for name in (strategy, f"{strategy}@{CANDIDATE}")
            ]
            pairs.append(Pair(id=question.id, group=group_of(question), before=before, after=after))
            if on_question is not None:
                on_question(number, len(questions))
        return pairs

    return asyncio.run(run())


async def _score(
    library: Library, question: EvaluationQuestion, collection: str, strategy: str, metric: Metric
) -> float:
    asked = Question(question.question, collection, strategy, history=question.messages)
    answer = await library.answerer.answer(asked)
    if not question.answerable:
        return float(answer.abstained)
    if answer.abstained:
        return 0.0
    return (token_f1 if metric == "f1" else contains)(answer.text, question.answers)
