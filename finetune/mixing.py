"""Domain and general examples as one pass of training, at a set share of the loss: ``domainqa finetune mix``.

The share is reached by how often general examples are drawn, never by weights: a weight of twenty is a learning rate
twenty times as high for one text, and hides how little there is, while a repeat is seen, counted and spread over the
pass. Every domain example is in the pass once (epochs repeat it); general ones are drawn without repeats while they
last, then again, evenly, up to a limit. Repeating up to four times costs little against fresh data (Muennighoff et al.
2023, "Scaling Data-Constrained Language Models"). Continued pretraining repeats nothing by default: its rule asks for
general text, of which there is plenty.

Every choice is ordered by a hash of seed and id: the same examples give the same mix on every machine.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from finetune.examples import Family, TrainingExample, read_examples, write_examples
from finetune.holdout import hold_out, rank
from finetune.ratios import Mass, Objective, ratio_problem
from rag.errors import StateError, UsageError

TRAIN = "train.jsonl"
VALIDATION = "validation.jsonl"
MANIFEST = "manifest.json"

MOST_REPEATS: dict[Objective, int] = {"sft": 4, "cpt": 1}

_NEAR = 0.01
"""Nothing is repeated for so small a part of what was to be drawn."""

CountSupervised = Callable[[TrainingExample], int]
"""Supervised tokens of an example; raises ``UsageError`` for one that cannot be trained on."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MixInput(_Record):
    path: str
    sha256: str
    examples: int


class MixOptions(_Record):
    objective: Objective = "sft"
    seed: int = 0
    share: float = Field(default=0.5, gt=0, le=1)
    """The domain's share of the loss that is aimed at; 1 takes no general examples."""
    validation: float = Field(default=0.05, ge=0, lt=1)
    """Share of each family's loss whose groups are held out."""
    most_repeats: int = Field(default=4, ge=1)
    """How often a general example may be in the pass."""
    max_tokens: int = Field(ge=1)
    model: str
    """Whose tokenizer counted the tokens."""


class Shares(_Record):
    """Of the whole pass, between 0 and 1."""

    examples: float
    supervised_tokens: float
    loss: float


class Amounts(_Record):
    """In one pass, repeats included; ``distinct`` counts each example once."""

    distinct: int
    examples: int
    supervised_tokens: int
    loss: float


class SourceRepeats(_Record):
    family: Family
    available: int
    """Examples that could have been drawn: held out ones are not among them."""
    distinct: int
    examples: int
    most: int
    """How often its most repeated example is in the pass."""


class LeftOut(_Record):
    id: str
    reason: str


class MixManifest(_Record):
    format: Literal[1] = 1
    objective: Objective
    seed: int
    options: MixOptions
    inputs: tuple[MixInput, ...]
    shares: dict[Family, Shares]
    amounts: dict[Family, Amounts]
    repeats: dict[str, SourceRepeats]
    """By source."""
    validation: dict[Family, int]
    """Examples held out."""
    left_out: tuple[LeftOut, ...]
    """Examples that cannot be trained on, such as those that are longer than ``max_tokens``."""
    waiver: str | None
    """Why the rule on the ratio was not kept; ``None`` where it was."""
    order: tuple[str, ...]
    """Ids in training order, repeats included: one pass."""


@dataclass(frozen=True, slots=True)
class Mix:
    manifest: MixManifest
    train: tuple[TrainingExample, ...]
    """Each distinct example once, in the order of their first use."""
    validation: tuple[TrainingExample, ...]


@dataclass(frozen=True, slots=True)
class _Counted:
    example: TrainingExample
    supervised_tokens: int

    @property
    def loss(self) -> float:
        return self.supervised_tokens * self.example.weight


def mix_files(
    domain: Sequence[Path],
    general: Sequence[Path],
    options: MixOptions,
    count: CountSupervised,
    waiver: str | None = None,
) -> Mix:
    """The mix of the files' examples. Raises ``UsageError``: a file's family, a repeated id, a ratio without waiver."""
    inputs = []
    examples: dict[str, TrainingExample] = {}
    for family, paths in (("domain", domain), ("general", general)):
        for path in paths:
            found = tuple(read_examples(path))
            inputs.append(MixInput(path=str(path), sha256=_sha256(path), examples=len(found)))
            for example in found:
                if example.family != family:
                    raise UsageError(
                        f"{path} was given as {family} data, but its example {example.id!r} says {example.family}; "
                        f"pass the file as --{example.family}, or divide it"
                    )
                if example.id in examples:
                    raise UsageError(f"the id {example.id!r} in {path} was used in another file; ids must be unique")
                examples[example.id] = example
    return mix(tuple(examples.values()), options, count, inputs=inputs, waiver=waiver)


def mix(
    examples: Iterable[TrainingExample],
    options: MixOptions,
    count: CountSupervised,
    *,
    inputs: Sequence[MixInput] = (),
    waiver: str | None = None,
) -> Mix:
    """One pass over the examples as the options ask. The order of ``examples`` does not matter.

    Raises ``UsageError`` where nothing of the domain is left, and where the ratio breaks the objective's rule and
    ``waiver`` does not say why.
    """
    kept, left_out = _count(sorted(examples, key=lambda each: each.id), options, count)
    domain = [each for each in kept if each.example.family == "domain"]
    general = [each for each in kept if each.example.family == "general"]
    if not domain:
        reason = f"; the first of {len(left_out)} left out: {left_out[0].reason}" if left_out else ""
        raise UsageError(f"there is no domain example to train on{reason}")
    if shared := {each.example.source for each in domain} & {each.example.source for each in general}:
        raise UsageError(f"domain and general examples both name the source {min(shared)!r}; name each family's apart")
    held = _held_out(domain, general, options)
    domain_left = [each for each in domain if each.example.group not in held]
    general_left = [each for each in general if each.example.group not in held]
    if not domain_left:
        raise UsageError(
            "holding out general groups took every domain example, for their groups have the same names; "
            "give the two families groups of their own, or pass --validation 0"
        )
    drawn = _draw(general_left, _loss(domain_left) * (1 - options.share) / options.share, options)
    masses = _mass(domain_left), _mass(drawn)
    problem = ratio_problem(options.objective, *masses)
    if problem is not None and waiver is None:
        raise UsageError(f"{problem}; add general data with --general, or say why not with --allow-ratio REASON")
    order = _interleave([*domain_left, *drawn], options.seed)
    distinct = {each.example.id: each.example for each in order}
    manifest = MixManifest(
        objective=options.objective,
        seed=options.seed,
        options=options,
        inputs=tuple(inputs),
        shares=_shares(domain_left, drawn),
        amounts={"domain": _amounts(domain_left), "general": _amounts(drawn)},
        repeats=_repeats([*domain_left, *general_left], order),
        validation={
            "domain": len(domain) - len(domain_left),
            "general": len(general) - len(general_left),
        },
        left_out=left_out,
        waiver=waiver if problem is not None else None,
        order=tuple(each.example.id for each in order),
    )
    validation = tuple(each.example for each in (*domain, *general) if each.example.group in held)
    return Mix(manifest, tuple(distinct.values()), validation)


def write_mix(folder: Path, made: Mix) -> str:
    """Write the folder in one step and return the mix's hash. Raises ``UsageError`` where there is something."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there and not empty; remove it or name another folder for the mix")
    staged = folder.with_name(f".{folder.name}.staged")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    write_examples(staged / TRAIN, made.train)
    write_examples(staged / VALIDATION, made.validation)
    (staged / MANIFEST).write_text(made.manifest.model_dump_json(indent=1) + "\n", "utf-8")
    staged.replace(folder)
    return mix_hash(folder)


def read_manifest(folder: Path) -> MixManifest:
    """Raises ``UsageError`` where there is no mix, ``StateError`` where it is damaged."""
    path = folder / MANIFEST
    try:
        return MixManifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{folder} is no mix: {error}; `domainqa finetune mix` makes one") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise StateError(f"{path} is damaged: {where}: {first['msg']}; make the mix again") from error


def mix_hash(folder: Path) -> str:
    """SHA-256 of the manifest's bytes, which hold the inputs' hashes, the options and the order."""
    return _sha256(folder / MANIFEST)


# --- choosing -----------------------------------------------------------------------------------


def _count(
    examples: Iterable[TrainingExample], options: MixOptions, count: CountSupervised
) -> tuple[list[_Counted], tuple[LeftOut, ...]]:
    kept, left_out = [], []
    for example in examples:
        if (example.text is None) != (options.objective == "sft"):
            kind = "raw text" if example.messages == () else "a dialogue"
            raise UsageError(
                f"the example {example.id!r} of {example.source} is {kind}; fine-tuning (sft) learns from dialogues, "
                "continued pretraining (cpt) from raw text"
            )
        try:
            kept.append(_Counted(example, count(example)))
        except UsageError as error:
            left_out.append(LeftOut(id=example.id, reason=str(error)))
    return kept, tuple(left_out)


def _held_out(domain: Sequence[_Counted], general: Sequence[_Counted], options: MixOptions) -> frozenset[str]:
    """Groups of both families. Of the general data only so much counts as the pass can use, or the domain has."""
    usable = _loss(domain) * max(1.0, (1 - options.share) / options.share)
    goals = {
        "domain": options.validation * _loss(domain),
        "general": options.validation * min(_loss(general), usable),
    }
    held: frozenset[str] = frozenset()
    for what, family in (("domain", domain), ("general", general)):
        groups = [(each.example.group, each.loss) for each in family]
        held |= hold_out(groups, goals[what], options.seed, what)
    return held


def _draw(available: Sequence[_Counted], goal: float, options: MixOptions) -> list[_Counted]:
    """Examples, each round in an order of its own, until their loss is near the goal.

    One that would lead away from the goal is passed over: a long answer early on must not end the drawing.
    """
    drawn: list[_Counted] = []
    loss = 0.0
    for repeat in range(options.most_repeats):
        used = []
        for each in _shuffled(available, options.seed, f"draw {repeat}"):
            if abs(loss + each.loss - goal) < abs(loss - goal):
                used.append(each)
                loss += each.loss
        drawn += used
        if goal - loss <= _NEAR * goal:
            break
        available = used
    return drawn


def _interleave(chosen: Sequence[_Counted], seed: int) -> list[_Counted]:
    """Every source spread over the whole pass by its loss, so that each stretch of it has the mix's shares.

    The copies of an example are in rounds of their own, far apart.
    """
    rounds: dict[str, list[list[_Counted]]] = {}
    seen: dict[str, int] = {}
    for each in chosen:
        of_source = rounds.setdefault(f"{each.example.family}\0{each.example.source}", [])
        number = seen.get(each.example.id, 0)
        seen[each.example.id] = number + 1
        if number == len(of_source):
            of_source.append([])
        of_source[number].append(each)
    placed = []
    for of_source in rounds.values():
        total = sum(_loss(each) for each in of_source)
        before = 0.0
        for number, members in enumerate(of_source):
            for each in _shuffled(members, seed, f"order {number}"):
                placed.append(((before + each.loss / 2) / total, rank(seed, f"tie {number}", each.example.id), each))
                before += each.loss
    return [each for _, _, each in sorted(placed, key=lambda entry: entry[:2])]


def _shuffled(examples: Sequence[_Counted], seed: int, purpose: str) -> list[_Counted]:
    return sorted(examples, key=lambda each: rank(seed, purpose, each.example.id))


# --- telling ------------------------------------------------------------------------------------


def _loss(examples: Iterable[_Counted]) -> float:
    return sum(each.loss for each in examples)


def _mass(examples: Sequence[_Counted]) -> Mass:
    return Mass(sum(each.supervised_tokens for each in examples), _loss(examples))


def _amounts(examples: Sequence[_Counted]) -> Amounts:
    mass = _mass(examples)
    return Amounts(
        distinct=len({each.example.id for each in examples}),
        examples=len(examples),
        supervised_tokens=mass.supervised_tokens,
        loss=mass.loss,
    )


def _shares(domain: Sequence[_Counted], general: Sequence[_Counted]) -> dict[Family, Shares]:
    whole = _amounts([*domain, *general])
    parts: dict[Family, Amounts] = {"domain": _amounts(domain), "general": _amounts(general)}
    return {
        family: Shares(
            examples=part.examples / whole.examples,
            supervised_tokens=part.supervised_tokens / whole.supervised_tokens,
            loss=part.loss / whole.loss,
        )
        for family, part in parts.items()
    }


def _repeats(available: Sequence[_Counted], order: Sequence[_Counted]) -> dict[str, SourceRepeats]:
    times: dict[str, int] = {}
    for each in order:
        times[each.example.id] = times.get(each.example.id, 0) + 1
    repeats = {}
    for source in sorted({each.example.source for each in available}):
        members = [each.example for each in available if each.example.source == source]
        used = [times[each.id] for each in members if each.id in times]
        repeats[source] = SourceRepeats(
            family=members[0].family,
            available=len(members),
            distinct=len(used),
            examples=sum(used),
            most=max(used, default=0),
        )
    return repeats


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
