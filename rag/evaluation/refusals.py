"""How well refusals hit the questions that can't be answered: both kinds of error, with intervals by cluster.

A refusal of an unanswerable question is a true positive. Risk is the share of unanswerable questions among those that
are answered, coverage the share of all questions that are answered (El-Yaniv and Wiener 2010).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]
Probabilities = NDArray[np.float64]

_RESAMPLES = 2000
_COVERAGES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Refusals:
    questions: int
    unanswerable: int
    precision: Estimate
    recall: Estimate
    f1: Estimate
    answerable_refused: Estimate
    unanswerable_answered: Estimate
    risk: Estimate
    coverage: Estimate


def measure(refused: Flags, answerable: Flags, groups: Sequence[str], seed: int = 0) -> Refusals:
    """Whole groups are drawn with replacement: questions about one document, or of one conversation, err together."""
    clusters, of = np.unique(np.asarray(groups), return_inverse=True)
    cells = np.zeros((len(clusters), 4))
    # Columns: answerable answered, answerable refused, unanswerable answered, unanswerable refused.
    np.add.at(cells, (of, 2 * (~answerable).astype(int) + refused.astype(int)), 1)
    draws = np.random.default_rng(seed).integers(len(clusters), size=(_RESAMPLES, len(clusters)))
    drawn = _shares(cells[draws].sum(axis=1))
    found = _shares(cells.sum(axis=0)[np.newaxis])
    estimates = {}
    for name, values in drawn.items():
        low, high = np.nanpercentile(values, (2.5, 97.5)) if not np.isnan(values).all() else (np.nan, np.nan)
        estimates[name] = Estimate(float(found[name][0]), float(low), float(high))
    return Refusals(questions=len(answerable), unanswerable=int((~answerable).sum()), **estimates)


def _shares(cells: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """NaN where nothing was there to count."""
    kept, wrong, missed, hit = cells.T
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "precision": hit / (hit + wrong),
            "recall": hit / (hit + missed),
            "f1": 2 * hit / (2 * hit + wrong + missed),
            "answerable_refused": wrong / (wrong + kept),
            "unanswerable_answered": missed / (missed + hit),
            "risk": missed / (missed + kept),
            "coverage": (kept + missed) / cells.sum(axis=1),
        }


def risk_by_coverage(probabilities: Probabilities, answerable: Flags) -> dict[float, float]:
    """Coverage to risk when the questions with the highest probabilities are answered."""
    order = np.argsort(-probabilities, kind="stable")
    wrong = np.cumsum(~answerable[order])
    counts = {coverage: max(1, round(coverage * len(order))) for coverage in _COVERAGES}
    return {coverage: float(wrong[count - 1] / count) for coverage, count in counts.items()}


def thresholds(probabilities: Probabilities) -> Probabilities:
    """The thresholds that part the questions differently, ascending: halfway between neighbours, and below all."""
    values = np.unique(probabilities)
    return np.concatenate([[0.0], (values[1:] + values[:-1]) / 2])
