"""Fits a calibration to questions with known answers, and says by cross-validation what it is worth.

Folds never part a group (a conversation, the questions about one document): whoever has seen a question's neighbours
knows too much of it. The figures are of questions that neither the weights nor the threshold had seen.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from rag.calibration import Calibration, LogisticModel
from rag.errors import UsageError
from rag.evaluation.refusals import Flags, Probabilities, Refusals, measure, risk_by_coverage, thresholds
from rag.evaluation.regression import fit_logistic
from rag.signals import DENSE_SIGNALS, LEXICAL_SIGNALS

_FOLDS = 5
_FEWEST = 20


@dataclass(frozen=True, slots=True)
class Example:
    """A question as ``read_signals`` sees it, and whether the documents answer it."""

    signals: dict[str, float]
    answerable: bool
    group: str


@dataclass(frozen=True, slots=True)
class Rule:
    """How the threshold is chosen.

    With ``target_risk`` it is the lowest one at which at most that share of the answered questions is unanswerable;
    else the one with the best F1 of refusals among those that refuse at most ``max_refused`` of the answerable ones.
    """

    max_refused: float = 0.1
    target_risk: float | None = None

    def __str__(self) -> str:
        if self.target_risk is not None:
            return f"at most {self.target_risk:g} of the answered questions unanswerable"
        return f"best F1 of refusals with at most {self.max_refused:g} of the answerable questions refused"

    def threshold(self, probabilities: Probabilities, answerable: Flags) -> float:
        """Raises ``UsageError`` where no threshold keeps the target risk."""
        candidates = thresholds(probabilities)
        refused = probabilities[np.newaxis] < candidates[:, np.newaxis]
        missed = (~refused & ~answerable).sum(axis=1)
        hit = (refused & ~answerable).sum(axis=1)
        wrong = (refused & answerable).sum(axis=1)
        if self.target_risk is not None:
            answered = (~refused).sum(axis=1)
            kept = np.flatnonzero(missed <= self.target_risk * answered)
            if len(kept) == 0 or answered[kept[0]] == 0:
                raise UsageError(
                    f"at no threshold are only {self.target_risk:g} of the answered questions unanswerable; "
                    "choose a higher target risk"
                )
            return float(candidates[kept[0]])
        f1 = 2 * hit / np.maximum(1, 2 * hit + wrong + missed)
        f1[wrong > self.max_refused * answerable.sum()] = -1.0
        return float(candidates[int(np.argmax(f1))])


@dataclass(frozen=True, slots=True)
class Models:
    with_embedder: LogisticModel | None
    by_words: LogisticModel

    def probabilities(self, examples: Sequence[Example]) -> Probabilities:
        chosen = (
            self.with_embedder if self.with_embedder is not None and _is_dense(each) else self.by_words
            for each in examples
        )
        return np.array([model.probability(each.signals) for model, each in zip(chosen, examples, strict=True)])


@dataclass(frozen=True, slots=True)
class Fitted:
    """``probabilities`` and ``refused`` are out of fold, in the examples' order."""

    calibration: Calibration
    probabilities: Probabilities
    refused: Flags
    refusals: Refusals
    risk_by_coverage: dict[float, float]


def fit(
    examples: Sequence[Example],
    rule: Rule,
    *,
    embedder: str,
    fitted_on: str,
    questions_sha256: tuple[str, ...] = (),
    prior: Calibration | None = None,
    seed: int = 0,
    on_fold: Callable[[int, int], None] | None = None,
) -> Fitted:
    """``prior`` is what weights are shrunk to.

    Raises ``UsageError`` for fewer than 20 questions of either kind, or fewer groups than folds."""
    if prior is not None and prior.embedder != embedder:
        prior = prior.model_copy(update={"with_embedder": None})
    answerable = np.array([each.answerable for each in examples], bool)
    groups = [each.group for each in examples]
    _check(answerable, groups)
    probabilities = np.zeros(len(examples))
    refused = np.zeros(len(examples), bool)
    folds = list(_folds(answerable, groups, seed))
    for number, (rest, held_out) in enumerate(folds, start=1):
        seen = [examples[index] for index in rest]
        models = fit_models(seen, prior)
        threshold = rule.threshold(_out_of_fold(seen, prior, seed), answerable[rest])
        probabilities[held_out] = models.probabilities([examples[index] for index in held_out])
        refused[held_out] = probabilities[held_out] < threshold
        if on_fold is not None:
            on_fold(number, len(folds))
    models = fit_models(examples, prior)
    calibration = Calibration(
        embedder=embedder,
        with_embedder=models.with_embedder,
        by_words=models.by_words,
        threshold=rule.threshold(probabilities, answerable),
        target=str(rule),
        fitted_on=fitted_on,
        questions_sha256=questions_sha256,
    )
    return Fitted(
        calibration,
        probabilities,
        refused,
        measure(refused, answerable, groups, seed),
        risk_by_coverage(probabilities, answerable),
    )


def fit_models(examples: Sequence[Example], prior: Calibration | None = None) -> Models:
    """A prior that knows no cosines still says what the words are worth."""
    dense = [each for each in examples if _is_dense(each)]
    enough = len({each.answerable for each in dense}) > 1 and len(dense) >= _FEWEST
    by_words = None if prior is None else prior.by_words
    with_embedder = None if prior is None else prior.with_embedder or by_words
    return Models(
        _fit(dense, LEXICAL_SIGNALS + DENSE_SIGNALS, with_embedder) if enough else None,
        _fit(examples, LEXICAL_SIGNALS, by_words),
    )


def _fit(examples: Sequence[Example], names: Sequence[str], prior: LogisticModel | None) -> LogisticModel:
    answerable = np.array([each.answerable for each in examples], bool)
    return fit_logistic([each.signals for each in examples], answerable, names, prior)


def _out_of_fold(examples: Sequence[Example], prior: Calibration | None, seed: int) -> Probabilities:
    answerable = np.array([each.answerable for each in examples], bool)
    probabilities = np.zeros(len(examples))
    for rest, held_out in _folds(answerable, [each.group for each in examples], seed):
        models = fit_models([examples[index] for index in rest], prior)
        probabilities[held_out] = models.probabilities([examples[index] for index in held_out])
    return probabilities


def _folds(
    answerable: Flags, groups: Sequence[str], seed: int
) -> Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    splitter = StratifiedGroupKFold(min(_FOLDS, len(set(groups))), shuffle=True, random_state=seed)
    return list(splitter.split(np.zeros(len(answerable)), answerable, groups))


def _check(answerable: Flags, groups: Sequence[str]) -> None:
    for wanted, name in ((answerable, "answerable"), (~answerable, "unanswerable")):
        if wanted.sum() < _FEWEST:
            raise UsageError(f"there are {wanted.sum()} {name} questions; a calibration needs at least {_FEWEST}")
        own = len({group for group, is_wanted in zip(groups, wanted, strict=True) if is_wanted})
        if own < _FOLDS:
            raise UsageError(
                f"the {name} questions are of {own} groups; a calibration needs at least {_FOLDS}, "
                "for what it is worth shows on questions of other groups only"
            )


def _is_dense(example: Example) -> bool:
    return DENSE_SIGNALS[0] in example.signals
