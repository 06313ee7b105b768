"""The best rows in an order that does not depend on how an index happens to store them."""

from collections.abc import Callable

from rag.types import ScoredRow

_MARGIN = 8


def best_rows(fetch: Callable[[int], list[ScoredRow]], limit: int, size: int) -> list[ScoredRow]:
    """The best ``limit`` of ``size`` rows by descending score, then ascending row.

    ``fetch(n)`` gives ``n`` rows (fewer when there are no more) such that no other has a higher score. Which
    of several equal rows it gives is its own affair, so more are fetched until the last score falls below
    the one at the limit.
    """
    wanted = min(limit + _MARGIN, size)
    while limit > 0 and wanted > 0:
        found = fetch(wanted)
        if len(found) < wanted or wanted == size or found[-1].score < found[limit - 1].score:
            return sorted(found, key=lambda hit: (-hit.score, hit.row))[:limit]
        wanted = min(2 * wanted, size)
    return []
