"""Scores to findings: what each arm did with its interval, the planned contrasts judged together, and the curves.

Everything that is not a planned contrast of the primary metric is exploratory: it says where to look, not what to do.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rag.evaluation.finding import DEPTH
from rag.evaluation.records import AnswerRecord, Contrast, RunRecord, ScoreRecord
from rag.evaluation.refusals import Estimate as Share
from rag.evaluation.refusals import measure
from rag.evaluation.scoring import METRICS, RECALL_DEPTHS
from rag.evaluation.statistics import (
    MAXIMUM_UNMEASURED,
    MINIMUM_CLUSTERS,
    Judged,
    contrasted,
    estimate,
    estimates,
    judged,
    verdict,
)

Values = NDArray[np.float64]

_SUMMED = ("money", "machine_seconds")
_TIMED = ("latency", "first_token")


@dataclass(frozen=True, slots=True)
class Mean:
    """With its interval by cluster; NaN where the metric says nothing about the arm."""

    value: float
    low: float
    high: float
    questions: int


@dataclass(frozen=True, slots=True)
class ArmFindings:
    name: str
    questions: int
    statuses: Mapping[str, int]
    fallbacks: int
    """Answers for which verbatim sentences stood in, the model's own not being supported."""
    means: Mapping[str, Mean]
    totals: Mapping[str, float]
    percentiles: Mapping[str, tuple[float, float, int]]
    """Of what was timed alone: median, 95th percentile, questions."""
    abstention: Mapping[str, Share]
    risk_by_coverage: Sequence[tuple[float, float]]
    """Most probable questions first: share answered, and one less the primary metric among them. Empty where nothing
    was searched."""
    by_tag: Mapping[str, tuple[float, int]]


@dataclass(frozen=True, slots=True)
class ContrastFindings:
    contrast: Contrast
    judged: Judged
    verdict: str


@dataclass(frozen=True, slots=True)
class Findings:
    primary: str
    questions: int
    clusters: int
    arms: Sequence[ArmFindings]
    contrasts: Sequence[ContrastFindings]
    disagreeing: Sequence[str]
    """Ids of questions that the arms answer differently well, those that part them most first."""
    unmeasured: Mapping[str, int]

    @property
    def verdicts(self) -> list[str]:
        return [*_overall(self), *(each.verdict for each in self.contrasts)]


def analyse(run: RunRecord, scores: Sequence[ScoreRecord], answers: Sequence[AnswerRecord]) -> Findings:
    by_key = {score.key: score for score in scores}
    answered = {answer.key: answer for answer in answers}
    groups = {score.question: score.group for score in scores}
    ids = [each for each in run.question_ids if each in groups]
    clusters = [groups[each] for each in ids]
    names = [arm.name for arm in run.arms]
    table = np.array([[_value(by_key.get((arm, each)), run.primary) for each in ids] for arm in names], np.float64)
    arms = [_arm(run, name, [by_key[name, each] for each in ids if (name, each) in by_key], answered) for name in names]
    most, least = np.nan_to_num(table, nan=-np.inf).max(axis=0), np.nan_to_num(table, nan=np.inf).min(axis=0)
    spread = np.where(np.isfinite(most), most - least, 0.0)
    order = sorted(range(len(ids)), key=lambda at: (-spread[at], ids[at]))
    return Findings(
        primary=run.primary,
        questions=len(ids),
        clusters=len(set(clusters)),
        arms=arms,
        contrasts=_contrasts(run, names, table, clusters),
        disagreeing=[ids[at] for at in order if spread[at] > 0],
        unmeasured={arm: int(np.isnan(row).sum()) for arm, row in zip(names, table, strict=True)},
    )


def _contrasts(run: RunRecord, names: list[str], table: Values, clusters: list[str]) -> list[ContrastFindings]:
    if not run.contrasts or not clusters:
        return []
    weights = np.array([[each.weights.get(name, 0.0) for name in names] for each in run.contrasts], np.float64)
    found = judged(estimates(contrasted(table, weights), clusters, seed=run.seed))
    return [
        ContrastFindings(contrast, result, _verdict(contrast, result))
        for contrast, result in zip(run.contrasts, found, strict=True)
    ]


def _verdict(contrast: Contrast, result: Judged) -> str:
    if contrast.less is None:
        return verdict(result, contrast.arm, contrast.baseline)
    first, second = contrast.less
    return verdict(result, f"what {contrast.arm} adds to {contrast.baseline}", f"what {first} adds to {second}")


def _arm(
    run: RunRecord, name: str, scores: Sequence[ScoreRecord], answered: Mapping[tuple[str, str], AnswerRecord]
) -> ArmFindings:
    statuses: dict[str, int] = {}
    tags: dict[str, list[float]] = {}
    for score in scores:
        statuses[score.status] = statuses.get(score.status, 0) + 1
        value = score.metrics.get(run.primary)
        for tag in (*score.tags, score.language):
            if value is not None:
                tags.setdefault(tag, []).append(value)
    return ArmFindings(
        name=name,
        questions=len(scores),
        statuses=dict(sorted(statuses.items())),
        fallbacks=sum(answered[score.key].fallback is not None for score in scores),
        means={metric: _mean(scores, metric) for metric in METRICS if metric not in _TIMED},
        totals={metric: sum(score.metrics.get(metric) or 0.0 for score in scores) for metric in _SUMMED},
        percentiles={metric: _percentiles(scores, metric) for metric in _TIMED},
        abstention=_abstention(scores),
        risk_by_coverage=_risk(run.primary, scores, answered),
        by_tag={tag: (float(np.mean(values)), len(values)) for tag, values in sorted(tags.items())},
    )


def _mean(scores: Sequence[ScoreRecord], metric: str) -> Mean:
    told = [(value, score.group) for score in scores if (value := score.metrics.get(metric)) is not None]
    if not told:
        return Mean(math.nan, math.nan, math.nan, 0)
    found = estimate(np.array([value for value, _ in told]), [group for _, group in told])
    return Mean(found.value, found.interval.low, found.interval.high, len(told))


def _percentiles(scores: Sequence[ScoreRecord], metric: str) -> tuple[float, float, int]:
    values = [value for score in scores if (value := score.metrics.get(metric)) is not None]
    if not values:
        return math.nan, math.nan, 0
    median, late = np.percentile(values, (50, 95))
    return float(median), float(late), len(values)


def _abstention(scores: Sequence[ScoreRecord]) -> dict[str, Share]:
    measured = [score for score in scores if score.metrics.get("abstained") is not None]
    if not measured:
        return {}
    refused = np.array([score.status == "abstained" for score in measured])
    found = measure(refused, np.array([score.answerable for score in measured]), [score.group for score in measured])
    return {"precision": found.precision, "recall": found.recall, "f1": found.f1, "coverage": found.coverage}


def _risk(
    primary: str, scores: Sequence[ScoreRecord], answered: Mapping[tuple[str, str], AnswerRecord]
) -> list[tuple[float, float]]:
    told = [
        (probability, value)
        for score in scores
        if (value := score.metrics.get(primary)) is not None
        and (probability := answered[score.key].probability) is not None
    ]
    told.sort(key=lambda pair: -pair[0])
    wrong = np.cumsum([1 - value for _, value in told])
    return [((at + 1) / len(told), float(wrong[at] / (at + 1))) for at in range(len(told))]


def _overall(findings: Findings) -> list[str]:
    ranked = [arm for arm in findings.arms if not math.isnan(arm.means[findings.primary].value)]
    ranked.sort(key=lambda arm: -arm.means[findings.primary].value)
    if not ranked:
        return ["Nothing was measured."]
    mean = ranked[0].means[findings.primary]
    best = [arm.name for arm in ranked if arm.means[findings.primary].value == mean.value]
    told = [
        f"{' and '.join(best)} {'has' if len(best) == 1 else 'have'} the highest {findings.primary}, "
        f"{mean.value:.3f} [{mean.low:.3f}, {mean.high:.3f}], on "
        f"{findings.questions} questions of {findings.clusters} independent groups; "
        "that alone is no verdict: the contrasts below were planned, and they are."
    ]
    if findings.clusters < MINIMUM_CLUSTERS:
        told.append(
            f"There are fewer than {MINIMUM_CLUSTERS} independent groups, so nothing here decides between arms."
        )
    for arm, count in findings.unmeasured.items():
        if count > MAXIMUM_UNMEASURED * findings.questions:
            told.append(
                f"{arm}: {count} of {findings.questions} questions are unmeasured; "
                "give the same command again to ask them."
            )
    return told


def _value(score: ScoreRecord | None, metric: str) -> float:
    value = None if score is None else score.metrics.get(metric)
    return math.nan if value is None else value


RETRIEVAL = tuple(f"recall@{k}" for k in RECALL_DEPTHS)
assert max(RECALL_DEPTHS) == DEPTH
