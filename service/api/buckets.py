"""Token buckets: so much a minute for each key, in the memory of the one API process.

A bucket holds at most a minute's worth and fills evenly. What is taken may leave it in debt: a question's tokens are
only known at its end. Belongs to one event loop. Knows nothing of HTTP.
"""

import time
from collections.abc import Callable
from typing import Literal

Kind = Literal["requests", "tokens"]


class Bucket:
    def __init__(self, per_minute: int, now: float) -> None:
        self.per_minute = per_minute
        self._level = float(per_minute)
        self._at = now

    def level(self, now: float) -> float:
        """What is there; below zero is debt."""
        self._level = min(float(self.per_minute), self._level + (now - self._at) * self.per_minute / 60)
        self._at = now
        return self._level

    def wait_s(self, needed: float, now: float) -> float:
        """Until so much is there; 0 where it is."""
        return max(0.0, (needed - self.level(now)) * 60 / self.per_minute)

    def take(self, amount: float, now: float) -> None:
        """Without asking whether it is there; a negative amount is given back."""
        self._level = self.level(now) - amount


class Buckets:
    """One for each key and kind of limit, made full when first asked for."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[tuple[str, Kind], Bucket] = {}

    def take(self, key_id: str, kind: Kind, per_minute: int | None, amount: float, needed: float) -> float:
        """Take ``amount`` if ``needed`` is there: 0. Else take nothing, and say in how many seconds it will be."""
        if per_minute is None:
            return 0.0
        now = self._clock()
        bucket = self._buckets.get((key_id, kind))
        if bucket is None or bucket.per_minute != per_minute:
            bucket = self._buckets[key_id, kind] = Bucket(per_minute, now)
        wait_s = bucket.wait_s(needed, now)
        if wait_s == 0:
            bucket.take(amount, now)
        return wait_s

    def settle(self, key_id: str, kind: Kind, amount: float) -> None:
        """Take more than was taken before, or give back where it is negative."""
        bucket = self._buckets.get((key_id, kind))
        if bucket is not None:
            bucket.take(amount, self._clock())
