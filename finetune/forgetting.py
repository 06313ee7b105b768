"""The forgetting gate: was the domain gained without the general lost? ``domainqa finetune check``.

Before and after are the same model without the adapter and with it, on the same items, so differences are paired. Items
that were made alike, and questions of one group, are counted as whole clusters (``rag.evaluation.statistics``).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from scipy import stats

from finetune.probing import Probe, ProbeItem, is_right
from rag.errors import UsageError
from rag.evaluation.statistics import LEVEL, MINIMUM_CLUSTERS, estimate
from rag.types import Gate

CHECK = "check.json"
GENERAL = "general-loss"
DOMAIN = "domain-gain"
DEFAULT_MARGIN = 0.03
"""Of the general probe's accuracy, 1 being all of it."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Pair(_Record):
    """One question or item, before and after. Higher is better."""

    id: str
    group: str
    before: float = Field(allow_inf_nan=False)
    after: float = Field(allow_inf_nan=False)


class Comparison(_Record):
    """``change`` is after less before, with its two-sided 95 % interval, and the one-sided 95 % bounds of it."""

    before: float
    after: float
    change: float
    low: float
    high: float
    least: float
    most: float
    items: int
    groups: int

    @property
    def can_tell(self) -> bool:
        """With fewer groups there is no verdict."""
        return self.groups >= MINIMUM_CLUSTERS


class MeasuredGate(_Record):
    """A ``rag.types.Gate`` and why it was missed."""

    name: str
    value: float
    low: float
    high: float
    passed: bool
    reason: str | None = None


class Check(_Record):
    """``check.json``: what an adapter gained and lost. ``promote`` reads it."""

    format: Literal[1] = 1
    base: str
    adapter_hash: str
    """Of the adapter's files as they were checked."""
    probe_hash: str
    margin: float
    general: Comparison
    """Accuracy on the probe."""
    families: dict[str, Comparison]
    bits_per_byte: Comparison
    """Of held-out general text; here lower is better."""
    domain: Comparison | None
    domain_measured: str | None
    """How: the file of scores, or questions, metric and strategies."""
    harness: dict[str, float] = {}
    """Change by task of lm-evaluation-harness, where it was run."""
    gates: tuple[MeasuredGate, ...]

    @property
    def passed(self) -> bool:
        return all(gate.passed for gate in self.gates)

    @property
    def for_manifest(self) -> tuple[Gate, ...]:
        return tuple(Gate(each.name, each.value, each.low, each.high, each.passed) for each in self.gates)


def compare(pairs: Sequence[Pair]) -> Comparison:
    """Raises ``UsageError`` without pairs."""
    if not pairs:
        raise UsageError("there is nothing to compare: no item was scored before and after")
    before = np.array([pair.before for pair in pairs])
    after = np.array([pair.after for pair in pairs])
    groups = [pair.group for pair in pairs]
    count = len(set(groups))
    if count < 2:
        change = float((after - before).mean())
        low, least, high, most = float("-inf"), float("-inf"), float("inf"), float("inf")
    else:
        found = estimate(after - before, groups)
        change, low, high = found.value, found.interval.low, found.interval.high
        one_sided = float(stats.t.ppf(LEVEL, count - 1)) * found.standard_error
        least, most = change - one_sided, change + one_sided
    return Comparison(
        before=float(before.mean()),
        after=float(after.mean()),
        change=change,
        low=low,
        high=high,
        least=least,
        most=most,
        items=len(pairs),
        groups=count,
    )


def probe_pairs(
    items: Sequence[ProbeItem], before: Sequence[Sequence[float]], after: Sequence[Sequence[float]]
) -> list[Pair]:
    return [
        Pair(id=item.id, group=item.group, before=float(is_right(item, one)), after=float(is_right(item, other)))
        for item, one, other in zip(items, before, after, strict=True)
    ]


def by_family(items: Sequence[ProbeItem], pairs: Sequence[Pair]) -> dict[str, Comparison]:
    families: dict[str, list[Pair]] = {}
    for item, pair in zip(items, pairs, strict=True):
        families.setdefault(item.family, []).append(pair)
    return {family: compare(found) for family, found in families.items()}


def text_pairs(texts: Sequence[str], before: Sequence[float], after: Sequence[float]) -> list[Pair]:
    """Each paragraph is by itself."""
    return [
        Pair(id=str(at), group=str(at), before=one, after=other)
        for at, (_, one, other) in enumerate(zip(texts, before, after, strict=True))
    ]


def general_gate(general: Comparison, margin: float) -> MeasuredGate:
    """What was lost; ``high`` is the one-sided 95 % bound that must stay under the margin, ``low`` its counterpart."""
    most = -general.least
    reason = None
    if not general.can_tell:
        reason = f"{general.groups} groups of items are too few to tell, at least {MINIMUM_CLUSTERS} are needed"
    elif not most < margin:
        reason = f"up to {100 * most:.1f} points may be lost, the margin is {100 * margin:g}"
    return MeasuredGate(
        name=GENERAL, value=-general.change, low=-general.most, high=most, passed=reason is None, reason=reason
    )


def domain_gate(domain: Comparison) -> MeasuredGate:
    """What was gained; the interval must lie above 0."""
    reason = None
    if not domain.can_tell:
        reason = f"{domain.groups} groups of questions are too few to tell, at least {MINIMUM_CLUSTERS} are needed"
    elif not domain.low > 0:
        reason = f"the gain's interval begins at {100 * domain.low:.1f} points, not above 0"
    return MeasuredGate(
        name=DOMAIN, value=domain.change, low=domain.low, high=domain.high, passed=reason is None, reason=reason
    )


def checked(
    *,
    base: str,
    adapter_hash: str,
    probe: Probe,
    options: tuple[Sequence[Sequence[float]], Sequence[Sequence[float]]],
    bits: tuple[Sequence[float], Sequence[float]],
    domain: Sequence[Pair] | None,
    domain_measured: str | None,
    margin: float = DEFAULT_MARGIN,
    harness: Mapping[str, float] | None = None,
) -> Check:
    """The gates of what was measured; ``options`` and ``bits`` are (before, after)."""
    pairs = probe_pairs(probe.items, *options)
    general = compare(pairs)
    gained = compare(domain) if domain is not None else None
    gates = [general_gate(general, margin), *([domain_gate(gained)] if gained is not None else [])]
    return Check(
        base=base,
        adapter_hash=adapter_hash,
        probe_hash=probe.sha256,
        margin=margin,
        general=general,
        families=by_family(probe.items, pairs),
        bits_per_byte=compare(text_pairs(probe.texts, *bits)),
        domain=gained,
        domain_measured=domain_measured,
        harness=dict(harness or {}),
        gates=tuple(gates),
    )


def read_check(folder: Path) -> Check:
    """Raises ``UsageError`` where there is none, or it is damaged."""
    path = folder / CHECK
    try:
        return Check.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise UsageError(
            f"{folder} was not checked yet; run `domainqa finetune check {folder} --questions FILE`"
        ) from error
    except (OSError, ValidationError) as error:
        raise UsageError(f"{path} cannot be read; run `domainqa finetune check {folder}` again") from error


def read_pairs(path: Path) -> list[Pair]:
    """Scores measured elsewhere, JSONL: id, group, before, after. Raises ``UsageError`` naming line and fault."""
    found: dict[str, Pair] = {}
    try:
        lines = path.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the scores in {path} cannot be read: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            pair = Pair.model_validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the line"
            raise UsageError(f"{path}, line {number}: {where}: {first['msg']}") from error
        if pair.id in found:
            raise UsageError(f"{path}, line {number}: the id {pair.id!r} was used before")
        found[pair.id] = pair
    return list(found.values())
