"""Places for work, and a bounded queue before them: first come, first served, and the one too many told when to return.

Belongs to one event loop. Knows nothing of what is done in a place.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rag.errors import EngineBusyError

_FIRST_GUESS_S = 5.0
_NEWEST_SHARE = 0.2
"""Weight of the newest duration in the running mean: about the last ten count."""


class Places:
    """At most ``limit`` at once and ``max_waiting`` in the queue."""

    def __init__(self, limit: int, max_waiting: int) -> None:
        self.limit = limit
        self.max_waiting = max_waiting
        self.running = 0
        self.waiting = 0
        self._mean_s = _FIRST_GUESS_S
        self._free = asyncio.Semaphore(limit)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[float]:
        """Holds a place; yields the seconds that were waited for it. Raises ``EngineBusyError`` at once when full."""
        if self._free.locked() and self.waiting >= self.max_waiting:
            wait_s = self.expected_wait_s()
            raise EngineBusyError(
                f"the service is busy: {self.running} answers are under way and {self.waiting} questions wait; "
                f"come back in about {wait_s} s",
                wait_s,
            )
        asked = time.monotonic()
        self.waiting += 1
        try:
            await self._free.acquire()
        finally:
            self.waiting -= 1
        begun = time.monotonic()
        self.running += 1
        try:
            yield begun - asked
        finally:
            self.running -= 1
            self._mean_s += _NEWEST_SHARE * (time.monotonic() - begun - self._mean_s)
            self._free.release()

    def expected_wait_s(self) -> int:
        """Until a newcomer behind all who wait would have a place, by the durations of late; at least a second."""
        return max(1, math.ceil(self._mean_s * (self.waiting + 1) / self.limit))
