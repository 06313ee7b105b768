"""Streams that end when the client goes away, and work that is cancelled with it.

Starlette's ``StreamingResponse`` does not close its iterator when the client leaves, so a model would go on
generating for nobody. Here closing is owned: whatever ends the response, the generator is closed first.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

T = TypeVar("T")

CLIENT_GONE = 499
"""What proxies log for a client that went away; nobody reads the response."""

STALLED_S = 60.0
"""A client that reads nothing for so long is treated as gone: it would hold a place for nobody."""


class ClientGoneError(Exception):
    """The client went away before the work was done; nobody reads the response."""


async def until_disconnect(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Do the work, or cancel it and raise ``ClientGoneError`` when the client goes away first.

    The request's body must have been read: what still comes from ``receive`` is the disconnect.
    """
    task = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        leaving.result()
        raise ClientGoneError
    finally:
        await _end(task, leaving)


class EventStream(Response):
    """Server-sent events from an async generator, which is closed before the response is over."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[str, None], first: str = "", stalled_s: float = STALLED_S) -> None:
        """``first`` was taken from ``events`` before and is sent ahead of the rest."""
        self._stalled_s = stalled_s
        self.status_code = 200
        self.background = None
        self._events = events
        self._first = first
        # Proxies that buffer would hold back the answer until its end.
        self.init_headers({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._events):
            sending = asyncio.ensure_future(self._send_all(send))
            leaving = asyncio.ensure_future(_disconnected(receive))
            try:
                await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if sending.done():
                    sending.result()
            except OSError:
                pass  # the connection broke or stalled in `send`: the same as a disconnect
            finally:
                await _end(sending, leaving)

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if self._first:
            await self._send(send, self._first)
        async for event in self._events:
            await self._send(send, event)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send(self, send: Send, event: str) -> None:
        async with asyncio.timeout(self._stalled_s):
            await send({"type": "http.response.body", "body": event.encode(), "more_body": True})


@dataclass(frozen=True, slots=True)
class _Item:
    value: object


async def with_heartbeats(source: AsyncIterator[T], every_s: float) -> AsyncGenerator[T | None, None]:
    """The source's items, and ``None`` whenever it was silent for ``every_s`` seconds.

    One task runs the source from its first item to its closing, since a generator may hold things that belong
    to a task, such as a timeout. At most one item is read ahead.
    """
    ready: asyncio.Queue[_Item | BaseException | None] = asyncio.Queue(maxsize=1)

    async def pump() -> None:
        outcome: BaseException | None = None
        try:
            async with aclosing(cast(AsyncGenerator[T, None], source)) as items:
                async for item in items:
                    await ready.put(_Item(item))
        except Exception as error:
            outcome = error
        await ready.put(outcome)

    pumping = asyncio.ensure_future(pump())
    try:
        while True:
            try:
                async with asyncio.timeout(every_s):
                    taken = await ready.get()
            except TimeoutError:
                yield None
                continue
            if taken is None:
                return
            if isinstance(taken, BaseException):
                raise taken
            yield cast(T, taken.value)
    finally:
        await _end(pumping)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _end(*tasks: asyncio.Future[Any]) -> None:
    """Cancel what still runs and wait until it has cleaned up."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
