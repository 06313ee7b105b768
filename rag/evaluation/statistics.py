"""Paired differences between arms on the same questions: intervals, tests, and a verdict in words.

Questions of one document are not independent, so whole clusters are what is counted. The estimate is the mean over
questions. Its standard error is cluster-robust (CR3, the jackknife: Bell and McCaffrey 2002; for a mean, what is left
of a cluster is divided by one less its share of the questions; CR1 and CR2 are too small for few clusters of unequal
size). Its interval is a t interval with one degree of freedom fewer than there are clusters. The test flips the signs
of whole clusters: exact under a null that is symmetric, all flips for few clusters and seeded draws for many.

Several planned contrasts are judged together: p-values step down (Holm 1979), and intervals hold at once (Bonferroni's
level, the one that Holm's first step tests at; where a later step decides a sign, the interval ends at 0).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Numbers = NDArray[np.float64]
Labels = NDArray[np.str_] | Sequence[str]

MINIMUM_CLUSTERS = 12
"""With fewer there is no verdict."""
MAXIMUM_UNMEASURED = 0.02
"""With a larger share of questions without a measurement there is no verdict."""
LEVEL = 0.95
POWER = 0.8

_EXACT_CLUSTERS = 14
_DRAWS = 9_999
_CHUNK = 1_000
_TIE = 1e-9
"""Sums that differ by less of the largest possible one are equal: the order of adding must not decide a tie."""


@dataclass(frozen=True, slots=True)
class Interval:
    low: float
    high: float

    def is_above(self, value: float) -> bool:
        return self.low > value

    def is_below(self, value: float) -> bool:
        return self.high < value


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean difference, by itself. NaN where nothing can be said."""

    value: float
    standard_error: float
    interval: Interval
    p: float
    questions: int
    clusters: int
    unmeasured: int
    """Questions left out, for one of the arms has no value there."""

    @property
    def has_verdict(self) -> bool:
        return self.clusters >= MINIMUM_CLUSTERS and self.unmeasured <= MAXIMUM_UNMEASURED * (
            self.questions + self.unmeasured
        )


@dataclass(frozen=True, slots=True)
class Judged:
    """An estimate as one of several: what holds for all of them at once."""

    estimate: Estimate
    interval: Interval
    p: float
    """Holm's."""
    detectable: float
    """The smallest difference that this set shows with a probability of 80 %."""

    @property
    def is_significant(self) -> bool:
        return self.estimate.has_verdict and self.p <= 1 - LEVEL


def estimate(differences: Numbers, clusters: Labels, *, null: float = 0.0, seed: int = 0) -> Estimate:
    """Of one contrast: a value per question, NaN where there is no measurement. ``null`` is what the test doubts."""
    return estimates(differences[np.newaxis], clusters, null=null, seed=seed)[0]


def estimates(differences: Numbers, clusters: Labels, *, null: float = 0.0, seed: int = 0) -> list[Estimate]:
    """``differences`` is contrasts x questions. All are tested with the same flips."""
    if differences.ndim != 2 or differences.shape[1] != len(clusters):
        raise ValueError(f"differences of shape {differences.shape} don't fit {len(clusters)} cluster labels")
    names, of = np.unique(np.asarray(clusters), return_inverse=True)
    measured = ~np.isnan(differences)
    # Contrasts x clusters.
    sizes = _sums(measured.astype(np.float64), of, len(names))
    sums = _sums(np.where(measured, differences, 0.0), of, len(names))
    p_values = sign_flip(sums - null * sizes, seed=seed)
    found = []
    for size, total, p, row in zip(sizes, sums, p_values, measured, strict=True):
        value, error = mean_and_error(total[size > 0], size[size > 0])
        count = int((size > 0).sum())
        half = _quantile(count, 1 - LEVEL) * error
        unmeasured = int((~row).sum())
        interval = Interval(value - half, value + half)
        found.append(Estimate(value, error, interval, float(p), int(row.sum()), count, unmeasured))
    return found


def contrasted(scores: Numbers, weights: Numbers) -> Numbers:
    """Contrasts x questions from arms x questions and contrasts x arms. An arm with weight 0 may lack values."""
    absent = np.isnan(scores).astype(np.float64)
    lacking = (weights != 0).astype(np.float64) @ absent > 0
    return np.where(lacking, np.nan, weights @ np.nan_to_num(scores))


def mean_and_error(sums: Numbers, sizes: Numbers) -> tuple[float, float]:
    """The mean over questions and its CR3 standard error, of clusters' sums and sizes; NaN from fewer than two."""
    questions = sizes.sum()
    if questions == 0:
        return float("nan"), float("nan")
    mean = sums.sum() / questions
    if len(sums) < 2:
        return float(mean), float("nan")
    left = sums - sizes * mean
    return float(mean), float(np.sqrt((left**2 / (1 - sizes / questions) ** 2).sum()) / questions)


def sign_flip(sums: Numbers, *, seed: int = 0) -> Numbers:
    """Two-sided p-values, one for each row of contrasts x clusters: how often flipped sums reach as far as the real.

    All flips for up to 14 clusters; beyond, 9,999 draws, the real one counted among them, so that p is never 0.
    """
    clusters = sums.shape[1]
    reach = np.abs(sums.sum(axis=1)) - _TIE * np.abs(sums).sum(axis=1)
    if clusters <= _EXACT_CLUSTERS:
        # The first sign stays: a flip and its opposite reach equally far.
        codes = np.arange(2 ** max(clusters - 1, 0))
        signs: Numbers = np.ones((clusters, len(codes)))
        signs[1:] = 1 - 2.0 * (codes >> np.arange(max(clusters - 1, 0))[:, np.newaxis] & 1)
        return np.asarray((np.abs(sums @ signs) >= reach[:, np.newaxis]).mean(axis=1), np.float64)
    random = np.random.default_rng(seed)
    reached = np.ones(len(sums), np.int64)
    for start in range(0, _DRAWS, _CHUNK):
        drawn = random.integers(2, size=(clusters, min(_CHUNK, _DRAWS - start)), dtype=np.int8)
        signs = 1 - 2 * drawn.astype(np.float64)
        reached += (np.abs(sums @ signs) >= reach[:, np.newaxis]).sum(axis=1)
    return np.asarray(reached / (_DRAWS + 1), np.float64)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values in the order given (S. Holm, A simple sequentially rejective multiple test procedure, 1979)."""
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for step, index in enumerate(sorted(range(len(p_values)), key=lambda at: p_values[at])):
        largest = max(largest, min(1.0, (len(p_values) - step) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def judged(found: Sequence[Estimate], *, null: float = 0.0) -> list[Judged]:
    """The estimates as a family. One without a verdict (too few clusters, too much unmeasured) counts in it, too."""
    alpha = (1 - LEVEL) / max(1, len(found))
    results = []
    p_values = holm([1.0 if np.isnan(each.p) else each.p for each in found])
    for each, p in zip(found, p_values, strict=True):
        half = _quantile(each.clusters, alpha) * each.standard_error
        low, high = each.value - half, each.value + half
        if p <= 1 - LEVEL:
            # Holm has decided the side that the truth lies on.
            low, high = (max(low, null), high) if each.value > null else (low, min(high, null))
        results.append(Judged(each, Interval(low, high), p, detectable(each.standard_error, each.clusters, alpha)))
    return results


def detectable(standard_error: float, clusters: int, alpha: float = 1 - LEVEL, power: float = POWER) -> float:
    """The smallest true difference that a two-sided test at ``alpha`` shows with probability ``power``."""
    if clusters < 2:
        return float("nan")
    reach = _quantile(clusters, alpha) + float(stats.t.ppf(power, clusters - 1))
    return reach * standard_error


def verdict(found: Judged, better: str, baseline: str) -> str:
    """In words, of ``better`` less ``baseline``; a higher value is taken to be better."""
    each = found.estimate
    if each.clusters < MINIMUM_CLUSTERS:
        counted = f"{each.clusters} independent group{'' if each.clusters == 1 else 's'}"
        return f"No verdict on {better} against {baseline}: {counted} of questions, and {MINIMUM_CLUSTERS} are needed."
    if not each.has_verdict:
        share = each.unmeasured / (each.questions + each.unmeasured)
        return (
            f"No verdict on {better} against {baseline}: {share:.1%} of the questions are unmeasured, "
            f"and at most {MAXIMUM_UNMEASURED:.0%} may be."
        )
    figures = f"{each.value:+.3f} [{found.interval.low:+.3f}, {found.interval.high:+.3f}], p = {found.p:.2g}"
    if found.is_significant:
        return f"{better} is {'better' if each.value > 0 else 'worse'} than {baseline}: {figures}."
    return (
        f"No difference shown between {better} and {baseline}: {figures}; "
        f"this set shows one of {found.detectable:.3f} four times out of five."
    )


def _sums(values: Numbers, of: NDArray[np.intp], count: int) -> Numbers:
    """Rows x items to rows x clusters."""
    flat = (of + count * np.arange(len(values))[:, np.newaxis]).ravel()
    return np.asarray(np.bincount(flat, values.ravel(), count * len(values)), np.float64).reshape(len(values), count)


def _quantile(clusters: int, alpha: float) -> float:
    return float(stats.t.ppf(1 - alpha / 2, clusters - 1)) if clusters > 1 else float("nan")
