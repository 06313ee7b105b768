"""Runs at several domain shares of the loss and seeds, each checked: what a share gains and what it costs.

``domainqa finetune sweep``. Held fixed are the domain's examples and passes, so that every arm sees the domain alike
and general text comes on top (``domain``), or the steps, so that a larger share of general text leaves less of the
domain (``total``). An arm whose check is there is not trained again. Knows no trainer: it is handed one.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from scipy import stats

from finetune.forgetting import CHECK, Check, Comparison, read_check
from finetune.runs import write_file
from rag.errors import UsageError

Fixed = Literal["domain", "total"]

SHARES = (1.0, 0.5, 0.17)
SEEDS = (0, 1)
PLAN = "sweep.json"
TABLE = "table.md"
PLOT = "sweep.svg"


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """``fingerprint`` covers everything else that an arm is made of: data, settings, model, questions."""

    shares: tuple[float, ...]
    seeds: tuple[int, ...]
    fixed: Fixed
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Arm:
    share: float
    seed: int
    check: Check


@dataclass(frozen=True, slots=True)
class Spread:
    """The mean over an arm's seeds. The interval is the widest of what questions and what seeds leave open."""

    share: float
    value: float
    low: float
    high: float
    seeds: int


RunArm = Callable[[float, int, Path], Check]
"""Share, seed and folder to the check of what was trained there; goes on with a run that is in the folder."""


def sweep(out: Path, plan: SweepPlan, run_arm: RunArm, note: Callable[[str], None]) -> list[Arm]:
    """All arms in the plan's order. Raises ``UsageError`` where ``out`` holds another sweep."""
    _claim(out, plan)
    arms = []
    for share in plan.shares:
        for seed in plan.seeds:
            folder = out / f"share-{share:g}-seed-{seed}"
            if (folder / CHECK).exists():
                note(f"{folder.name} is done")
                check = read_check(folder)
            else:
                note(f"{folder.name} begins")
                folder.mkdir(exist_ok=True)
                check = run_arm(share, seed, folder)
                write_file(folder / CHECK, check.model_dump_json(indent=1) + "\n")
            arms.append(Arm(share, seed, check))
    write_file(out / TABLE, table(arms, plan.fixed))
    return arms


def gains(arms: Sequence[Arm]) -> list[Spread]:
    """The domain's gain by share, in the metric's unit."""
    return [_spread(share, [_domain(arm) for arm in found]) for share, found in _by_share(arms)]


def losses(arms: Sequence[Arm]) -> list[Spread]:
    """What of the general probe's accuracy was lost by share; below 0 where it rose."""
    return [_negated(_spread(share, [arm.check.general for arm in found])) for share, found in _by_share(arms)]


def table(arms: Sequence[Arm], fixed: Fixed) -> str:
    """Markdown: one line a share, in points, with the seeds' own values."""
    lines = [
        "| domain share | domain gain | 95 % interval | general loss | 95 % interval | bits per byte | by seed |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (share, found), gain, loss in zip(_by_share(arms), gains(arms), losses(arms), strict=True):
        bits = sum(arm.check.bits_per_byte.change for arm in found) / len(found)
        seeds = "; ".join(
            f"{arm.seed}: {100 * _domain(arm).change:+.1f} / {-100 * arm.check.general.change:+.1f}" for arm in found
        )
        lines.append(
            f"| {share:g} | {_points(gain.value)} | {_points(gain.low)} to {_points(gain.high)} | "
            f"{_points(loss.value)} | {_points(loss.low)} to {_points(loss.high)} | {bits:+.3f} | {seeds} |"
        )
    return "\n".join([*lines, "", f"{FIXED[fixed]} In points; by seed: gain / loss.", ""])


FIXED: dict[Fixed, str] = {
    "domain": "Held fixed: the domain's examples and passes over them; general examples come on top.",
    "total": "Held fixed: the optimizer steps; the larger the general share, the less of the domain is seen.",
}


def plot(arms: Sequence[Arm], path: Path) -> bool:
    """Domain gain against general loss as SVG; ``False`` where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for gain, loss in zip(gains(arms), losses(arms), strict=True):
        x, y = 100 * loss.value, 100 * gain.value
        axes.errorbar(
            [x],
            [y],
            xerr=[[x - 100 * loss.low], [100 * loss.high - x]] if math.isfinite(loss.low) else None,
            yerr=[[y - 100 * gain.low], [100 * gain.high - y]] if math.isfinite(gain.low) else None,
            fmt="o",
            capsize=3,
            label=f"{gain.share:g}",
        )
    axes.axhline(0, color="grey", linewidth=0.5)
    axes.axvline(0, color="grey", linewidth=0.5)
    axes.set_xlabel("general probe, points lost")
    axes.set_ylabel("domain, points gained")
    axes.legend(title="domain share of the loss")
    figure.savefig(path, format="svg", metadata={"Date": None})
    return True


def _claim(out: Path, plan: SweepPlan) -> None:
    path = out / PLAN
    asked = json.loads(json.dumps(asdict(plan)))
    if path.exists():
        found = json.loads(path.read_text("utf-8"))
        if different := [name for name in asked if found.get(name) != asked[name]]:
            raise UsageError(
                f"{out} holds a sweep with another {different[0]}; name another folder with --out, or ask for the same"
            )
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is there and no sweep; name another folder with --out")
    out.mkdir(parents=True, exist_ok=True)
    write_file(path, json.dumps(asked, indent=1) + "\n")


def _by_share(arms: Sequence[Arm]) -> list[tuple[float, list[Arm]]]:
    found: dict[float, list[Arm]] = {}
    for arm in arms:
        found.setdefault(arm.share, []).append(arm)
    return list(found.items())


def _domain(arm: Arm) -> Comparison:
    if arm.check.domain is None:
        raise UsageError("the domain's gain was not measured; a sweep needs questions")
    return arm.check.domain


def _spread(share: float, found: Sequence[Comparison]) -> Spread:
    """Seeds answer the same questions, so averaging never narrows their interval; seeds that differ widen it."""
    count = len(found)
    value = sum(each.change for each in found) / count
    half = sum((each.high - each.low) / 2 for each in found) / count
    if count > 1:
        error = float(np.std([each.change for each in found], ddof=1)) / math.sqrt(count)
        half = max(half, error * float(stats.norm.ppf(0.975)))
    return Spread(share, value, value - half, value + half, count)


def _negated(found: Spread) -> Spread:
    return Spread(found.share, -found.value, -found.high, -found.low, found.seeds)


def _points(value: float) -> str:
    return f"{100 * value:+.1f}"
