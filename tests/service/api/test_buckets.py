"""Token buckets against hand-worked cases, with a clock of our own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.buckets import Buckets


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def buckets(clock: Clock) -> Buckets:
    return Buckets(clock)


def test_a_minutes_worth_at_once_then_evenly(buckets: Buckets, clock: Clock) -> None:
    assert [buckets.take("k", "requests", 3, 1, 1) for _ in range(4)] == [0, 0, 0, 20]
    clock.now += 19
    assert buckets.take("k", "requests", 3, 1, 1) == pytest.approx(1)
    clock.now += 1
    assert buckets.take("k", "requests", 3, 1, 1) == 0
    assert buckets.take("k", "requests", 3, 1, 1) == pytest.approx(20)


def test_an_idle_hour_saves_up_no_more_than_a_minute(buckets: Buckets, clock: Clock) -> None:
    buckets.take("k", "requests", 2, 1, 1)
    clock.now += 3600
    assert [buckets.take("k", "requests", 2, 1, 1) == 0 for _ in range(3)] == [True, True, False]


def test_a_refusal_costs_nothing(buckets: Buckets, clock: Clock) -> None:
    buckets.take("k", "requests", 1, 1, 1)
    assert [buckets.take("k", "requests", 1, 1, 1) for _ in range(5)] == [60] * 5
    clock.now += 60
    assert buckets.take("k", "requests", 1, 1, 1) == 0


def test_more_may_be_taken_than_there_is_and_is_waited_for(buckets: Buckets, clock: Clock) -> None:
    assert buckets.take("k", "tokens", 60, 100, 1) == 0
    assert buckets.take("k", "tokens", 60, 100, 1) == pytest.approx(41)
    buckets.settle("k", "tokens", -70)  # it cost 30 only
    assert buckets.take("k", "tokens", 60, 5, 1) == 0
    buckets.settle("k", "tokens", 40)  # it cost 45
    assert buckets.take("k", "tokens", 60, 5, 1) == pytest.approx(16)


def test_what_is_given_back_fills_it_no_higher_than_full(buckets: Buckets) -> None:
    buckets.take("k", "tokens", 10, 1, 1)
    buckets.settle("k", "tokens", -1000)
    assert buckets.take("k", "tokens", 10, 10, 1) == 0
    assert buckets.take("k", "tokens", 10, 10, 1) > 0


def test_keys_and_kinds_do_not_share(buckets: Buckets) -> None:
    assert buckets.take("k", "requests", 1, 1, 1) == 0
    assert buckets.take("l", "requests", 1, 1, 1) == 0
    assert buckets.take("k", "tokens", 1, 1, 1) == 0
    assert buckets.take("k", "requests", 1, 1, 1) > 0
    assert buckets.take("k", "requests", None, 1, 1) == 0, "no limit"


@given(st.integers(1, 50), st.lists(st.floats(0, 30), max_size=60))
def test_never_more_than_a_minutes_worth_and_what_flowed_in(per_minute: int, pauses: list[float]) -> None:
    clock = Clock()
    buckets = Buckets(clock)
    passed = 0
    for pause in pauses:
        clock.now += pause
        passed += buckets.take("k", "requests", per_minute, 1, 1) == 0
        assert passed <= per_minute * (1 + (clock.now - 1000) / 60) + 1e-6


@given(st.integers(1, 50), st.integers(1, 200))
def test_whoever_waits_as_told_is_let_in(per_minute: int, beyond: int) -> None:
    clock = Clock()
    buckets = Buckets(clock)
    buckets.take("k", "requests", per_minute, per_minute + beyond, 1)
    wait_s = buckets.take("k", "requests", per_minute, 1, 1)
    assert wait_s > 0
    clock.now += wait_s + 1e-6
    assert buckets.take("k", "requests", per_minute, 1, 1) == 0
