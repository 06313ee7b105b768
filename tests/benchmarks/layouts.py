"""Prompts for the questions of the sample corpus in our layout and in a naive one, with what the real retriever finds.

Answers in the history are those of the question file, so that no model changes what is asked.
"""

from collections.abc import Sequence
from pathlib import Path

from rag import prompting
from rag.build import Library
from rag.evaluation.questions import EvaluationQuestion, read_questions
from rag.packing import Order, numbered, pack
from rag.rewriting import standalone
from rag.types import Evidence, Hit, Message, Turn

QUESTIONS = Path(__file__).parents[2] / "data" / "sample" / "questions.jsonl"

Prompt = tuple[Message, ...]


class Corpus:
    """The sample corpus, ingested, with the real retriever."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self.budget_tokens = library.settings.packing.max_evidence_tokens
        self._counter = library.chat_model().tokens
        self._hits: dict[str, list[Hit]] = {}

    def hits(self, query: str) -> list[Hit]:
        if query not in self._hits:
            self._hits[query] = self._library.search(query, "default", self._library.settings.retrieval.top_k)
        return self._hits[query]

    def pack(self, query: str, order: Order, shown: Sequence[Evidence] = ()) -> tuple[Evidence, ...]:
        packed = pack(
            self.hits(query),
            budget_tokens=self.budget_tokens,
            counter=self._counter,
            read_span=self._read_span,
            order=order,
            shown=shown,
        )
        return packed.evidence

    def _read_span(self, document_id: str, version: str, start: int, end: int) -> str:
        return self._library.catalog.document_version(document_id, version).text[start:end]


def answer_of(question: EvaluationQuestion) -> str:
    return f"{question.answers[0]}."


def ours(corpus: Corpus, questions: Sequence[EvaluationQuestion], order: Order = "document") -> list[Prompt]:
    history: list[Turn] = []
    prompts = []
    for question in questions:
        shown = [item for turn in history for item in turn.evidence]
        evidence = corpus.pack(standalone(question.question, history), order, shown)
        prompts.append(prompting.build(question.question, evidence, history, grounded=True))
        user = prompting.user_content(question.question, evidence)
        history.append(Turn(question.question, user, answer_of(question), evidence))
    return prompts


def naive(corpus: Corpus, questions: Sequence[EvaluationQuestion], *, cumulative: bool) -> list[Prompt]:
    rules = prompting.system_message(grounded=True).content
    history: list[Message] = []
    kept: list[Evidence] = []
    prompts = []
    for question in questions:
        query = standalone(question.question, history)
        if cumulative:
            kept = [*kept, *corpus.pack(query, "score", kept)]
            evidence = numbered(kept, 1, "score")
        else:
            evidence = corpus.pack(query, "score")
        passages = "\n".join(prompting.render_evidence(item) for item in evidence)
        asked = Message("user", question.question)
        prompts.append((Message("system", f"{rules}\n\n{passages}"), *history, asked))
        history += [asked, Message("assistant", answer_of(question))]
    return prompts


def groups_of_questions(
    count: int | None, each: int | None, splits: Sequence[str] = ("dev",)
) -> list[list[EvaluationQuestion]]:
    """For ``count`` groups that have so many, the first questions; all where ``None``, in groups of at least four.

    A group is about one product or topic.
    """
    groups: dict[str, list[EvaluationQuestion]] = {}
    for item in read_questions(QUESTIONS):
        if item.split in splits and item.language == "en" and item.answerable and not item.history:
            groups.setdefault(item.group, []).append(item)
    return [items[:each] for items in groups.values() if len(items) >= (each or 4)][:count]
