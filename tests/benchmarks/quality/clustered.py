"""Means with intervals where the observations come in groups: questions of one article, pairs of one paragraph."""

from collections.abc import Sequence

import numpy as np

RESAMPLES = 2000
SEED = 20


def interval(values: Sequence[float], clusters: Sequence[str]) -> tuple[float, float, float]:
    """The mean of the values and the 95 % percentile interval of a bootstrap that draws whole clusters."""
    return ratio_interval(values, [1.0] * len(values), clusters)


def ratio_interval(
    above: Sequence[float], below: Sequence[float], clusters: Sequence[str]
) -> tuple[float, float, float]:
    """The same for a ratio of sums, such as a precision: its denominator varies with the draw, too."""
    names = {name: at for at, name in enumerate(dict.fromkeys(clusters))}
    places = [names[name] for name in clusters]
    sums = np.zeros((2, len(names)))
    np.add.at(sums[0], places, above)
    np.add.at(sums[1], places, below)
    draws = np.random.default_rng(SEED).integers(len(names), size=(RESAMPLES, len(names)))
    drawn = sums[:, draws].sum(axis=2)
    ratios = drawn[0][drawn[1] > 0] / drawn[1][drawn[1] > 0]
    low, high = np.percentile(ratios, (2.5, 97.5)) if len(ratios) else (float("nan"), float("nan"))
    return (sums[0].sum() / sums[1].sum() if sums[1].sum() else float("nan")), float(low), float(high)


def cell(figures: tuple[float, float, float]) -> str:
    """``.630 [.552, .701]``."""
    mean, low, high = (_short(figure) for figure in figures)
    return f"{mean} [{low}, {high}]"


def _short(figure: float) -> str:
    return f"{figure:.3f}".removeprefix("0") if figure < 1 else f"{figure:.3f}"
