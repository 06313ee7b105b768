"""The circuit's states, with a clock that is moved by hand."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.errors import DoesNotFitError, EngineBusyError, EngineFaultError, EngineTimeoutError, EngineUnavailableError
from service.api.circuit import Circuit


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def circuit(clock) -> Circuit:
    return Circuit(3, 30, 5, clock)


def fail(circuit: Circuit, error: Exception | None = None, *, text_came: bool = False) -> None:
    error = error or EngineFaultError("the GPU fell off")
    with suppress(type(error)), circuit.attempt() as attempt:
        attempt.text_came = text_came
        raise error


def succeed(circuit: Circuit) -> None:
    with circuit.attempt() as attempt:
        attempt.works = True


def opened(circuit: Circuit) -> Circuit:
    for _ in range(3):
        fail(circuit)
    assert circuit.state == "open"
    return circuit


def test_failures_in_a_row_open_it_and_questions_are_refused_with_the_time_to_return(circuit, clock):
    opened(circuit)
    clock.now += 2
    with pytest.raises(EngineUnavailableError, match="the GPU fell off") as caught:
        circuit.check()
    assert caught.value.retry_after_s == 3
    with pytest.raises(EngineUnavailableError), circuit.attempt():
        pytest.fail("nothing is let through")
    assert "left alone for 3 s more" in circuit.readiness()


def test_a_success_among_them_keeps_it_closed(circuit):
    for _ in range(5):
        fail(circuit)
        fail(circuit)
        succeed(circuit)
    assert circuit.state == "closed"


def test_failures_that_lie_far_apart_keep_it_closed(circuit, clock):
    for _ in range(10):
        fail(circuit)
        clock.now += 16
    assert circuit.state == "closed"


@pytest.mark.parametrize("error", [EngineBusyError("full", 1), DoesNotFitError("too long"), ValueError("a bug")])
def test_what_is_no_failure_of_the_engine_does_not_count(circuit, error):
    for _ in range(10):
        fail(circuit, error)
    assert circuit.state == "closed"


def test_an_answer_that_is_only_slow_does_not_count(circuit):
    for _ in range(10):
        fail(circuit, EngineTimeoutError("late"), text_came=True)
    assert circuit.state == "closed"
    for _ in range(3):
        fail(circuit, EngineTimeoutError("late"))
    assert circuit.state == "open"


def test_one_probe_passes_after_a_while_and_its_success_closes_it(circuit, clock):
    opened(circuit)
    clock.now += 5
    assert circuit.state == "half_open"
    assert circuit.readiness() == "ok", "a load balancer must send the probe"
    with circuit.attempt() as probe:
        with pytest.raises(EngineUnavailableError), circuit.attempt():
            pytest.fail("one probe at a time")
        probe.works = True
    assert circuit.state == "closed"
    fail(circuit)
    assert circuit.state == "closed", "the failures of before are forgotten"


def test_a_probe_that_fails_opens_it_again(circuit, clock):
    opened(circuit)
    clock.now += 6
    fail(circuit, EngineUnavailableError("still down"))
    assert circuit.state == "open"
    with pytest.raises(EngineUnavailableError, match="still down"):
        circuit.check()


def test_a_probe_whose_client_left_decides_nothing(circuit, clock):
    opened(circuit)
    clock.now += 6
    with circuit.attempt():
        pass
    assert circuit.state == "half_open"
    succeed(circuit)
    assert circuit.state == "closed"


@pytest.mark.parametrize("works", [True, False])
def test_what_was_let_through_before_decides_nothing(circuit, clock, works):
    with circuit.attempt() as old:
        opened(circuit)
        clock.now += 4
        old.works = works
    assert circuit.state == "open"
    clock.now += 1
    assert circuit.state == "half_open"


@given(st.lists(st.sampled_from(["fails", "works", "gone", "wait"]), max_size=60))
def test_it_never_stays_open(events):
    """Whatever happened: with time and an engine that works again, the circuit closes."""
    clock = Clock()
    circuit = Circuit(2, 10, 5, clock)
    for event in events:
        clock.now += 6 if event == "wait" else 0.1
        try:
            with circuit.attempt() as attempt:
                if event == "fails":
                    raise EngineFaultError("down")
                attempt.works = True if event == "works" else None
        except (EngineFaultError, EngineUnavailableError):
            pass
    clock.now += 5
    succeed(circuit)
    assert circuit.state == "closed"
