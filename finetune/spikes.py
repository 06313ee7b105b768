"""Whether a batch may change the weights, decided before the optimizer's step.

A batch whose loss on one source, or whose gradient, is far above what came before is dropped: no step, no trace in the
moments. Where several in a row look so, it is not they that are bad but the weights, harmed by something that was let
through: then weights and moments go back to an earlier snapshot, and every batch since is quarantined. The step count
never goes back. After too many of either the run stops, for then it is the data or the learning rate.

Distance is the modified z-score of Iglewicz and Hoaglin (1993), by median and median absolute deviation, each source
compared with its own past. Plain numbers in, decisions out; knows no torch.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, ConfigDict

Action = Literal["step", "drop", "roll_back", "stop"]

WINDOW = 64
"""So many values of the past are compared with."""
THRESHOLD = 6.0
ROW = 3
"""So many suspicious batches in a row mean that the weights are at fault."""
MOST_ROLLBACKS = 3
SNAPSHOT_EVERY = 10
"""Good steps from one snapshot to the next. Going back is to the one before the newest, so by at least so many."""

_MAD_TO_DEVIATION = 1.4826  # of a normal distribution
_NARROWEST = 0.05
"""A deviation is taken for at least this share of the median: losses may agree by accident."""
_DOUBT = 8.0
"""How many values it takes to halve what is added to the least deviation while there are few of them."""
_NORMS_BEFORE_JUDGING = 16
"""The gradient of fresh LoRA matrices grows in the first steps, so its past says nothing yet."""
_NARROWEST_LOG_NORM = 0.25


@dataclass(frozen=True, slots=True)
class Reading:
    """What a batch was like before its step."""

    batch: int
    losses: Mapping[str, tuple[float, float]]
    """By source: mean loss, and the weight it is the mean of (supervised tokens times weight)."""
    grad_norm: float


@dataclass(frozen=True, slots=True)
class Verdict:
    action: Action
    reason: str | None = None


class Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    batch: int
    action: Action
    reason: str
    quarantined: tuple[int, ...]
    """Batches that don't count from now on, by id."""


class _Past(BaseModel):
    """Of one source, the newest last."""

    values: list[float] = []
    weights: list[float] = []
    """0 where the loss was measured apart from any batch."""

    def add(self, value: float, weight: float) -> None:
        self.values = [*self.values, value][-WINDOW:]
        self.weights = [*self.weights, weight][-WINDOW:]


class GuardState(BaseModel):
    """Everything that the next verdict depends on: saved with each checkpoint."""

    model_config = ConfigDict(extra="forbid")

    losses: dict[str, _Past] = {}
    log_norms: list[float] = []
    in_a_row: int = 0
    drops: int = 0
    rollbacks: int = 0
    events: list[Event] = []


@dataclass(slots=True)
class SpikeGuard:
    """Judges batches in order. ``most_drops`` batches may be dropped, then the run stops."""

    most_drops: int
    threshold: float = THRESHOLD
    state: GuardState = field(default_factory=GuardState)

    def expect(self, losses: Mapping[str, float]) -> None:
        """Losses before the first step, by source: what the first batches are compared with."""
        for source, loss in losses.items():
            self.state.losses.setdefault(source, _Past()).add(loss, 0)

    def judge(self, reading: Reading) -> Verdict:
        """What to do with the batch. The past takes in only batches whose step is done."""
        reason = self._suspicion(reading)
        state = self.state
        if reason is None:
            state.in_a_row = 0
            for source, (loss, weight) in reading.losses.items():
                state.losses.setdefault(source, _Past()).add(loss, weight)
            state.log_norms = [*state.log_norms, _log(reading.grad_norm)][-WINDOW:]
            return Verdict("step")
        state.in_a_row += 1
        state.drops += 1
        if state.in_a_row >= ROW:
            if state.rollbacks >= MOST_ROLLBACKS:
                return self._end(reading, f"{reason}, after {state.rollbacks} times of going back")
            return Verdict("roll_back", f"{ROW} batches in a row: {reason}")
        if state.drops > self.most_drops:
            return self._end(reading, f"{reason}, after {self.most_drops} dropped batches")
        state.events.append(Event(batch=reading.batch, action="drop", reason=reason, quarantined=(reading.batch,)))
        return Verdict("drop", reason)

    def went_back(self, earlier: GuardState, batches: Sequence[int], reason: str) -> None:
        """Weights are those of a snapshot again: so is the past. ``batches`` are those since, the last one included."""
        state = self.state
        # Batches in quarantine count as one going back, not as drops of their own.
        drops = sum(event.action == "drop" and event.batch not in batches for event in state.events)
        event = Event(batch=batches[-1], action="roll_back", reason=reason, quarantined=tuple(batches))
        self.state = earlier.model_copy(
            update={
                "in_a_row": 0,
                "drops": drops,
                "rollbacks": state.rollbacks + 1,
                "events": [*state.events, event],
            },
            deep=True,
        )

    @property
    def quarantined(self) -> tuple[int, ...]:
        return tuple(sorted({batch for event in self.state.events for batch in event.quarantined}))

    def _end(self, reading: Reading, reason: str) -> Verdict:
        self.state.events.append(Event(batch=reading.batch, action="stop", reason=reason, quarantined=(reading.batch,)))
        return Verdict("stop", reason)

    def _suspicion(self, reading: Reading) -> str | None:
        for source, (loss, weight) in sorted(reading.losses.items()):
            if not math.isfinite(loss):
                return f"the loss on {source} is {loss}"
            past = self.state.losses.get(source, _Past())
            distance = _distance(loss, past.values, _NARROWEST * statistics.median(past.values) if past.values else 0)
            # The mean of few tokens strays further.
            if typical := [each for each in past.weights if each]:
                distance *= math.sqrt(min(1.0, weight / statistics.median(typical)))
            if distance > self.threshold:
                return (
                    f"the loss on {source} is {loss:.3g}, {distance:.1f} deviations above the median of "
                    f"{statistics.median(past.values):.3g}"
                )
        if not math.isfinite(reading.grad_norm):
            return f"the gradient's norm is {reading.grad_norm}"
        norms = self.state.log_norms
        if len(norms) >= _NORMS_BEFORE_JUDGING:
            distance = _distance(_log(reading.grad_norm), norms, _NARROWEST_LOG_NORM)
            if distance > self.threshold:
                return (
                    f"the gradient's norm is {reading.grad_norm:.3g}, {distance:.1f} deviations (of its logarithm) "
                    f"above the median of {math.exp(statistics.median(norms)):.3g}"
                )
        return None


def _distance(value: float, past: Sequence[float], narrowest: float) -> float:
    """How many deviations above the median; nothing is suspicious where there is no past."""
    if not past:
        return 0.0
    median = statistics.median(past)
    deviation = _MAD_TO_DEVIATION * statistics.median(abs(each - median) for each in past)
    return (value - median) / max(deviation, narrowest * (1 + _DOUBT / len(past)), 1e-9)


def _log(norm: float) -> float:
    return math.log(max(norm, 1e-12))
