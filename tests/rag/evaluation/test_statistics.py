"""Paired differences: against hand-worked cases, the plain t test and the definitions."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rag.evaluation.statistics import (
    MINIMUM_CLUSTERS,
    Estimate,
    Interval,
    contrasted,
    detectable,
    estimate,
    estimates,
    holm,
    judged,
    sign_flip,
    verdict,
)

finite = st.floats(-5, 5, allow_nan=False)


def spread(clusters: int, per_cluster: int = 4, shift: float = 0.0, seed: int = 1) -> tuple[np.ndarray, list[str]]:
    random = np.random.default_rng(seed)
    labels = [f"g{at}" for at in range(clusters) for _ in range(per_cluster)]
    return shift + random.normal(0, 0.3, len(labels)), labels


def test_one_question_per_cluster_is_nearly_the_paired_t_test() -> None:
    differences = np.array([0.2, -0.1, 0.4, 0.0, 0.3, 0.1])
    found = estimate(differences, list("abcdef"))
    expected = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    # The jackknife's standard error is that of the t test times the root of n / (n - 1).
    half = (expected.high - expected.low) / 2 * math.sqrt(6 / 5)
    assert found.value == pytest.approx(differences.mean())
    assert (found.interval.low, found.interval.high) == pytest.approx((found.value - half, found.value + half))


def test_standard_error_by_hand() -> None:
    # Clusters of 1 and 3 of 4 questions, mean 1: what is left is -1 and 1; (1 / (9/16) + 1 / (1/16)) / 16 = 10/9.
    found = estimate(np.array([0.0, 1.0, 1.0, 2.0]), ["a", "b", "b", "b"])
    assert found.standard_error == pytest.approx(math.sqrt(10 / 9))


@given(st.lists(st.tuples(finite, st.integers(0, 5)), min_size=4, max_size=30))
def test_standard_error_is_the_matrix_formula(rows: list[tuple[float, int]]) -> None:
    """Bell and McCaffrey's: the residuals of a cluster times the inverse of I - H."""
    values, of = np.array([value for value, _ in rows]), np.array([cluster for _, cluster in rows])
    if len(set(of)) < 2:
        return
    meat = 0.0
    for cluster in set(of):
        inside = of == cluster
        residuals = values[inside] - values.mean()
        left = np.eye(inside.sum()) - np.full((inside.sum(),) * 2, 1 / len(of))
        meat += np.linalg.solve(left, residuals).sum() ** 2
    expected = math.sqrt(meat) / len(of)
    assert estimate(values, of.astype(str)).standard_error == pytest.approx(expected, abs=1e-9)


@given(st.lists(finite, min_size=1, max_size=7))
def test_exact_flips_are_all_flips(sums: list[float]) -> None:
    row = np.array([sums])
    reach = abs(sum(sums)) - 1e-9 * sum(map(abs, sums))
    flipped = [abs(np.dot(signs, sums)) for signs in itertools.product((1, -1), repeat=len(sums))]
    assert sign_flip(row)[0] == pytest.approx(np.mean([each >= reach for each in flipped]))


def test_drawn_flips_come_near_the_exact_ones_and_are_the_same_twice() -> None:
    random = np.random.default_rng(3)
    sums = random.normal(0.4, 1, (3, 13))
    padded = np.hstack([sums, np.zeros((3, 5))])
    # Clusters of nothing change no sum, but make flips be drawn.
    assert sign_flip(padded, seed=1) == pytest.approx(sign_flip(sums), abs=0.02)
    assert (sign_flip(padded, seed=1) == sign_flip(padded, seed=1)).all()
    assert sign_flip(np.full((1, 60), 1.0)) == pytest.approx(1e-4)


@given(st.permutations(range(24)))
@settings(max_examples=20)
def test_the_order_of_questions_changes_nothing(order: list[int]) -> None:
    differences, labels = spread(6)
    found = estimate(differences[order], [labels[at] for at in order])
    expected = estimate(differences, labels)
    assert found.p == expected.p
    assert (found.value, found.standard_error) == pytest.approx((expected.value, expected.standard_error))


def test_questions_of_one_cluster_count_as_one() -> None:
    """Each question asked ten times over makes no interval narrower."""
    differences, labels = spread(12, 1, 0.1)
    once, often = estimate(differences, labels), estimate(np.repeat(differences, 10), np.repeat(labels, 10))
    assert often.standard_error == pytest.approx(once.standard_error)
    assert often.p == once.p


def test_equal_arms_differ_by_nothing() -> None:
    found = judged([estimate(np.zeros(48), [f"g{at // 3}" for at in range(48)])])[0]
    assert (found.estimate.value, found.interval, found.p) == (0, Interval(0, 0), 1)
    assert verdict(found, "rag", "base").startswith("No difference shown")


def test_unmeasured_questions_are_left_out_and_counted() -> None:
    differences, labels = spread(20, 5, 0.5)
    differences[:2] = np.nan
    found = estimate(differences, labels)
    kept = estimate(differences[2:], labels[2:])
    assert (found.questions, found.unmeasured, found.has_verdict) == (98, 2, True)
    assert (found.value, found.standard_error, found.p) == (kept.value, kept.standard_error, kept.p)
    differences[2] = np.nan
    (result,) = judged([estimate(differences, labels)])
    assert not result.is_significant
    assert "3.0% of the questions are unmeasured" in verdict(result, "rag", "base")


def test_no_verdict_under_twelve_clusters_however_clear() -> None:
    for clusters, said in ((MINIMUM_CLUSTERS - 1, "No verdict on rag"), (MINIMUM_CLUSTERS, "rag is better than base")):
        (found,) = judged([estimate(*spread(clusters, shift=2.0))])
        assert verdict(found, "rag", "base").startswith(said)
        assert found.is_significant == (clusters >= MINIMUM_CLUSTERS)


@pytest.mark.parametrize("clusters", [0, 1])
def test_nothing_or_one_cluster_gives_no_figure_and_no_verdict(clusters: int) -> None:
    (found,) = judged([estimate(np.ones(3 * clusters), ["a"] * 3 * clusters)])
    assert math.isnan(found.estimate.standard_error)
    assert not found.is_significant
    assert f"{clusters} independent group" in verdict(found, "rag", "base")


def test_contrasts_of_arms_and_their_interaction() -> None:
    scores = np.array([[0.0, 1.0, np.nan], [1.0, 1.0, 1.0], [0.5, 0.0, 1.0]])
    weights = np.array([[-1.0, 1, 0], [0, -1, 1], [1, -2, 1]])
    expected = [[1.0, 0.0, np.nan], [-0.5, -1.0, 0.0], [-1.5, -1.0, np.nan]]
    np.testing.assert_array_equal(contrasted(scores, weights), expected)


def test_holm_by_hand() -> None:
    # 4 x .01, then 3 x .015, then never smaller than before.
    assert holm([0.04, 0.01, 0.02, 0.015]) == pytest.approx([0.045, 0.04, 0.045, 0.045])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_none_and_bonferroni_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    for raw, made in zip(p_values, adjusted, strict=True):
        assert raw <= made <= min(1, len(p_values) * raw) + 1e-12
    for one, other in itertools.combinations(range(len(p_values)), 2):
        if p_values[one] < p_values[other]:
            assert adjusted[one] <= adjusted[other]


def test_intervals_at_once_are_wider_and_agree_with_the_tests() -> None:
    shifts = (0.0, 0.05, 0.14, 0.5)
    found = judged(estimates(np.array([spread(16, shift=shift)[0] for shift in shifts]), spread(16)[1]))
    for one in found:
        alone = one.estimate.interval
        assert one.interval.high > alone.high
        if one.is_significant:
            assert one.interval.low >= 0
    assert [one.is_significant for one in found][-1]
    half = found[0].interval.high - found[0].estimate.value
    assert half == pytest.approx(stats.t.ppf(1 - 0.05 / 8, 15) * found[0].estimate.standard_error)


def test_a_step_that_decides_the_side_ends_the_interval_there() -> None:
    """Bonferroni's interval reaches over 0, Holm's third step does not."""
    clear = Estimate(1.0, 0.05, Interval(0.9, 1.1), 0.0001, 100, 20, 0)
    close = Estimate(0.1, 0.042, Interval(0.012, 0.188), 0.03, 100, 20, 0)
    found = judged([clear, clear, close])
    assert found[2].p == pytest.approx(0.03)
    assert found[2].interval.low == 0
    assert found[2].is_significant


def test_the_null_may_lie_elsewhere() -> None:
    """Worse by .3, and certainly by more than .2, but not by more than .3."""
    differences, labels = spread(20, 10, -0.3)
    assert estimate(differences, labels, null=-0.2).p < 0.01
    assert estimate(differences, labels, null=-0.3).p > 0.05


def test_detectable_is_two_quantiles_of_the_standard_error() -> None:
    assert detectable(0.1, 13) == pytest.approx(0.1 * (stats.t.ppf(0.975, 12) + stats.t.ppf(0.8, 12)))
    assert math.isnan(detectable(0.1, 1))


def test_labels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="3 cluster labels"):
        estimate(np.zeros(2), ["a", "b", "c"])
