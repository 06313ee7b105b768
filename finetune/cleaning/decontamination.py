"""Examples that give an evaluation question away: the question itself, its fact, its words, or nearly the same one.

Runs of eight words and a share of .7 of them are the rule of A. Chowdhery and others, PaLM, 2022, section 8. The
document that answers a question is no contamination; asking it is. Two questions that differ in a number or a part
number ask for two things, however many words they share.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from finetune.examples import TrainingExample
from rag.evaluation.questions import EvaluationQuestion
from rag.resemblance import KnownTexts, containment, figures_of, normalised, word_runs, words_of

Leak = Literal["same question", "same fact", "same words", "nearly the same question"]
_WORDS_PER_RUN = 8
_LEAST_SHARE = 0.7
_FEWEST_WORDS = 6
"""A shorter question, such as a follow-up, is only ever found whole: its words stand in many texts."""
_NEAR = 0.6
_WORDS_PER_NEAR_RUN = 2


@dataclass(frozen=True, slots=True)
class Contamination:
    """The question that an example gives away, and how."""

    question_id: str
    how: Leak


class Decontaminator:
    def __init__(self, questions: Iterable[EvaluationQuestion], *, same_facts: bool = True) -> None:
        """Without ``same_facts`` a fact may be trained on that is asked for in other words: a by-question split."""
        self._by_question: dict[str, str] = {}
        self._by_fact: dict[str, str] = {}
        self._runs: dict[str, frozenset[str]] = {}
        self._with_run: dict[str, list[str]] = defaultdict(list)
        self._sizes: set[int] = set()
        self._near = KnownTexts(_NEAR, _WORDS_PER_NEAR_RUN)
        self._figures: dict[str, frozenset[str]] = {}
        for question in questions:
            self._by_question.setdefault(normalised(question.question), question.id)
            if same_facts and question.fact_key and question.answerable:
                self._by_fact.setdefault(question.fact_key.casefold(), question.id)
            words = len(words_of(question.question))
            if words < _FEWEST_WORDS:
                continue
            size = min(words, _WORDS_PER_RUN)
            self._sizes.add(size)
            self._runs[question.id] = word_runs(question.question, size)
            for run in self._runs[question.id]:
                self._with_run[run].append(question.id)
            self._near.add(question.id, question.question)
            self._figures[question.id] = figures_of(question.question)

    def find(self, example: TrainingExample) -> Contamination | None:
        """The first way that gives a question away, in the order of ``Leak``; ties go to the first question."""
        return self._find(list(_asked(example)), list(_texts(example)), example.provenance.fact_key)

    def find_question(self, question: str, fact_key: str | None = None) -> Contamination | None:
        """The same for a question that is not an example yet."""
        return self._find([question], [question], fact_key)

    def _find(self, asked: Sequence[str], texts: Sequence[str], fact_key: str | None) -> Contamination | None:
        for question in asked:
            if (found := self._by_question.get(normalised(question))) is not None:
                return Contamination(found, "same question")
        if (found := self._by_fact.get((fact_key or "").casefold())) is not None:
            return Contamination(found, "same fact")
        for text in texts:
            if (found := self._worded(text)) is not None:
                return Contamination(found, "same words")
        for question in asked:
            figures = figures_of(question)
            for found, _ in self._near.similar(question):
                if self._figures[found] == figures:
                    return Contamination(found, "nearly the same question")
        return None

    def _worded(self, text: str) -> str | None:
        runs: frozenset[str] = frozenset().union(*(word_runs(text, size) for size in self._sizes))
        candidates = {found for run in runs & self._with_run.keys() for found in self._with_run[run]}
        if not candidates:
            return None
        figures = figures_of(text)
        shares = {
            found: containment(self._runs[found], runs) for found in candidates if self._figures[found] <= figures
        }
        enough = [found for found, share in shares.items() if share >= _LEAST_SHARE]
        return min(enough, key=lambda found: (-shares[found], found), default=None)


def _asked(example: TrainingExample) -> Iterator[str]:
    """What the user asks: of a prompt with passages, the last paragraph."""
    for message in example.messages:
        if message.role == "user":
            yield question_of(message.content)


def _texts(example: TrainingExample) -> Iterator[str]:
    if example.text is not None:
        yield example.text
    for message in example.messages:
        if message.role != "system":
            yield message.content


def question_of(content: str) -> str:
    """The question of a user message, passages aside; the whole message where there are none."""
    _, separator, question = content.rpartition("\n\nQuestion: ")
    return question if separator and content.startswith("<passage ") else content
