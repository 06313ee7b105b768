"""A training run's folder: what was asked for, the batch plan, metrics, checkpoints that count, the report.

A checkpoint is written under another name and gets its own by one rename, after its marker, which lists every file with
its size: one that was half written when the machine stopped is never taken for whole. Knows no torch.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rag.errors import StateError, UsageError

CONFIG = "config.json"
PLAN = "plan.jsonl"
METRICS = "metrics.jsonl"
REPORT = "report.json"
CHECKPOINTS = "checkpoints"
ADAPTER = "adapter"
MODEL = "model"

_MARKER = "complete.json"
_STEP = "step-"

Objective = Literal["sft", "cpt", "pretrain"]


class TrainSettings(BaseModel):
    """What a run is made of; the same settings and the same mix give the same run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    objective: Objective = "sft"
    model: str
    """The reference of the model that is adapted."""
    epochs: int = Field(default=1, ge=1)
    pack_tokens: int = Field(default=1024, ge=16)
    """Tokens of a pack at most: what one forward pass reads. No example may be longer."""
    packs_per_batch: int = Field(default=2, ge=1)
    """Packs of an optimizer step, over all devices."""
    max_steps: int | None = Field(default=None, ge=1)
    """Ends the plan early."""
    learning_rate: float = Field(default=3e-4, gt=0, allow_inf_nan=False)
    """The highest, after the warm-up; it falls along a cosine to zero."""
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps in which the learning rate rises."""
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    rank: int = Field(default=16, ge=1)
    alpha: int = Field(default=32, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Of LoRA's input."""
    modules: tuple[str, ...] = ()
    """The linear layers that are adapted; all of them but the head when empty."""
    quantise: bool = False
    """Hold the frozen base in four bits (QLoRA); needs a GPU and bitsandbytes."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, a third more work."""
    seed: int = 0
    checkpoint_every: int = Field(default=25, ge=1)
    evaluate_every: int = Field(default=25, ge=1)
    """Steps from one validation to the next."""
    validation_tokens: int = Field(default=8192, ge=1)
    """Of each family, at most: validation costs a third of what training on them would."""
    patience: int | None = Field(default=None, ge=1)
    """Stop after so many validations without a better one; ``None`` goes through the plan."""
    tensorboard: bool = False
    guard: bool = True
    """Drop batches whose loss or gradient is far out, and go back where one slipped through."""


class RunConfig(BaseModel):
    """``config.json``: the settings and what they met."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    settings: TrainSettings
    mix: str
    mix_hash: str
    tokens_hash: str
    """Of every example as encoded: another template or tokenizer would be another run."""
    versions: dict[str, str]


class _Marker(BaseModel):
    model_config = ConfigDict(extra="forbid")

    step: int
    files: dict[str, int]
    """Bytes by path."""


class RunFolder:
    """The files of one run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.checkpoints = root / CHECKPOINTS
        self.best = root / "best"
        """The weights of the best validation so far, while the run is under way."""

    def claim(self, config: RunConfig) -> None:
        """Begin the run, or make sure that it is this one that is continued. Raises ``UsageError`` for another."""
        path = self.root / CONFIG
        if not path.exists():
            if self.root.exists() and (not self.root.is_dir() or any(self.root.iterdir())):
                raise UsageError(f"{self.root} is there and no training run; name another folder with --out")
            self.root.mkdir(parents=True, exist_ok=True)
            write_file(path, config.model_dump_json(indent=1) + "\n")
            return
        found = read_config(self.root)
        if difference := _difference(found, config):
            raise UsageError(
                f"{self.root} holds a run with {difference}; name another folder with --out, or ask for the same"
            )

    # --- checkpoints ------------------------------------------------------------------------------

    def latest(self) -> tuple[int, Path] | None:
        """The step and folder of the newest checkpoint that is whole."""
        found = []
        if self.checkpoints.is_dir():
            for folder in self.checkpoints.glob(f"{_STEP}*"):
                if (step := _complete_step(folder)) is not None:
                    found.append((step, folder))
        return max(found, default=None)

    def checkpoint(self, step: int) -> Path:
        return self.checkpoints / f"{_STEP}{step}"

    def clear_unfinished(self) -> None:
        """Delete what was being written when the run stopped."""
        if self.checkpoints.is_dir():
            for folder in self.checkpoints.iterdir():
                if _complete_step(folder) is None:
                    shutil.rmtree(folder)

    def complete(self, staged: Path, step: int, keep: int) -> Path:
        """Give the checkpoint in ``staged`` its marker and its name, and delete all but the newest ``keep``."""
        files = {}
        for path in sorted(staged.rglob("*")):
            if path.is_file():
                _sync(path)
                files[str(path.relative_to(staged))] = path.stat().st_size
        write_file(staged / _MARKER, _Marker(step=step, files=files).model_dump_json() + "\n")
        _sync(staged)
        final = self.checkpoint(step)
        if final.exists():
            shutil.rmtree(final)
        staged.rename(final)
        _sync(self.checkpoints)
        whole = sorted((_complete_step(each) or 0, each) for each in self.checkpoints.glob(f"{_STEP}*"))
        for _, folder in whole[:-keep]:
            shutil.rmtree(folder)
        return final

    def replace(self, staged: Path, folder: Path) -> None:
        """Put the folder ``staged`` in the place of another; what was there goes first."""
        if folder.exists():
            shutil.rmtree(folder)
        staged.rename(folder)

    # --- metrics ----------------------------------------------------------------------------------

    def metrics(self) -> Iterator[Mapping[str, object]]:
        path = self.root / METRICS
        if path.exists():
            with path.open(encoding="utf-8") as file:
                for line in file:
                    if line.endswith("\n"):  # the last one may have been cut off
                        yield json.loads(line)

    def cut_metrics(self, step: int) -> None:
        """Forget what was recorded after ``step``, which is going to be done again."""
        kept = [
            json.dumps(each) + "\n" for each in self.metrics() if isinstance(each["step"], int) and each["step"] <= step
        ]
        write_file(self.root / METRICS, "".join(kept))

    def record(self, entry: Mapping[str, object]) -> None:
        with (self.root / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


def read_config(root: Path) -> RunConfig:
    """Raises ``UsageError`` where there is no run, ``StateError`` where its configuration is damaged."""
    path = root / CONFIG
    try:
        return RunConfig.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{root} is no training run: {error}; `domainqa finetune train` makes one") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise StateError(f"{path} is damaged: {where}: {first['msg']}; train again into another folder") from error


def write_file(path: Path, text: str) -> None:
    """Replace the file in one step."""
    staged = path.with_name(f".{path.name}.staged")
    with staged.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    staged.replace(path)


def _complete_step(folder: Path) -> int | None:
    """The step of the checkpoint, ``None`` where it is not whole."""
    if not folder.name.startswith(_STEP):
        return None
    try:
        marker = _Marker.model_validate_json((folder / _MARKER).read_bytes())
        whole = all((folder / name).stat().st_size == size for name, size in marker.files.items())
    except (OSError, ValidationError):
        return None
    return marker.step if whole else None


def _difference(found: RunConfig, asked: RunConfig) -> str | None:
    if found.mix_hash != asked.mix_hash:
        return f"another mix ({found.mix}, hash {found.mix_hash[:12]}; {asked.mix} has {asked.mix_hash[:12]})"
    one, other = found.settings.model_dump(), asked.settings.model_dump()
    for name in one:
        if one[name] != other[name]:
            return f"{name} {one[name]!r}, not {other[name]!r}"
    if found.tokens_hash != asked.tokens_hash:
        return "examples that became other tokens: the model's tokenizer or chat template has changed since"
    return None


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
