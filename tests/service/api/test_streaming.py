"""Whatever ends a response, the generator behind it is closed: nothing goes on generating for nobody."""

import asyncio
import json
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.types import EvidencePacked, TextDelta
from service.api.app import create_app
from service.api.streaming import ClientGoneError, EventStream, until_disconnect, with_heartbeats

pytestmark = pytest.mark.anyio
LONG = 30.0


class Source:
    """Endless events that know whether they were closed."""

    def __init__(self, pause_s: float = 0.0) -> None:
        self.pause_s = pause_s
        self.closed = False
        self.made = 0

    async def events(self) -> AsyncGenerator[str, None]:
        try:
            while True:
                await asyncio.sleep(self.pause_s)
                self.made += 1
                yield "data: x\n\n"
        finally:
            self.closed = True


async def never() -> dict[str, object]:
    await asyncio.sleep(LONG)
    raise AssertionError("nobody waits that long")


def scope_of(body: bytes, path: str = "/v1/chat/completions") -> dict[str, object]:
    headers = [
        (b"host", b"127.0.0.1:8080"),
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    return {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": headers,
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8080),
    }  # fmt: skip


async def test_a_failing_send_closes_the_generator():
    source = Source()
    sent = 0

    async def send(message: dict[str, object]) -> None:
        nonlocal sent
        sent += 1
        if sent == 3:
            raise OSError("connection reset")

    async with asyncio.timeout(5):
        await EventStream(source.events())(scope_of(b""), never, send)
    assert source.closed
    assert source.made == 2


async def test_a_bug_in_send_is_raised_after_closing():
    source = Source()

    async def send(message: dict[str, object]) -> None:
        raise ValueError("not a connection error")

    with pytest.raises(ValueError, match="not a connection"):
        await EventStream(source.events())(scope_of(b""), never, send)


@pytest.mark.parametrize("blocked_in", ["send", "generator"])
async def test_a_disconnect_closes_the_generator(blocked_in):
    source = Source(LONG if blocked_in == "generator" else 0.0)
    stream = source.events()
    first = ""
    if blocked_in == "send":
        first = await anext(stream)

    async def receive() -> dict[str, object]:
        await asyncio.sleep(0.05)
        return {"type": "http.disconnect"}

    async def send(message: dict[str, object]) -> None:
        if blocked_in == "send":
            await asyncio.sleep(LONG)

    async with asyncio.timeout(5):
        await EventStream(stream, first)(scope_of(b""), receive, send)
    assert source.closed


async def test_cancelling_the_response_closes_the_generator():
    source = Source(0.01)

    async def send(message: dict[str, object]) -> None:
        return None

    task = asyncio.ensure_future(EventStream(source.events())(scope_of(b""), never, send))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert source.closed


async def test_until_disconnect_returns_what_the_work_gives_and_raises_what_it_raises():
    async def work() -> int:
        return 5

    async def failing() -> int:
        raise LookupError("no")

    assert await until_disconnect(never, work()) == 5
    with pytest.raises(LookupError):
        await until_disconnect(never, failing())


async def test_until_disconnect_cancels_the_work():
    ended = []

    async def work() -> None:
        try:
            await asyncio.sleep(LONG)
        finally:
            ended.append(True)

    async def receive() -> dict[str, object]:
        await asyncio.sleep(0.02)
        return {"type": "http.disconnect"}

    with pytest.raises(ClientGoneError):
        await until_disconnect(receive, work())
    assert ended == [True]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers()), st.booleans())
def test_heartbeats_change_nothing_of_the_items(items, fails):
    async def source() -> AsyncGenerator[int, None]:
        for item in items:
            yield item
        if fails:
            raise LookupError("at the end")

    async def collect() -> tuple[list[int | None], bool]:
        got: list[int | None] = []
        try:
            async for item in with_heartbeats(source(), LONG):
                got.append(item)
        except LookupError:
            return got, True
        return got, False

    assert asyncio.run(collect()) == (items, fails)


async def test_heartbeats_come_while_the_source_is_silent():
    async def source() -> AsyncGenerator[str, None]:
        await asyncio.sleep(0.25)
        yield "late"

    got = [item async for item in with_heartbeats(source(), 0.05)]
    assert got[-1] == "late"
    assert got[:-1] == [None] * len(got[:-1])
    assert 2 <= len(got) - 1 <= 5


@pytest.mark.parametrize("pause_s", [0.0, LONG])
async def test_closing_heartbeats_closes_the_source(pause_s):
    source = Source(pause_s)
    beats = with_heartbeats(source.events(), 0.01)
    await anext(beats)
    await beats.aclose()
    assert source.closed
    assert source.made <= 3, "at most one item is read ahead"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("started", [False, True])
async def test_a_client_that_leaves_stops_the_answer(scripts, stream, started):
    """Through the whole app: the answer flow is cut off, streaming or not, with text on its way or without."""
    steps = [EvidencePacked(()), TextDelta("The "), LONG] if started else [EvidencePacked(()), LONG]
    library = scripts.library(steps)
    body = json.dumps({"messages": [{"role": "user", "content": "Which torque?"}], "stream": stream}).encode()
    requests = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, object]:
        if requests:
            return requests.pop()
        await asyncio.sleep(0.1)
        return {"type": "http.disconnect"}

    async def send(message: dict[str, object]) -> None:
        return None

    async with asyncio.timeout(5):
        await create_app(library)(scope_of(body), receive, send)
    assert len(library.answerer.asked) == 1
    assert library.answerer.running == 0
    assert library.answerer.cut_off == 1


async def test_a_send_that_fails_stops_the_answer(scripts):
    library = scripts.library([EvidencePacked(()), *[TextDelta("word ")] * 10_000])
    body = json.dumps({"messages": [{"role": "user", "content": "Which torque?"}], "stream": True}).encode()
    requests = [{"type": "http.request", "body": body, "more_body": False}]
    sent = 0

    async def receive() -> dict[str, object]:
        return requests.pop() if requests else await never()

    async def send(message: dict[str, object]) -> None:
        nonlocal sent
        sent += 1
        if sent > 5:
            raise OSError("connection reset")

    async with asyncio.timeout(5):
        await create_app(library)(scope_of(body), receive, send)
    assert library.answerer.running == 0
    assert library.answerer.cut_off == 1
