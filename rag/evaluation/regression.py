"""Logistic regression of signals, each bound to the side it can speak for, drawn towards what is known already.

scikit-learn's has neither bounds nor a centre other than 0 to shrink to. That a question's words are found must never
count against it: such a weight is an accident of the questions at hand, and would let a question about something else
altogether pass. Minimised with SciPy's L-BFGS-B (Byrd et al. 1995), which finds the one minimum of a convex function.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from rag.calibration import LogisticModel, Weight
from rag.signals import AGAINST

_STRENGTH = 2.0
"""Of the pull to the centre, in questions: half a squared distance costs as much as so much log loss."""
_SMALLEST_SCALE = 1e-6
_DIGITS = 6

Values = NDArray[np.float64]


def fit_logistic(
    signals: Sequence[Mapping[str, float]],
    answerable: NDArray[np.bool_],
    names: Sequence[str],
    prior: LogisticModel | None = None,
) -> LogisticModel:
    """Weights are shrunk to the prior's, or to 0. A signal that ends at 0 is left out."""
    values = np.array([[each[name] for name in names] for each in signals])
    known: Mapping[str, Weight] = {} if prior is None else prior.weights
    means, scales = values.mean(axis=0), values.std(axis=0)
    centre = np.zeros(len(names) + 1)
    centre[-1] = 0.0 if prior is None else prior.intercept
    for index, name in enumerate(names):
        if name in known:
            means[index], scales[index], centre[index] = known[name].mean, known[name].scale, known[name].weight
    scales[scales < _SMALLEST_SCALE] = 1.0
    fitted = _minimum((values - means) / scales, answerable, centre, [name in AGAINST for name in names])
    weights = {
        name: Weight(mean=_rounded(mean), scale=_rounded(scale), weight=_rounded(weight))
        for name, mean, scale, weight in zip(names, means, scales, fitted[:-1], strict=True)
        if _rounded(weight) != 0
    }
    return LogisticModel(intercept=_rounded(fitted[-1]), weights=weights)


def _minimum(values: Values, answerable: NDArray[np.bool_], centre: Values, against: Sequence[bool]) -> Values:
    """The weights and, last, the intercept, which is not pulled."""
    inputs = np.column_stack([values, np.ones(len(values))])
    pull = np.full(len(centre), _STRENGTH)
    pull[-1] = 0.0

    def loss(weights: Values) -> tuple[float, Values]:
        logits, away = inputs @ weights, weights - centre
        value = np.logaddexp(0, np.where(answerable, -logits, logits)).sum() + pull @ away**2 / 2
        return float(value), inputs.T @ (expit(logits) - answerable) + pull * away

    bounds = [(None, 0.0) if negative else (0.0, None) for negative in against]
    result = minimize(loss, centre, jac=True, method="L-BFGS-B", bounds=[*bounds, (None, None)])
    return np.asarray(result.x, np.float64)


def _rounded(value: float) -> float:
    return round(float(value), _DIGITS)
