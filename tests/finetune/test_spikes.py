"""The guard's verdicts on series of numbers that are known to be clean, or to have one bad place."""

import math
import random

from finetune.spikes import MOST_ROLLBACKS, ROW, GuardState, Reading, SpikeGuard, Verdict


def reading(batch: int, loss: float, norm: float = 1.0, source: str = "s", weight: float = 100.0) -> Reading:
    return Reading(batch, {source: (loss, weight)}, norm)


def clean(guard: SpikeGuard, steps: int, first: int = 0, level: float = 2.0) -> None:
    randomness = random.Random(first)
    for batch in range(first, first + steps):
        assert guard.judge(reading(batch, randomness.gauss(level, 0.1), randomness.lognormvariate(0, 0.3))) == Verdict(
            "step"
        )


def test_what_is_not_a_number_is_dropped_even_as_the_first() -> None:
    for bad in (math.nan, math.inf):
        assert SpikeGuard(5).judge(reading(0, bad)).action == "drop"
        assert SpikeGuard(5).judge(reading(0, 2.0, norm=bad)).action == "drop"


def test_a_spike_is_dropped_and_leaves_no_trace_in_the_past() -> None:
    guard = SpikeGuard(5)
    clean(guard, 40)
    before = guard.state.losses["s"].model_copy(deep=True)
    verdict = guard.judge(reading(40, 9.0))
    assert verdict.action == "drop"
    assert "the loss on s is 9" in str(verdict.reason)
    assert guard.state.losses["s"] == before
    assert guard.quarantined == (40,)
    clean(guard, 40, first=41)


def test_the_first_batch_is_compared_with_what_was_measured_before_it() -> None:
    guard = SpikeGuard(5)
    guard.expect({"s": 2.0})
    assert guard.judge(reading(0, 12.0)).action == "drop"
    assert guard.judge(reading(1, 3.0)).action == "step"


def test_a_gradient_out_of_line_is_dropped_where_the_loss_is_not() -> None:
    guard = SpikeGuard(5)
    clean(guard, 40)
    assert guard.judge(reading(40, 2.0, norm=1000.0)).action == "drop"


def test_sources_are_compared_with_their_own_past() -> None:
    guard = SpikeGuard(5)
    for batch in range(40):
        guard.judge(Reading(batch, {"easy": (0.1, 50.0), "hard": (5.0, 50.0)}, 1.0))
    assert guard.judge(Reading(40, {"easy": (0.1, 50.0), "hard": (5.0, 50.0)}, 1.0)).action == "step"
    assert guard.judge(Reading(41, {"easy": (5.0, 50.0), "hard": (5.0, 50.0)}, 1.0)).action == "drop"


def test_the_mean_of_few_tokens_may_stray_further() -> None:
    guard = SpikeGuard(5)
    clean(guard, 40)
    far = 3.5
    assert guard.judge(reading(40, far, weight=2.0)).action == "step"
    assert guard.judge(reading(41, far)).action == "drop"


def test_falling_losses_are_no_spikes() -> None:
    guard = SpikeGuard(5)
    randomness = random.Random(3)
    for batch in range(300):
        loss = 0.5 + 9 * math.exp(-batch / 30) + randomness.gauss(0, 0.05)
        assert guard.judge(reading(batch, loss)).action == "step"


def test_several_in_a_row_mean_that_the_weights_are_bad() -> None:
    guard = SpikeGuard(20)
    clean(guard, 40)
    earlier = guard.state.model_copy(deep=True)
    clean(guard, 10, first=40)
    actions = [guard.judge(reading(50 + number, 9.0)).action for number in range(ROW)]
    assert actions == ["drop"] * (ROW - 1) + ["roll_back"]
    guard.went_back(earlier, range(40, 50 + ROW), "bad")
    assert guard.quarantined == tuple(range(40, 50 + ROW))
    assert guard.state.losses == earlier.losses
    assert guard.state.drops == 0
    clean(guard, 10, first=53)


def test_too_many_drops_stop_the_run() -> None:
    guard = SpikeGuard(2)
    batch = 0
    actions = []
    for _ in range(3):
        clean(guard, 30, first=batch)
        actions.append(guard.judge(reading(batch + 30, 9.0)).action)
        batch += 31
    assert actions == ["drop", "drop", "stop"]


def test_too_many_times_of_going_back_stop_the_run() -> None:
    guard = SpikeGuard(100)
    clean(guard, 40)
    earlier = guard.state.model_copy(deep=True)
    batch = 40
    for number in range(MOST_ROLLBACKS + 1):
        actions = [guard.judge(reading(batch + each, 9.0)).action for each in range(ROW)]
        batch += ROW
        assert actions[-1] == ("roll_back" if number < MOST_ROLLBACKS else "stop")
        if number < MOST_ROLLBACKS:
            guard.went_back(earlier, range(batch - ROW, batch), "bad")


def test_a_guard_goes_on_from_its_saved_state() -> None:
    one, other = SpikeGuard(5), SpikeGuard(5)
    clean(one, 30)
    one.judge(reading(30, 9.0))
    other.state = GuardState.model_validate_json(one.state.model_dump_json())
    randomness = random.Random(8)
    for batch in range(31, 90):
        each = reading(batch, randomness.gauss(2, 0.5), randomness.lognormvariate(0, 1))
        assert one.judge(each) == other.judge(each)
    assert one.state == other.state
