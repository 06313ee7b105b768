"""When one answer must end: at its deadline, or earlier because the service stops."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from rag.errors import DomainQAError, EngineTimeoutError

T = TypeVar("T")


class Limit:
    """Bounds each wait of one request. Whatever waits when it is cut ends at once."""

    def __init__(self, seconds: float) -> None:
        self._ends_at = asyncio.get_running_loop().time() + seconds
        self._error: DomainQAError = EngineTimeoutError(
            f"no whole answer within {seconds:g} s; ask for fewer tokens, or raise server.request_deadline_s"
        )
        self._waits: asyncio.Timeout | None = None

    async def within(self, work: Awaitable[T]) -> T:
        """The work's result, or the limit's error once it is reached. One wait at a time."""
        try:
            async with asyncio.timeout_at(self._ends_at) as self._waits:
                return await work
        except TimeoutError:
            if self._waits is None or not self._waits.expired():
                raise  # the work's own
            raise self._error from None
        finally:
            self._waits = None

    def cut(self, error: DomainQAError) -> None:
        """Reached now, with this error."""
        self._error = error
        self._ends_at = asyncio.get_running_loop().time()
        if self._waits is not None and not self._waits.expired():
            self._waits.reschedule(self._ends_at)
