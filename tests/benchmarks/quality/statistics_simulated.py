"""Whether the statistics hold what they promise, on data whose truth is known; needs no data set and no model.

    python tests/benchmarks/quality/statistics_simulated.py

Clusters of unequal size; a question's difference between two arms is a graded score (normal) or right or wrong (-1, 0
or 1), and shares a part of its variance with its cluster. Beside ours stand other standard errors, the percentile
bootstrap over questions, and McNemar's test, which take questions for independent.
"""

import argparse
import math
import time
from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from rag.evaluation.statistics import LEVEL, Estimate, Judged, Numbers, contrasted, detectable, estimates, judged

SHIFT = 0.1
SPREAD = 0.5
DISCORDANT = 0.4
MEDIAN_SIZE, SIZE_SPREAD = 8, 0.6
CLUSTERS, ICCS = (12, 24, 40), (0.0, 0.2)
RESAMPLES = 500


Draw = Callable[[np.random.Generator, np.ndarray, float, float], Numbers]


def sizes(random: np.random.Generator, experiments: int, clusters: int) -> np.ndarray:
    """A median of 8 questions, a twentieth of the clusters with more than 21, one in forty with 2 or fewer."""
    drawn = random.lognormal(math.log(MEDIAN_SIZE), SIZE_SPREAD, (experiments, clusters))
    return np.maximum(1, np.round(drawn)).astype(int)


def asked(size: np.ndarray) -> np.ndarray:
    """Experiments x clusters x places, true where there is a question."""
    return np.arange(size.max()) < size[:, :, np.newaxis]


def graded(random: np.random.Generator, there: np.ndarray, icc: float, shift: float) -> Numbers:
    shared = random.normal(0, SPREAD * math.sqrt(icc), (*there.shape[:2], 1))
    values = shift + shared + random.normal(0, SPREAD * math.sqrt(1 - icc), there.shape)
    return np.where(there, values, np.nan)


def exact(random: np.random.Generator, there: np.ndarray, icc: float, shift: float) -> Numbers:
    """A cluster's mean difference is Beta's over [-d, d], d the share of questions on which the arms differ."""
    means = np.full((*there.shape[:2], 1), shift)
    if icc:
        place = (shift + DISCORDANT) / (2 * DISCORDANT)
        between = icc * (DISCORDANT - shift**2)
        total = 4 * DISCORDANT**2 * place * (1 - place) / between - 1
        means = DISCORDANT * (2 * random.beta(place * total, (1 - place) * total, means.shape) - 1)
    drawn = random.random(there.shape)
    values = np.where(drawn < (DISCORDANT + means) / 2, 1.0, np.where(drawn < DISCORDANT, -1.0, 0.0))
    return np.where(there, values, np.nan)


def estimated(values: Numbers) -> list[Estimate]:
    """Ours, an estimate for each experiment. Places without a question are NaN, and left out as unmeasured ones are."""
    experiments, clusters, places = values.shape
    labels = np.repeat(np.arange(clusters), places).astype(str)
    return estimates(values.reshape(experiments, -1), labels)


def covered(values: Numbers, truth: float) -> dict[str, NDArray[np.bool_]]:
    """By experiment, whether the t interval holds the truth with other standard errors."""
    size = (~np.isnan(values)).sum(axis=2)
    sums, count = np.nansum(values, axis=2), size.sum(axis=1)
    mean = sums.sum(axis=1) / count
    left = sums - size * mean[:, np.newaxis]
    reach = stats.t.ppf((1 + LEVEL) / 2, size.shape[1] - 1)
    corrected = {
        "CR1": left**2 * size.shape[1] / (size.shape[1] - 1),
        "CR2": left**2 / (1 - size / count[:, np.newaxis]),
    }
    return {
        name: np.abs(mean - truth) <= reach * np.sqrt(squares.sum(axis=1)) / count
        for name, squares in corrected.items()
    }


def bootstrap_covers(random: np.random.Generator, values: Numbers, truth: float) -> bool:
    """The percentiles of the means of resampled questions."""
    known = values[~np.isnan(values)]
    means = known[random.integers(len(known), size=(RESAMPLES, len(known)), dtype=np.int32)].mean(axis=1)
    low, high = np.percentile(means, (100 * (1 - LEVEL) / 2, 100 * (1 + LEVEL) / 2))
    return bool(low <= truth <= high)


def mcnemar_rejects(values: Numbers) -> NDArray[np.bool_]:
    """The exact test: of the questions on which the arms differ, how many speak for one."""
    up, down = (values > 0).sum(axis=(1, 2)), (values < 0).sum(axis=(1, 2))
    return np.asarray(2 * stats.binom.cdf(np.minimum(up, down), up + down, 0.5) <= 1 - LEVEL)


def one_contrast(experiments: int, seed: int) -> None:
    print(
        f"Intervals of 95 %: how often they hold the truth, and how often a test rejects; {experiments} experiments\n"
    )
    table("scores", "clusters", "ICC", "truth", "CR3 (ours)", "CR1", "CR2", "bootstrap", "sign-flip", "McNemar")
    for name, draw in DRAWS.items():
        for clusters, icc, shift in product(CLUSTERS, ICCS, (0.0, SHIFT)):
            # A row is the same whichever others are run.
            random = np.random.default_rng([seed, clusters, round(100 * icc), round(100 * shift), len(name)])
            values = draw(random, asked(sizes(random, experiments, clusters)), icc, shift)
            found = estimated(values)
            ours = [each.interval.low <= shift <= each.interval.high for each in found]
            others = covered(values, shift)
            boot = [bootstrap_covers(random, each, shift) for each in values]
            flipped = [each.p <= 1 - LEVEL for each in found]
            shares = [ours, others["CR1"], others["CR2"], boot, flipped]
            cells = [share(each) for each in shares] + [share(mcnemar_rejects(values)) if draw is exact else "-"]
            row(name, clusters, f"{icc:g}", f"{shift:g}", *cells)


def table(*columns: str) -> None:
    row(*columns)
    row(*("---" for _ in columns))


def row(*cells: object) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def share(flags: Sequence[bool] | NDArray[np.bool_]) -> str:
    return f"{np.mean(flags):.1%}"


DRAWS: dict[str, Draw] = {"graded": graded, "right or wrong": exact}

ARMS = ("base", "rag", "sft", "rag+sft", "stuffed", "router")
# rag - base, sft - base, rag+sft - rag, stuffed - rag, router - rag, and the interaction.
WEIGHTS = np.array(
    [
        [-1, 1, 0, 0, 0, 0],
        [-1, 0, 1, 0, 0, 0],
        [0, -1, 0, 1, 0, 0],
        [0, -1, 0, 0, 1, 0],
        [0, -1, 0, 0, 0, 1],
        [1, -1, -1, 1, 0, 0],
    ],
    dtype=float,
)
TRUTHS = {
    "no arm differs": (0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    "one contrast differs": (0.0, 0.0, 0.4, 0.4, 0.0, 0.0),
    "all differ by a little": (0.0, 0.15, 0.1, 0.35, 0.25, 0.05),
    "all differ by much": (0.0, 1.0, 0.6, 2.5, 0.2, 2.0),
}


def family(experiments: int, seed: int) -> None:
    print(f"\nSix planned contrasts of six arms at once, ICC .2; {experiments} experiments\n")
    table("clusters", "truth", "all intervals hold", "with each at its step's level", "any false claim")
    for clusters in CLUSTERS:
        for name, means in TRUTHS.items():
            random = np.random.default_rng([seed, clusters, len(name)])
            truth = WEIGHTS @ np.array(means)
            there = asked(sizes(random, experiments, clusters))
            arms = [graded(random, there, 0.2, mean).reshape(experiments, -1) for mean in means]
            # Contrasts x experiments, each estimated by ours.
            by_contrast = [
                estimated(values.reshape(there.shape)) for values in np.einsum("ca,aeq->ceq", WEIGHTS, np.array(arms))
            ]
            held, stepped, false = [], [], []
            for each in zip(*by_contrast, strict=True):
                pairs = list(zip(judged(each), truth, strict=True))
                held.append(all(one.interval.low <= value <= one.interval.high for one, value in pairs))
                stepped.append(steps_hold([one for one, _ in pairs], truth, clusters))
                false.append(any(one.p <= 1 - LEVEL and one.estimate.value * value <= 0 for one, value in pairs))
            row(clusters, name, share(held), share(stepped), share(false))


def steps_hold(found: Sequence[Judged], truth: Numbers, clusters: int) -> bool:
    """The k-th smallest p's interval at 1 - alpha / (m - k + 1), those not rejected all at the last step's."""
    order = sorted(range(len(found)), key=lambda at: found[at].estimate.p)
    rejected = sum(one.p <= 1 - LEVEL for one in found)
    for step, at in enumerate(order):
        alpha = (1 - LEVEL) / (len(found) - min(step, rejected, len(found) - 1))
        each = found[at].estimate
        if abs(each.value - truth[at]) > stats.t.ppf(1 - alpha / 2, clusters - 1) * each.standard_error:
            return False
    return True


def power(experiments: int, seed: int) -> None:
    print("\nThe smallest detectable difference (by the true standard error), when it is the truth: how often shown\n")
    table("clusters", "ICC", "shown")
    for clusters, icc in product(CLUSTERS, ICCS):
        random = np.random.default_rng([seed, clusters, round(100 * icc)])
        size = sizes(random, experiments, clusters)
        count = size.sum(axis=1)
        variance = SPREAD**2 * (icc * (size**2).sum(axis=1) + (1 - icc) * count) / count**2
        shifts = np.array([detectable(math.sqrt(each), clusters) for each in variance])
        values = graded(random, asked(size), icc, 0.0) + shifts[:, np.newaxis, np.newaxis]
        row(clusters, f"{icc:g}", share([each.p <= 1 - LEVEL for each in estimated(values)]))


def speed() -> None:
    random = np.random.default_rng(0)
    of = np.sort(random.integers(40, size=1000)).astype(str)
    scores = random.random((6, 1000))
    started = time.perf_counter()
    judged(estimates(contrasted(scores, WEIGHTS), of))
    print(f"\n6 arms x 1,000 questions x 6 contrasts, one metric: {time.perf_counter() - started:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    one_contrast(arguments.experiments, arguments.seed)
    family(arguments.experiments, arguments.seed)
    power(arguments.experiments, arguments.seed)
    speed()


if __name__ == "__main__":
    main()
