"""What a calibration learns from examples whose answer is known by construction."""

import numpy as np
import pytest

from rag.errors import UsageError
from rag.evaluation.calibrating import Example, Rule, fit, fit_models
from rag.signals import DENSE_SIGNALS, LEXICAL_SIGNALS

QUESTIONS = 120


def example(number: int, *, dense: bool = True, informative: bool = True) -> Example:
    """Every third is unanswerable; what is asked is then covered less, give or take."""
    answerable = number % 3 > 0
    names = LEXICAL_SIGNALS + (DENSE_SIGNALS if dense else ())
    random = np.random.default_rng(number)
    signals = {name: float(random.random()) for name in names}
    if informative:
        signals["asked_coverage"] = float(random.normal(0.7 if answerable else 0.3, 0.12))
    return Example(signals, answerable, f"group {number // 4}")


def examples(**how: bool) -> list[Example]:
    return [example(number, **how) for number in range(QUESTIONS)]


def fitted(asked: list[Example], rule: Rule | None = None, **more: object):
    return fit(asked, rule or Rule(), embedder="e", fitted_on="", **more)  # type: ignore[arg-type]


def test_what_tells_them_apart_is_found_and_held_out_questions_show_it() -> None:
    found = fitted(examples())
    assert found.refusals.f1.value > 0.8
    weights = found.calibration.by_words.weights
    assert max(weights, key=lambda name: abs(weights[name].weight)) == "asked_coverage"
    assert fitted(examples()).calibration == found.calibration, "the same examples give the same calibration"


def test_noise_is_worth_nothing_and_the_figures_say_so() -> None:
    assert fitted(examples(informative=False)).refusals.f1.value < 0.6


def test_no_signal_counts_the_wrong_way_round() -> None:
    def turned(each: Example) -> Example:
        signals = {**each.signals, "asked_coverage": 1 - each.signals["asked_coverage"]}
        return Example(signals, each.answerable, each.group)

    upside_down = [turned(each) for each in examples()]
    assert "asked_coverage" not in fitted(upside_down).calibration.by_words.weights


def test_the_rules_keep_what_they_promise() -> None:
    asked = examples()
    answerable = np.array([each.answerable for each in asked])
    probabilities = fitted(asked).probabilities
    strict = probabilities < Rule(target_risk=0.02).threshold(probabilities, answerable)
    assert (~answerable[~strict]).mean() <= 0.02
    gentle = probabilities < Rule(max_refused=0.02).threshold(probabilities, answerable)
    assert gentle[answerable].mean() <= 0.02
    assert gentle.sum() < strict.sum()


def test_a_risk_that_no_threshold_reaches_is_said() -> None:
    with pytest.raises(UsageError, match="choose a higher target risk"):
        Rule(target_risk=0.1).threshold(np.full(10, 0.5), np.zeros(10, bool))


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ([each for each in examples() if each.answerable], "there are 0 unanswerable questions"),
        (examples()[:30], "there are 10 unanswerable questions"),
        ([Example(each.signals, each.answerable, "one") for each in examples()], "are of 1 groups"),
    ],
)
def test_too_little_to_learn_from_is_refused(asked: list[Example], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        fitted(asked)


def test_without_dense_signals_there_is_a_model_of_the_words_alone() -> None:
    assert fitted(examples(dense=False)).calibration.with_embedder is None
    assert fitted(examples()).calibration.with_embedder is not None


def test_weights_stay_near_the_prior_where_little_was_asked() -> None:
    prior = fitted(examples()).calibration
    few = [example(number, informative=False) for number in range(200, 206)]
    near, alone = fit_models(few, prior).by_words, fit_models(few).by_words
    weight = prior.by_words.weights["asked_coverage"].weight
    assert abs(near.weights["asked_coverage"].weight - weight) < weight / 2
    assert "asked_coverage" not in alone.weights or alone.weights["asked_coverage"].weight < weight / 2
