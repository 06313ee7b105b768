"""Which groups are held out to watch the loss: whole groups, so that no document is in both halves."""

import hashlib
from collections.abc import Iterable, Mapping

from rag.errors import UsageError


def hold_out(masses: Iterable[tuple[str, float]], goal: float, seed: int, what: str) -> frozenset[str]:
    """Groups whose masses come near the goal, drawn by the seed. ``masses`` are (group, mass) of each example.

    A group that would overshoot is passed over; where every group does, the smallest one is taken. Raises
    ``UsageError`` where all is one group: ``what`` names it.
    """
    by_group: dict[str, float] = {}
    for group, mass in masses:
        by_group[group] = by_group.get(group, 0.0) + mass
    if goal <= 0 or not by_group:
        return frozenset()
    if len(by_group) == 1:
        raise UsageError(
            f"all {what} examples are of one group, {next(iter(by_group))!r}, so that none can be held out; give each "
            "document or conversation a group of its own, or pass --validation 0"
        )
    chosen: set[str] = set()
    held = 0.0
    for group in sorted(by_group, key=lambda each: rank(seed, "validation", each)):
        if abs(held + by_group[group] - goal) < abs(held - goal) and len(chosen) < len(by_group) - 1:
            chosen.add(group)
            held += by_group[group]
    return frozenset(chosen or {_smallest(by_group, seed)})


def rank(seed: int, purpose: str, name: str) -> bytes:
    """Sorts names as a shuffle would: the same on every machine, and whatever the order they came in."""
    return hashlib.sha256(f"{seed}\0{purpose}\0{name}".encode()).digest()


def _smallest(by_group: Mapping[str, float], seed: int) -> str:
    return min(by_group, key=lambda each: (by_group[each], rank(seed, "validation", each)))
