"""What a paired experiment measured for the strategies that are planned, from its run folder's ``report.json``."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from finetune.planning.strategies import Name
from rag.errors import UsageError

REPORT = "report.json"

ARMS: Mapping[Name, tuple[str, ...]] = {
    "pretraining from scratch": (),
    "continued pretraining": ("cpt",),
    "SFT": ("sft", "rag+sft"),
    "retrieval": ("rag",),
    "in-context": ("stuffed",),
}
"""The experiment's arms that stand for a strategy; nothing stands for a model of one's own."""
BASELINE = "base"


class _Read(BaseModel):
    # The report holds much more, which is not ours to check.
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Mean(_Read):
    value: float | None
    low: float | None
    high: float | None


class _Arm(_Read):
    name: str
    means: dict[str, _Mean]


class _Run(_Read):
    primary: str


class _Report(_Read):
    run: _Run
    verdicts: tuple[str, ...]
    arms: tuple[_Arm, ...]


@dataclass(frozen=True, slots=True)
class Arm:
    """``estimate`` is the mean of the primary metric, with its interval."""

    arm: str
    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Measured:
    primary_metric: str
    verdict: str
    arms: tuple[Arm, ...]

    def of(self, name: Name) -> tuple[Arm, ...]:
        return tuple(arm for wanted in ARMS[name] for arm in self.arms if arm.arm == wanted)

    @property
    def baseline(self) -> Arm | None:
        return next((arm for arm in self.arms if arm.arm == BASELINE), None)


def read_measured(run: Path) -> Measured:
    """``run`` is the run's folder or its ``report.json``. Raises ``UsageError``."""
    path = run / REPORT if run.is_dir() else run
    try:
        report = _Report.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{run} holds no evaluation report: {error}; `domainqa eval run` makes one") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UsageError(f"{path} is no evaluation report: {where}: {first['msg']}") from error
    primary = report.run.primary
    arms = [(arm.name, arm.means[primary]) for arm in report.arms if primary in arm.means]
    return Measured(
        primary_metric=primary,
        verdict=" ".join(report.verdicts),
        arms=tuple(
            Arm(name, mean.value, mean.low, mean.high)
            for name, mean in arms
            if mean.value is not None and mean.low is not None and mean.high is not None
        ),
    )
