"""The arms of an experiment: configurations of the one answer flow, ours and those that a team writes in TOML.

[arms.rag-20]
strategy = "rag"            # any strategy of the answer flow
adapter = "pumps"           # optional
examples = 0                # solved examples before the question, of the base strategy
baseline = "rag"            # optional: plans the contrast rag-20 - rag
[arms.rag-20.settings]
"retrieval.top_k" = 20      # what differs from the run's settings
"""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rag.answering import ORACLE, STRATEGIES
from rag.config import Settings
from rag.errors import ConfigError, UsageError
from rag.evaluation.records import ArmRecord, Contrast, GateRecord
from rag.types import AdapterKind, AdapterManifest

_FEW = 4
_PLANNED = (("rag", "base"), ("sft", "base"), ("rag+sft", "rag"), ("stuffed", "rag"), ("router", "rag"))
_INTERACTION = ("rag+sft", "rag", "sft", "base")
_OPEN_TO_ARMS = ("retrieval.", "packing.", "answering.", "generation.max_answer_tokens", "generation.temperature")


class ArmSpec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    strategy: str
    adapter: str | None = None
    kind: AdapterKind | None = Field(default=None, exclude=True)
    """The kind of adapter that the arm takes, of those given; ``None`` takes none."""
    examples: int = Field(default=0, ge=0)
    baseline: str | None = None
    settings: dict[str, object] = Field(default_factory=dict)


BUILT_IN: Mapping[str, ArmSpec] = {
    "base": ArmSpec(strategy="base"),
    "base-few-shot": ArmSpec(strategy="base", examples=_FEW, baseline="base"),
    "extractive": ArmSpec(strategy="extractive"),
    "stuffed": ArmSpec(strategy="stuffed"),
    "rag": ArmSpec(strategy="rag"),
    "sft": ArmSpec(strategy="base", kind="closed-book"),
    "cpt": ArmSpec(strategy="base", kind="cpt"),
    "rag+sft": ArmSpec(strategy="rag", kind="grounded"),
    "oracle": ArmSpec(strategy=ORACLE),
    "router": ArmSpec(strategy="router"),
}

Manifest = Callable[[str], AdapterManifest | None]
"""An adapter's name or label to its manifest; ``None`` where it has none."""


def read_arms(path: Path) -> dict[str, ArmSpec]:
    """Raises ``UsageError`` naming the file, the arm and the fault."""
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"the file of arms {path} cannot be read: {error}") from error
    arms = tables.pop("arms", None)
    if tables or not isinstance(arms, dict) or not arms:
        raise UsageError(f"{path}: a file of arms holds tables [arms.NAME] and nothing else")
    found = {}
    for name, table in arms.items():
        try:
            found[name] = ArmSpec.model_validate(table)
        except ValidationError as error:
            faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise UsageError(f"{path}, arm {name!r}: {faults}") from error
    return found


def resolve_arms(
    names: Sequence[str], adapters: Sequence[str], own: Mapping[str, ArmSpec], manifest: Manifest
) -> tuple[ArmRecord, ...]:
    """The arms by name, those of the ``adapters`` behind them where they aren't named.

    An adapter is given as ``ARM=NAME``, or as ``NAME`` where its manifest tells which arm takes its kind.
    """
    known = {**BUILT_IN, **own}
    given = dict(_placed(each, manifest) for each in adapters)
    wanted = list(dict.fromkeys([*names, *given]))
    unknown = [name for name in [*wanted, *given] if name not in known]
    if unknown:
        raise UsageError(f"there is no arm {unknown[0]!r}; there are: {', '.join(known)}")
    records = []
    for name in wanted:
        spec = known[name]
        adapter = given.get(name, spec.adapter)
        if spec.kind is not None and adapter is None:
            raise UsageError(
                f"the arm {name!r} needs an adapter of the kind {spec.kind!r}; give one with --adapter {name}=NAME"
            )
        records.append(_record(name, spec, adapter, None if adapter is None else manifest(adapter)))
    return tuple(records)


def planned_contrasts(arms: Sequence[ArmRecord], own: Mapping[str, ArmSpec]) -> tuple[Contrast, ...]:
    """What the experiment is about, as far as its arms are there: fixed before anything is answered."""
    there = {arm.name for arm in arms}
    pairs = list(_PLANNED)
    for name, spec in {**BUILT_IN, **own}.items():
        if spec.baseline is not None:
            pairs.append((name, spec.baseline))
            if name in there and spec.baseline not in there:
                raise UsageError(f"the arm {name!r} is to be compared with {spec.baseline!r}, which is not asked")
    contrasts = [Contrast(arm=arm, baseline=other) for arm, other in dict.fromkeys(pairs) if {arm, other} <= there]
    if there.issuperset(_INTERACTION):
        both, first, second, neither = _INTERACTION
        contrasts.append(Contrast(arm=both, baseline=first, less=(second, neither)))
    return tuple(contrasts)


def settings_of(arm: ArmRecord, settings: Settings) -> Settings:
    """The run's settings with what differs for the arm. Raises ``ConfigError`` naming arm and setting."""
    if not arm.settings:
        return settings
    values = settings.model_dump()
    for dotted, value in arm.settings.items():
        if not dotted.startswith(_OPEN_TO_ARMS):
            allowed = ", ".join(f"{each}*" if each.endswith(".") else each for each in _OPEN_TO_ARMS)
            raise ConfigError(f"the arm {arm.name!r} sets {dotted}; an arm may set {allowed}")
        section, _, key = dotted.partition(".")
        values[section][key] = value
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        fault = error.errors()[0]
        raise ConfigError(f"the arm {arm.name!r}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}") from error


def _placed(given: str, manifest: Manifest) -> tuple[str, str]:
    arm, equals, name = given.partition("=")
    if equals:
        return arm, name
    known = manifest(given)
    kind = None if known is None else known.kind
    for arm, spec in BUILT_IN.items():
        if spec.kind is not None and spec.kind == kind:
            return arm, given
    told = "has no manifest" if kind is None else f"is of the kind {kind!r}"
    raise UsageError(f"the adapter {given!r} {told}, which tells no arm; say --adapter ARM={given}")


def _record(name: str, spec: ArmSpec, adapter: str | None, manifest: AdapterManifest | None) -> ArmRecord:
    if spec.strategy not in (*STRATEGIES, ORACLE):
        there = ", ".join((*STRATEGIES, ORACLE))
        raise UsageError(f"the arm {name!r}: there is no strategy {spec.strategy!r}; there are: {there}")
    if spec.examples and spec.strategy != "base":
        raise UsageError(f"the arm {name!r} has examples, which only the base strategy is shown")
    if adapter is not None and spec.strategy == "extractive":
        raise UsageError(f"the arm {name!r} is extractive and generates nothing, so it takes no adapter")
    if manifest is not None and spec.kind is not None and manifest.kind not in (spec.kind, "other"):
        raise UsageError(f"the arm {name!r} takes a {spec.kind} adapter, and {adapter!r} is a {manifest.kind} one")
    gates = () if manifest is None else manifest.gates
    return ArmRecord(
        name=name,
        strategy=spec.strategy,
        adapter=adapter if manifest is None else manifest.name,
        adapter_hash=None if manifest is None else manifest.content_hash,
        adapter_kind=None if manifest is None else manifest.kind,
        adapter_gates=tuple(
            GateRecord(name=gate.name, value=gate.value, low=gate.low, high=gate.high, passed=gate.passed)
            for gate in gates
        ),
        examples=spec.examples,
        settings=spec.settings,
    )
