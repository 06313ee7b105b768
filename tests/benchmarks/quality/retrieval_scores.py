"""Ranking measures by ir-measures, query by query, and their bootstrap intervals over groups of queries."""

from collections.abc import Mapping, Sequence

import ir_measures
import numpy as np
from ir_measures import RR, Measure, R, nDCG
from numpy.typing import NDArray

MEASURES: tuple[Measure, ...] = (nDCG @ 10, R @ 5, R @ 20, R @ 100, RR)
RESAMPLES = 2000
SEED = 7

Run = Mapping[str, Mapping[str, float]]
"""By query and item: the score, higher is better."""


def measured(relevant: Mapping[str, frozenset[str]], run: Run) -> dict[Measure, NDArray[np.float64]]:
    """Each measure by query, in the order of ``relevant``. A query without results counts as 0."""
    judged = {query: dict.fromkeys(items, 1) for query, items in relevant.items()}
    values = {measure: dict.fromkeys(relevant, 0.0) for measure in MEASURES}
    for entry in ir_measures.iter_calc(MEASURES, judged, run):
        values[entry.measure][entry.query_id] = entry.value
    return {measure: np.array(list(found.values())) for measure, found in values.items()}


def interval(values: NDArray[np.float64], groups: Sequence[str]) -> tuple[float, float]:
    """The middle 95 % of the mean over resamples in which whole groups are drawn with replacement."""
    names = {name: place for place, name in enumerate(dict.fromkeys(groups))}
    of_query = np.array([names[group] for group in groups])
    sums, counts = np.bincount(of_query, values), np.bincount(of_query)
    drawn = np.random.default_rng(SEED).integers(len(names), size=(RESAMPLES, len(names)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def best_by_document(scores: Mapping[int, float], names: Mapping[int, str]) -> dict[str, float]:
    """A document's score is that of its best row."""
    best: dict[str, float] = {}
    for row, score in scores.items():
        best[names[row]] = max(best.get(names[row], float("-inf")), score)
    return best
