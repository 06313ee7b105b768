"""Whether the statistics hold what they promise, on data whose truth is known; needs no data set and no model.

    python tests/benchmarks/quality/statistics_simulated.py

Clusters of unequal size; a question's difference between two arms is a graded score (normal) or right or wrong (-1, 0
or 1), and shares a part of its variance with its cluster. Beside ours stand other standard errors, the percentile
bootstrap over questions, and McNemar's test, which take questions for independent.
"""

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from rag.evaluation.statistics import LEVEL, Numbers, contrasted, estimate, estimates, judged

SHIFT = 0.1
SPREAD = 0.5
DISCORDANT = 0.4
MEDIAN_SIZE, SIZE_SPREAD = 8, 0.6
CLUSTERS, ICCS = (12, 24, 40), (0.0, 0.2)


@dataclass
class Counts:
    """How often out of ``of`` something happened, by name."""

    of: int = 0
    by_name: dict[str, int] = field(default_factory=dict)

    def add(self, **happened: bool) -> None:
        self.of += 1
        for name, yes in happened.items():
            self.by_name[name] = self.by_name.get(name, 0) + yes

    def cell(self, name: str) -> str:
        return f"{self.by_name[name] / self.of:.1%}" if name in self.by_name else "-"


def sizes(random: np.random.Generator, clusters: int) -> np.ndarray:
    """A median of 8 questions, a twentieth of the clusters with more than 21, one in forty with 2 or fewer."""
    return np.maximum(1, np.round(random.lognormal(math.log(MEDIAN_SIZE), SIZE_SPREAD, clusters))).astype(int)


def graded(random: np.random.Generator, of: np.ndarray, clusters: int, icc: float, shift: float) -> Numbers:
    shared = random.normal(0, SPREAD * math.sqrt(icc), clusters)
    return shift + shared[of] + random.normal(0, SPREAD * math.sqrt(1 - icc), len(of))


def exact(random: np.random.Generator, of: np.ndarray, clusters: int, icc: float, shift: float) -> Numbers:
    """A cluster's mean difference is Beta's over [-d, d], d the share of questions on which the arms differ."""
    means = np.full(clusters, shift)
    if icc:
        place = (shift + DISCORDANT) / (2 * DISCORDANT)
        between = icc * (DISCORDANT - shift**2)
        total = 4 * DISCORDANT**2 * place * (1 - place) / between - 1
        means = DISCORDANT * (2 * random.beta(place * total, (1 - place) * total, clusters) - 1)
    drawn = random.random(len(of))
    up = (DISCORDANT + means[of]) / 2
    return np.where(drawn < up, 1.0, np.where(drawn < DISCORDANT, -1.0, 0.0))


def within(differences: Numbers, of: np.ndarray, count: int, shift: float) -> Iterator[tuple[str, bool]]:
    """Whether the t interval reaches the truth with other standard errors."""
    size = np.bincount(of, minlength=count)
    mean = differences.mean()
    left = np.bincount(of, differences, count) - size * mean
    reach = stats.t.ppf((1 + LEVEL) / 2, count - 1)
    share = size / len(differences)
    for name, squares in (
        ("CR1", left**2 * count / (count - 1)),
        ("CR3", left**2 / (1 - share) ** 2),
    ):
        yield name, abs(mean - shift) <= reach * math.sqrt(squares.sum()) / len(differences)


def bootstrap_covers(random: np.random.Generator, differences: Numbers, shift: float) -> bool:
    drawn = differences[random.integers(len(differences), size=(1000, len(differences)))].mean(axis=1)
    low, high = np.percentile(drawn, (100 * (1 - LEVEL) / 2, 100 * (1 + LEVEL) / 2))
    return bool(low <= shift <= high)


def mcnemar_rejects(differences: Numbers) -> bool:
    """The exact test: of the questions on which the arms differ, how many speak for one."""
    up, down = int((differences > 0).sum()), int((differences < 0).sum())
    return bool(2 * stats.binom.cdf(min(up, down), up + down, 0.5) <= 1 - LEVEL)


def one_contrast(experiments: int, seed: int) -> None:
    print(
        f"Intervals of 95 %: how often they hold the truth, and how often a test rejects; {experiments} experiments\n"
    )
    columns = ["scores", "clusters", "ICC", "truth", "CR2 (ours)", "CR1", "CR3", "bootstrap of questions"]
    columns += ["sign-flip rejects", "McNemar rejects"]
    print("| " + " | ".join(columns) + " |")
    print("| " + " | ".join("---" for _ in columns) + " |")
    for name, draw in (("graded", graded), ("right or wrong", exact)):
        for clusters in CLUSTERS:
            for icc in ICCS:
                for shift in (0.0, SHIFT):
                    # A row is the same whichever others are run.
                    random = np.random.default_rng([seed, clusters, round(100 * icc), round(100 * shift), len(name)])
                    counts = Counts()
                    for _ in range(experiments):
                        of = np.repeat(np.arange(clusters), sizes(random, clusters))
                        differences = draw(random, of, clusters, icc, shift)
                        found = estimate(differences, of.astype(str))
                        happened = dict(within(differences, of, clusters, shift))
                        happened["ours"] = found.interval.low <= shift <= found.interval.high
                        happened["flip"] = found.p <= 1 - LEVEL
                        happened["bootstrap"] = bootstrap_covers(random, differences, shift)
                        if draw is exact:
                            happened["mcnemar"] = mcnemar_rejects(differences)
                        counts.add(**happened)
                    cells = [counts.cell(key) for key in ("ours", "CR1", "CR3", "bootstrap", "flip", "mcnemar")]
                    print(f"| {name} | {clusters} | {icc:g} | {shift:g} | {' | '.join(cells)} |", flush=True)


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
    print("| clusters | truth | all intervals hold | with each at its step's level | any false claim |")
    print("| --- | --- | --- | --- | --- |")
    for clusters in CLUSTERS:
        for name, means in TRUTHS.items():
            random = np.random.default_rng([seed, clusters, len(name)])
            truth = WEIGHTS @ np.array(means)
            counts = Counts()
            for _ in range(experiments):
                of = np.repeat(np.arange(clusters), sizes(random, clusters))
                scores = np.array([graded(random, of, clusters, 0.2, mean) for mean in means])
                found = judged(estimates(contrasted(scores, WEIGHTS), of.astype(str)))
                pairs = list(zip(found, truth, strict=True))
                held = [one.interval.low <= value <= one.interval.high for one, value in pairs]
                claims = [one.is_significant and one.estimate.value * value <= 0 for one, value in pairs]
                counts.add(held=all(held), stepped=_steps_hold(found, truth, clusters), false=any(claims))
            cells = [counts.cell(key) for key in ("held", "stepped", "false")]
            print(f"| {clusters} | {name} | {' | '.join(cells)} |", flush=True)


def _steps_hold(found: list, truth: Numbers, clusters: int) -> bool:  # type: ignore[type-arg]
    """The k-th smallest p's interval at 1 - alpha / (m - k + 1), those not rejected all at the last step's."""
    order = sorted(range(len(found)), key=lambda at: found[at].estimate.p)
    rejected = sum(one.p <= 1 - LEVEL for one in found)
    for step, at in enumerate(order):
        alpha = (1 - LEVEL) / (len(found) - min(step, rejected))
        each = found[at].estimate
        if abs(each.value - truth[at]) > stats.t.ppf(1 - alpha / 2, clusters - 1) * each.standard_error:
            return False
    return True


def power(experiments: int, seed: int) -> None:
    print(f"\nThe smallest detectable difference, when it is the truth; {experiments} experiments\n")
    print("| clusters | ICC | shown |")
    print("| --- | --- | --- |")
    for clusters in CLUSTERS:
        for icc in ICCS:
            random = np.random.default_rng([seed, clusters, round(100 * icc)])
            counts = Counts()
            for _ in range(experiments):
                of = np.repeat(np.arange(clusters), sizes(random, clusters))
                size = np.bincount(of)
                variance = SPREAD**2 * (icc * (size**2).sum() + (1 - icc) * size.sum()) / size.sum() ** 2
                reach = stats.t.ppf((1 + LEVEL) / 2, clusters - 1) + stats.t.ppf(0.8, clusters - 1)
                shift = reach * math.sqrt(variance)
                counts.add(shown=estimate(graded(random, of, clusters, icc, shift), of.astype(str)).p <= 1 - LEVEL)
            print(f"| {clusters} | {icc:g} | {counts.cell('shown')} |", flush=True)


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
