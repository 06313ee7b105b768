"""Two runs over the same questions: whether an arm lost more than a margin. Nothing is asked again.

The question that both runs share is the pair; its cluster is the earlier run's. A loss is significant where the whole
family's test, arm by arm, rejects that the later run is at most a margin worse.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rag.errors import UsageError
from rag.evaluation.records import RUN_FILE, RunRecord, ScoreRecord, read_run, read_scores
from rag.evaluation.statistics import (
    MAXIMUM_UNMEASURED,
    MINIMUM_CLUSTERS,
    Judged,
    estimates,
    judged,
)

LARGEST_MARGIN = 1.0


@dataclass(frozen=True, slots=True)
class Run:
    record: RunRecord
    scores: Mapping[tuple[str, str], ScoreRecord]
    """By arm and question."""


@dataclass(frozen=True, slots=True)
class ArmChange:
    """The later run less the earlier one, on the questions of both."""

    arm: str
    judged: Judged
    margin: float

    @property
    def is_loss(self) -> bool:
        return self.judged.is_significant and self.judged.estimate.value < -self.margin

    @property
    def words(self) -> str:
        each, at_once = self.judged.estimate, self.judged.interval
        if each.clusters < MINIMUM_CLUSTERS:
            return f"no verdict: {each.clusters} independent groups of questions, and {MINIMUM_CLUSTERS} are needed"
        if not each.has_verdict:
            return f"no verdict: more than {MAXIMUM_UNMEASURED:.0%} of the questions are unmeasured"
        figures = f"{each.value:+.3f} [{at_once.low:+.3f}, {at_once.high:+.3f}]"
        if self.is_loss:
            return f"worse by more than {self.margin:g}: {figures}"
        return f"no loss of more than {self.margin:g} shown: {figures}; one of {self.shown_from:.3f} would mostly show"

    @property
    def shown_from(self) -> float:
        """The loss that this set shows four times out of five."""
        return self.margin + self.judged.detectable


@dataclass(frozen=True, slots=True)
class Comparison:
    metric: str
    arms: tuple[ArmChange, ...]
    questions: int
    only_before: int
    only_after: int
    differences: tuple[str, ...]
    """What else differs between the runs, in words."""

    @property
    def losses(self) -> tuple[ArmChange, ...]:
        return tuple(arm for arm in self.arms if arm.is_loss)

    @property
    def has_verdict(self) -> bool:
        return any(arm.judged.estimate.has_verdict for arm in self.arms)


def read(folder: Path) -> Run:
    """Raises ``StateError`` where there is no run, ``UsageError`` where it has no scores yet."""
    scores = read_scores(folder)
    record = read_run(folder)
    if not scores:
        raise UsageError(f"{folder} has no scores; finish it with `domainqa eval run`")
    return Run(record, {score.key: score for score in scores})


def compare(before: Run, after: Run, *, margin: float = 0.0, metric: str | None = None) -> Comparison:
    """By the earlier run's primary metric, a higher value being better. ``margin`` is what may be lost.

    Raises ``UsageError`` for runs without a common arm or question, or a metric that they don't hold.
    """
    if not 0 <= margin < LARGEST_MARGIN:
        raise UsageError(f"the margin is {margin:g}; give one from 0 to less than {LARGEST_MARGIN:g}")
    chosen = metric or before.record.primary
    shared = [key for key in before.scores if key in after.scores]
    arms = list(dict.fromkeys(arm for arm, _ in shared))
    if not arms:
        raise UsageError(f"the runs {before.record.name} and {after.record.name} share no arm and question")
    for run in (before, after):
        if not any(chosen in score.metrics for score in run.scores.values()):
            raise UsageError(f"the run {run.record.name} has no metric {chosen!r}; it has {', '.join(_metrics(run))}")
    groups = {question: before.scores[arm, question].group for arm, question in shared}
    changes = np.array([[_change(before, after, (arm, at), chosen) for at in groups] for arm in arms], np.float64)
    seed = before.record.seed
    doubted = estimates(changes, list(groups.values()), null=-margin, seed=seed)
    family = judged(doubted, null=-margin)
    return Comparison(
        chosen,
        tuple(ArmChange(arm, each, margin) for arm, each in zip(arms, family, strict=True)),
        len(groups),
        len(_questions(before) - groups.keys()),
        len(_questions(after) - groups.keys()),
        tuple(_differences(before.record, after.record)),
    )


def runs_in(folder: Path) -> list[RunRecord]:
    """The runs whose folders lie in ``folder``, by name. Raises ``UsageError`` where there is no such folder."""
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}; give the one that holds the runs")
    return [read_run(path.parent) for path in sorted(folder.glob(f"*/{RUN_FILE}"))]


def _change(before: Run, after: Run, key: tuple[str, str], metric: str) -> float:
    """NaN where one of the runs has no value."""
    values = [run.scores[key].metrics.get(metric) if key in run.scores else None for run in (before, after)]
    old, new = (float("nan") if value is None else value for value in values)
    return new - old


def _metrics(run: Run) -> Sequence[str]:
    return sorted({name for score in run.scores.values() for name in score.metrics})


def _questions(run: Run) -> set[str]:
    return {question for _, question in run.scores}


def _differences(before: RunRecord, after: RunRecord) -> Iterable[str]:
    if before.questions_sha256 != after.questions_sha256:
        yield f"the question files differ: {before.questions_file} and {after.questions_file}"
    if before.collection_sha256 != after.collection_sha256:
        yield f"the documents differ: {before.collection} and {after.collection}"
    if before.model != after.model:
        yield f"the models differ: {before.model} and {after.model}"
    if before.seed != after.seed:
        yield f"the seeds differ: {before.seed} and {after.seed}"
    old, new = ({arm.name: arm for arm in run.arms} for run in (before, after))
    for name in sorted(old.keys() & new.keys()):
        if old[name] != new[name]:
            yield f"the arm {name} is configured otherwise"
    for name in sorted(old.keys() ^ new.keys()):
        yield f"the arm {name} is in one run only"
    for name, value in before.settings.items():
        if after.settings.get(name) != value:
            yield f"the settings of {name} differ"
    for name, version in before.versions.items():
        if (other := after.versions.get(name)) != version:
            yield f"{name} is {version} and {other or 'absent'}"
