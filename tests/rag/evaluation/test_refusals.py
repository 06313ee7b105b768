"""The figures against a table worked by hand."""

import numpy as np
import pytest

from rag.evaluation.refusals import measure, risk_by_coverage, thresholds

ANSWERABLE = np.array([1, 1, 1, 1, 1, 1, 0, 0, 0, 0], bool)
REFUSED = np.array([1, 0, 0, 0, 0, 0, 1, 1, 1, 0], bool)


def test_both_kinds_of_error_are_counted() -> None:
    found = measure(REFUSED, ANSWERABLE, [str(number) for number in range(10)])
    values = {name: getattr(found, name).value for name in ("precision", "recall", "f1", "risk", "coverage")}
    assert values == pytest.approx({"precision": 0.75, "recall": 0.75, "f1": 0.75, "risk": 1 / 6, "coverage": 0.6})
    assert found.answerable_refused.value == pytest.approx(1 / 6)
    assert found.unanswerable_answered.value == pytest.approx(1 / 4)
    assert (found.questions, found.unanswerable) == (10, 4)
    assert found.f1.low < 0.75 < found.f1.high


def test_groups_are_drawn_whole() -> None:
    alone = measure(REFUSED, ANSWERABLE, ["one"] * 10)
    assert (alone.f1.low, alone.f1.high) == (0.75, 0.75), "with one group every resample is the whole"


def test_the_same_seed_gives_the_same_interval() -> None:
    groups = [str(number // 2) for number in range(10)]
    assert measure(REFUSED, ANSWERABLE, groups, 3) == measure(REFUSED, ANSWERABLE, groups, 3)


def test_risk_is_counted_among_the_most_probable() -> None:
    probabilities = np.array([0.9, 0.8, 0.7, 0.6])
    risks = risk_by_coverage(probabilities, np.array([1, 1, 0, 1], bool))
    assert risks[0.5] == 0.0
    assert risks[0.75] == pytest.approx(1 / 3)
    assert risks[1.0] == 0.25


def test_thresholds_part_the_questions_in_every_way() -> None:
    assert thresholds(np.array([0.2, 0.6, 0.6])).tolist() == [0.0, pytest.approx(0.4)]
