"""Places and their queue: the bounds hold, the order is kept, whoever leaves frees what was held."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.errors import EngineBusyError
from service.api.places import Places

pytestmark = pytest.mark.anyio


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(0, 4), st.integers(1, 15), st.sets(st.integers(0, 14)))
def test_every_guest_is_served_or_refused_and_the_bounds_hold(limit, max_waiting, guests, leaving):
    places = Places(limit, max_waiting)
    most_running = most_waiting = 0
    order: list[int] = []

    async def guest(number: int) -> str:
        nonlocal most_running, most_waiting
        try:
            async with places.place():
                order.append(number)
                most_running = max(most_running, places.running)
                most_waiting = max(most_waiting, places.waiting)
                await asyncio.sleep(0)
                await asyncio.sleep(0)
        except EngineBusyError:
            return "refused"
        return "served"

    async def crowd() -> list[object]:
        tasks = [asyncio.create_task(guest(number)) for number in range(guests)]
        await asyncio.sleep(0)
        for number in leaving & set(range(guests)):
            tasks[number].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    outcomes = asyncio.run(crowd())
    admitted = min(guests, limit + max_waiting)
    assert outcomes.count("refused") == guests - admitted
    assert all(
        outcome == "served" or (isinstance(outcome, asyncio.CancelledError) and number in leaving)
        for number, outcome in enumerate(outcomes[:admitted])
    )
    assert most_running <= limit
    assert most_waiting <= max_waiting
    assert order == sorted(order), "first come, first served"
    assert (places.running, places.waiting) == (0, 0)


async def test_one_who_is_refused_is_told_when_to_return(monkeypatch):
    now = 0.0
    monkeypatch.setattr("service.api.places.time.monotonic", lambda: now)
    places = Places(2, 1)
    for _ in range(50):
        async with places.place():
            now += 8.0
    # Two places, eight seconds an answer: behind one who waits it takes two halves of eight seconds.
    assert places.expected_wait_s() == 4
    async with places.place(), places.place():
        waiting = asyncio.create_task(places.place().__aenter__())
        await asyncio.sleep(0)
        with pytest.raises(EngineBusyError, match="2 answers are under way and 1 questions wait") as caught:
            await places.place().__aenter__()
        assert caught.value.retry_after_s == 8
        waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert (places.running, places.waiting) == (0, 0)


async def test_the_time_that_was_waited_is_told():
    places = Places(1, 1)
    async with places.place() as waited_s:
        assert waited_s < 0.05
        second = asyncio.create_task(_waited(places))
        await asyncio.sleep(0.1)
    assert 0.09 < await second < 1


async def _waited(places: Places) -> float:
    async with places.place() as waited_s:
        return waited_s
