"""The measures against cases worked by hand."""

import math

import numpy as np
import pytest
from ir_measures import RR, R, nDCG

from tests.benchmarks.quality.retrieval_scores import best_by_document, interval, measured


def test_measures_by_hand() -> None:
    relevant = {"q1": frozenset({"a", "b"}), "q2": frozenset({"c"}), "q3": frozenset({"d"})}
    run = {
        "q1": {"x": 9.0, "a": 8.0, "y": 7.0, "b": 6.0},  # relevant at ranks 2 and 4
        "q2": {f"x{place}": 20.0 - place for place in range(6)} | {"c": 1.0},  # at rank 7
    }
    values = measured(relevant, run)
    ideal = 1 + 1 / math.log2(3)
    gained = 1 / math.log2(3) + 1 / math.log2(5)
    assert values[nDCG @ 10].tolist() == pytest.approx([gained / ideal, 1 / math.log2(8), 0.0])
    assert values[R @ 5].tolist() == [1.0, 0.0, 0.0]
    assert values[R @ 20].tolist() == [1.0, 1.0, 0.0]
    assert values[RR].tolist() == pytest.approx([1 / 2, 1 / 7, 0.0])


def test_an_interval_draws_whole_groups() -> None:
    # Within a group all are alike: with two groups a resample's mean is 0, the mean, or 1.
    values = np.array([0.0] * 50 + [1.0] * 50)
    assert interval(values, ["one"] * 50 + ["two"] * 50) == (0.0, 1.0)
    low, high = interval(values, [str(number) for number in range(100)])
    assert 0.35 < low < 0.45
    assert 0.55 < high < 0.65
    assert interval(values, [str(number) for number in range(100)]) == (low, high), "a seed"


def test_a_document_counts_by_its_best_row() -> None:
    assert best_by_document({1: 0.5, 2: 0.7, 3: -1.0}, {1: "a", 2: "a", 3: "b"}) == {"a": 0.7, "b": -1.0}
