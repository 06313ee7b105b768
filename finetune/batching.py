"""The batch plan: every epoch laid out as one list of batches before the first step.

A batch is one optimizer step and holds a fixed number of packs; a pack is one row of tokens in which whole examples
stand behind one another, up to a limit. The row of a batch in the plan is its id, so what was done, what comes next
and what was quarantined are positions in one list, whoever asks, on however many devices. Knows lengths, no tokens.
"""

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_WINDOW_PACKS = 32
"""Packs are filled from so many packs' worth of the order at a time: nearly full, and the mix's shares stay."""

Pack = tuple[str, ...]
"""Ids of examples."""


@dataclass(frozen=True, slots=True)
class Batch:
    id: int
    epoch: int
    """Of its first pack: a batch may reach into the next."""
    packs: tuple[Pack, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    batches: tuple[Batch, ...]
    left_out: Pack
    """The last few examples, where they don't fill a batch; always fewer than a batch has packs."""


def plan_batches(
    order: Sequence[str],
    lengths: Mapping[str, int],
    *,
    epochs: int,
    pack_tokens: int,
    packs_per_batch: int,
    seed: int,
) -> Plan:
    """``order`` is one pass. The first epoch keeps it, as far as packing lets it; later ones are shuffled.

    The same arguments give the same plan. No example may be longer than ``pack_tokens``.
    """
    randomness = random.Random(seed)  # noqa: S311 - an order, no secret
    packs: list[tuple[int, Pack]] = []
    for epoch in range(epochs):
        ids = list(order)
        if epoch:
            randomness.shuffle(ids)
        packs += [(epoch, pack) for pack in _packs(ids, lengths, pack_tokens, randomness)]
    whole = len(packs) - len(packs) % packs_per_batch
    batches = [
        Batch(
            start // packs_per_batch, packs[start][0], tuple(pack for _, pack in packs[start : start + packs_per_batch])
        )
        for start in range(0, whole, packs_per_batch)
    ]
    rest = _divided([pack for _, pack in packs[whole:]], packs_per_batch)
    if len(rest) < packs_per_batch:
        return Plan(tuple(batches), tuple(id_ for pack in rest for id_ in pack))
    return Plan((*batches, Batch(len(batches), epochs - 1, tuple(rest))), ())


def _divided(packs: list[Pack], wanted: int) -> list[Pack]:
    """So many packs of the same examples, by halving those with most; fewer where all have only one."""
    packs = list(packs)
    while packs and len(packs) < wanted:
        most = max(range(len(packs)), key=lambda at: len(packs[at]))
        pack = packs[most]
        if len(pack) == 1:
            break
        packs[most : most + 1] = [pack[: len(pack) // 2], pack[len(pack) // 2 :]]
    return packs


def write_plan(path: Path, plan: Plan) -> None:
    """One line a batch: its id, its epoch, its packs."""
    staged = path.with_name(f".{path.name}.staged")
    with staged.open("w", encoding="utf-8") as file:
        for batch in plan.batches:
            record = {"batch": batch.id, "epoch": batch.epoch, "packs": batch.packs}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    staged.replace(path)


def _packs(ids: Sequence[str], lengths: Mapping[str, int], limit: int, randomness: random.Random) -> Iterator[Pack]:
    for window in _windows(ids, lengths, limit * _WINDOW_PACKS):
        packs = _filled(window, lengths, limit)
        randomness.shuffle(packs)
        yield from packs


def _windows(ids: Sequence[str], lengths: Mapping[str, int], tokens: int) -> Iterator[list[str]]:
    window: list[str] = []
    held = 0
    for id_ in ids:
        window.append(id_)
        held += lengths[id_]
        if held >= tokens:
            yield window
            window, held = [], 0
    if window:
        yield window


def _filled(window: Sequence[str], lengths: Mapping[str, int], limit: int) -> list[Pack]:
    """Longest first, each into the fullest pack that still has room (best-fit decreasing)."""
    packs: list[list[str]] = []
    room: list[int] = []
    for id_ in sorted(window, key=lambda each: (-lengths[each], each)):
        length = lengths[id_]
        fitting = [number for number, left in enumerate(room) if left >= length]
        if fitting:
            best = min(fitting, key=lambda number: room[number])
            packs[best].append(id_)
            room[best] -= length
        else:
            packs.append([id_])
            room.append(limit - length)
    return [tuple(pack) for pack in packs]
