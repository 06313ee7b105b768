"""The spike guard on torch's weights: snapshots of weights and moments, and going back to them.

Two snapshots are held in memory, on the device, and saved with each checkpoint: after a kill the guard would decide as
it had decided without it. What is trained is what is copied: with LoRA a few per cent of the model.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from finetune.spikes import SNAPSHOT_EVERY, GuardState, Reading, SpikeGuard, Verdict
from rag.errors import StateError

_MOST_DROPPED = 0.05
"""Share of the steps whose batches may be dropped."""
_LEAST_DROPS = 5


@dataclass(frozen=True, slots=True)
class _Snapshot:
    batch: int
    """The first batch that is not in it."""
    guard: GuardState
    weights: list[Tensor]
    moments: list[dict[str, Tensor]]


class Guarding:
    """Judges each batch and undoes what has to be undone. One per process; they decide alike, from the same numbers."""

    def __init__(self, steps: int) -> None:
        self.guard = SpikeGuard(most_drops=max(_LEAST_DROPS, math.ceil(_MOST_DROPPED * steps)))
        self._optimizer: Any = None
        self._snapshots: list[_Snapshot] = []
        self._calm = 0
        """Good steps since the newest snapshot."""

    def begin(self, optimizer: Any, losses: Mapping[str, float]) -> None:
        """Before the first step. ``losses`` by source were measured ahead of it, where they were."""
        self._optimizer = optimizer
        self.guard.expect(losses)
        self._snapshots = [self._snapshot(0)]

    def decide(self, reading: Reading) -> Verdict:
        verdict = self.guard.judge(reading)
        if verdict.action == "roll_back":
            earlier = self._snapshots[0]
            self._restore(earlier)
            self._snapshots = [earlier]
            self._calm = 0
            assert verdict.reason is not None
            self.guard.went_back(earlier.guard, range(earlier.batch, reading.batch + 1), verdict.reason)
        return verdict

    def stepped(self, done: int, verdict: Verdict) -> None:
        """After a step; ``done`` batches lie behind."""
        if verdict.action != "step":
            return
        self._calm += 1
        if self._calm >= SNAPSHOT_EVERY:
            self._snapshots = [self._snapshots[-1], self._snapshot(done)]
            self._calm = 0

    # --- keeping ----------------------------------------------------------------------------------

    def save(self, checkpoint: Path, process: int) -> None:
        state = {
            "guard": self.guard.state.model_dump_json(),
            "calm": self._calm,
            "snapshots": [
                {
                    "batch": each.batch,
                    "guard": each.guard.model_dump_json(),
                    "weights": each.weights,
                    "moments": each.moments,
                }
                for each in self._snapshots
            ],
        }
        torch.save(state, _file(checkpoint, process))

    def load(self, checkpoint: Path, process: int, optimizer: Any) -> None:
        """Raises ``StateError`` for a checkpoint of so many processes as there are not now."""
        self._optimizer = optimizer
        path = _file(checkpoint, process)
        if not path.exists():
            raise StateError(
                f"{checkpoint} holds nothing of the spike guard for process {process}; go on with as many processes as "
                "the run was begun with"
            )
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.guard.state = GuardState.model_validate_json(state["guard"])
        self._calm = state["calm"]
        self._snapshots = [
            _Snapshot(each["batch"], GuardState.model_validate_json(each["guard"]), each["weights"], each["moments"])
            for each in state["snapshots"]
        ]

    def _snapshot(self, batch: int) -> _Snapshot:
        weights, moments = [], []
        for weight in self._trained():
            weights.append(_own_part(weight).detach().clone())
            moments.append({name: _own_part(each).clone() for name, each in self._moments(weight).items()})
        return _Snapshot(batch, self.guard.state.model_copy(deep=True), weights, moments)

    def _restore(self, snapshot: _Snapshot) -> None:
        with torch.no_grad():
            for weight, kept, moments in zip(self._trained(), snapshot.weights, snapshot.moments, strict=True):
                _own_part(weight).copy_(kept)
                current = self._moments(weight)
                for name in list(current):
                    if name in moments:
                        _own_part(current[name]).copy_(moments[name])
                    else:  # before its first step the optimizer remembers nothing
                        del current[name]

    def _trained(self) -> list[Tensor]:
        return [weight for group in self._optimizer.param_groups for weight in group["params"] if weight.requires_grad]

    def _moments(self, weight: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = self._optimizer.state[weight]
        return found


def _own_part(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor that several may share."""
    if isinstance(tensor, DTensor):
        part: Tensor = tensor.to_local()
        return part
    return tensor


def _file(checkpoint: Path, process: int) -> Path:
    return checkpoint / f"guard-{process}.pt"
