"""Questions to what a calibration is fitted to: searches as the answer flow would, and reads the signals."""

from collections.abc import Callable, Sequence

from rag.build import Library
from rag.evaluation.calibrating import Example
from rag.evaluation.questions import EvaluationQuestion
from rag.rewriting import by_rules
from rag.signals import read_signals
from rag.types import Collection


def observe(
    library: Library,
    collection: Collection,
    questions: Sequence[EvaluationQuestion],
    on_question: Callable[[int, int], None] | None = None,
) -> list[Example]:
    """In the questions' order. Follow-ups are rewritten by the rules, so that no model is asked."""
    retriever = library.retriever(collection)
    top_k = library.settings.retrieval.top_k
    examples = []
    for number, question in enumerate(questions, start=1):
        query = by_rules(question.question, question.messages).query
        hits = retriever.retrieve(query, top_k)
        signals = read_signals(query, hits, retriever.term_weights(query), question.question)
        examples.append(Example(signals, question.answerable, group_of(question)))
        if on_question is not None:
            on_question(number, len(questions))
    return examples


def group_of(question: EvaluationQuestion) -> str:
    """The file's group, else the first document of the evidence, else the question by itself."""
    return question.group or next((item.document for item in question.evidence), question.id)
