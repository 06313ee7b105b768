"""Leaks of an evaluation's questions, three kinds told apart: what was trained on, and what the documents say.

- ``question``: the question itself or a paraphrase was trained on. Its score says what was remembered: blocked.
- ``fact``: the same fact was trained on in another question, or in the words of its evidence. Allowed where the run
  declares itself transductive, which an adapter that answers closed-book must be.
- ``evidence``: the documents that are searched hold it. That is what they are for: expected, and counted.

Runs of eight words and a share of .7 of them are the rule of A. Chowdhery and others, PaLM, 2022, section 8. Texts that
differ in a figure, such as a part number, ask for two things, however many words they share.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np

from rag.analysis import analyze
from rag.evaluation.questions import EvaluationQuestion
from rag.evaluation.records import ScoreRecord
from rag.evaluation.statistics import Estimate, estimate
from rag.evaluation.trained import TrainedText
from rag.interfaces import Vectors
from rag.resemblance import KnownTexts, containment, figures_of, normalised, word_runs, words_of

Kind = Literal["question", "fact", "evidence"]
How = Literal[
    "same question", "same words", "near duplicate", "same meaning", "same fact key", "same answer", "same evidence"
]
Embed = Callable[[Sequence[str]], Vectors]

_WORDS_PER_RUN = 8
_LEAST_SHARE = 0.7
_FEWEST_WORDS = 6
"""A shorter question is only ever found whole: its words stand in many texts."""
_FEWEST_QUOTED = 4
_NEAR, _WORDS_PER_NEAR_RUN = 0.6, 2
_MEANING = 0.9
"""The cosine from which two questions that agree in their figures are taken for paraphrases."""
_SHARED_TERMS = 0.5
"""Of a question's terms, from which another question with the same answer asks for the same fact."""
_BATCH = 256


@dataclass(frozen=True, slots=True)
class Leak:
    """``item`` of ``where`` (an example of a file, a document of a collection) gives the question away."""

    question: str
    kind: Kind
    how: How
    where: str
    item: str
    similarity: float = 1.0


@dataclass(frozen=True, slots=True)
class Audit:
    """Every leak, the first of each question, kind and place. ``transductive`` is what the run declares."""

    questions: int
    leaks: tuple[Leak, ...]
    transductive: bool
    unsupported: tuple[str, ...] = ()
    """Questions whose evidence was looked for in the documents and not found."""

    def leaked(self, kind: Kind) -> frozenset[str]:
        """Ids of the questions."""
        return frozenset(leak.question for leak in self.leaks if leak.kind == kind)

    @property
    def blocked(self) -> frozenset[str]:
        """Questions that no verdict may rest on."""
        return self.leaked("question") if self.transductive else self.leaked("question") | self.leaked("fact")


@dataclass(frozen=True, slots=True)
class WithAndWithout:
    """An arm's mean of the metric over all questions, and over those that did not leak."""

    arm: str
    all: Estimate
    clean: Estimate


def audit(
    questions: Sequence[EvaluationQuestion],
    trained: Mapping[str, Iterable[TrainedText]],
    documents: Mapping[str, Iterable[tuple[str, str]]],
    *,
    transductive: bool = False,
    embed: Embed | None = None,
) -> Audit:
    """``trained`` by file, ``documents`` (source and text) by collection. ``embed`` gives unit vectors of questions;
    without it a paraphrase is found by its words alone."""
    known = _Known(questions, embed)
    found: dict[tuple[str, Kind, str], Leak] = {}
    for where, items in trained.items():
        for leak in known.in_training(where, items):
            found.setdefault((leak.question, leak.kind, where), leak)
    for where, texts in documents.items():
        for source, text in texts:
            for leak in known.in_documents(where, source, text):
                found.setdefault((leak.question, leak.kind, where), leak)
    leaks = tuple(found.values())
    there = {leak.question for leak in leaks if leak.kind == "evidence"}
    unsupported = [each.id for each in questions if documents and each.evidence and each.id not in there]
    return Audit(len(questions), leaks, transductive, tuple(unsupported))


def with_and_without(
    scores: Iterable[ScoreRecord], metric: str, leaked: frozenset[str], seed: int = 0
) -> list[WithAndWithout]:
    """In the order of the arms; a question without a value of the metric counts as unmeasured."""
    arms: dict[str, list[ScoreRecord]] = defaultdict(list)
    for score in scores:
        arms[score.arm].append(score)
    results = []
    for arm, own in arms.items():
        clean = [score for score in own if score.question not in leaked]
        results.append(WithAndWithout(arm, _mean(own, metric, seed), _mean(clean, metric, seed)))
    return results


def _mean(scores: Sequence[ScoreRecord], metric: str, seed: int) -> Estimate:
    values = [score.metrics.get(metric) for score in scores]
    numbers = np.array([np.nan if value is None else value for value in values], np.float64)
    return estimate(numbers, [score.group for score in scores], seed=seed)


class _Worded:
    """Texts by key, and which of them stand in another text, word for word or nearly."""

    def __init__(self, fewest: int) -> None:
        self._fewest = fewest
        self._runs: dict[str, frozenset[str]] = {}
        self._figures: dict[str, frozenset[str]] = {}
        self._with_run: dict[str, list[str]] = defaultdict(list)
        self._sizes: set[int] = set()

    def add(self, key: str, text: str) -> None:
        words = len(words_of(text))
        if words < self._fewest:
            return
        size = min(words, _WORDS_PER_RUN)
        self._sizes.add(size)
        self._runs[key], self._figures[key] = word_runs(text, size), figures_of(text)
        for run in self._runs[key]:
            self._with_run[run].append(key)

    def within(self, text: str) -> Iterator[tuple[str, float]]:
        """Keys and the share of their runs that the text holds."""
        runs: frozenset[str] = frozenset().union(*(word_runs(text, size) for size in self._sizes))
        candidates = sorted({key for run in runs & self._with_run.keys() for key in self._with_run[run]})
        figures = figures_of(text) if candidates else frozenset()
        for key in candidates:
            share = containment(self._runs[key], runs)
            if share >= _LEAST_SHARE and self._figures[key] <= figures:
                yield key, share


class _Known:
    """The evaluation's questions, ready to be met again."""

    def __init__(self, questions: Sequence[EvaluationQuestion], embed: Embed | None) -> None:
        self._by_question: dict[str, list[str]] = defaultdict(list)
        self._by_fact: dict[str, list[str]] = defaultdict(list)
        self._asked, self._quoted = _Worded(_FEWEST_WORDS), _Worded(_FEWEST_QUOTED)
        self._near = KnownTexts(_NEAR, _WORDS_PER_NEAR_RUN)
        self._answered = _Worded(1)
        self._figures: dict[str, frozenset[str]] = {}
        self._terms: dict[str, tuple[frozenset[str], str]] = {}
        # A follow-up means nothing by itself, so it is met again only with the words that came before it.
        for question in questions:
            whole = " ".join([*(turn.content for turn in question.history if turn.role == "user"), question.question])
            self._by_question[normalised(whole)].append(question.id)
            if question.fact_key and question.answerable:
                self._by_fact[question.fact_key.casefold()].append(question.id)
            self._asked.add(question.id, whole)
            self._figures[question.id] = figures_of(whole)
            if len(words_of(whole)) >= _FEWEST_WORDS:
                self._near.add(question.id, whole)
            self._terms[question.id] = frozenset(analyze(whole, question.language)), question.language
            for number, answer in enumerate(question.answers):
                self._answered.add(f"{number} {question.id}", answer)
            for number, evidence in enumerate(question.evidence):
                self._quoted.add(f"{number} {question.id}", evidence.quote)
        self._embed = embed
        alone = [question for question in questions if not question.history]
        self._ids = [question.id for question in alone]
        self._vectors = embed([question.question for question in alone]) if embed is not None and alone else None

    def in_training(self, where: str, items: Iterable[TrainedText]) -> Iterator[Leak]:
        iterator = iter(items)
        while batch := list(islice(iterator, _BATCH)):
            for item in batch:
                yield from self._in_example(where, item)
            if self._embed is not None and self._vectors is not None:
                yield from self._meant(where, batch, self._embed, self._vectors)

    def in_documents(self, where: str, source: str, text: str) -> Iterator[Leak]:
        """A quote counts in the document it is of, and in any other that says the same."""
        for key, share in self._quoted.within(text):
            yield Leak(key.partition(" ")[2], "evidence", "same evidence", where, source, share)

    def _in_example(self, where: str, item: TrainedText) -> Iterator[Leak]:
        whole = " ".join(item.asked)
        for asked in dict.fromkeys((*item.asked, whole)):
            for key in self._by_question.get(normalised(asked), ()) if asked else ():
                yield Leak(key, "question", "same question", where, item.id)
            for key, similarity in self._near.similar(asked):
                if self._figures[key] == figures_of(asked):
                    yield Leak(key, "question", "near duplicate", where, item.id, similarity)
        for text in item.texts:
            for key, share in self._asked.within(text):
                yield Leak(key, "question", "same words", where, item.id, share)
            for key, share in self._quoted.within(text):
                yield Leak(key.partition(" ")[2], "fact", "same evidence", where, item.id, share)
            for key, share in self._answered.within(text) if item.asked else ():
                if self._asks_alike(key.partition(" ")[2], whole):
                    yield Leak(key.partition(" ")[2], "fact", "same answer", where, item.id, share)
        for key in self._by_fact.get(item.fact_key.casefold(), ()) if item.fact_key else ():
            yield Leak(key, "fact", "same fact key", where, item.id)

    def _asks_alike(self, question: str, asked: str) -> bool:
        terms, language = self._terms[question]
        if not terms or not self._figures[question] <= figures_of(asked):
            return False
        return len(terms & set(analyze(asked, language))) >= _SHARED_TERMS * len(terms)

    def _meant(self, where: str, batch: Sequence[TrainedText], embed: Embed, vectors: Vectors) -> Iterator[Leak]:
        asked = [(item.id, question) for item in batch for question in item.asked if question.strip()]
        if not asked:
            return
        cosines = embed([question for _, question in asked]) @ vectors.T
        for row, column in np.argwhere(cosines >= _MEANING):
            item, question = asked[row]
            key = self._ids[column]
            if self._figures[key] == figures_of(question):
                yield Leak(key, "question", "same meaning", where, item, float(cosines[row, column]))
