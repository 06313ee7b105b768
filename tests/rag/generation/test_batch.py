"""Batches: order, bounds, what is tried again, and that no kill loses or repeats what was finished."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.errors import (
    DoesNotFitError,
    EngineBusyError,
    EngineError,
    EngineFaultError,
    EngineTimeoutError,
    EngineUnavailableError,
    StateError,
    UsageError,
)
from rag.fakes import ScriptedModel
from rag.generation import batch
from rag.generation.batch import generate_batch
from rag.generation.journal import BatchRequest, request_key
from rag.types import Message, Sampling, Usage

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch):
    monkeypatch.setattr(batch, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(batch, "LONGEST_WAIT_S", 0.002)


def request(name, text=None, **changes) -> BatchRequest:
    given = {"sampling": Sampling(20)} | changes
    return BatchRequest(str(name), (Message("system", "Be brief."), Message("user", text or f"say {name}")), **given)


def requests(count) -> list[BatchRequest]:
    return [request(number) for number in range(count)]


def echo(messages) -> str:
    return f"{messages[-1].content}: да\u2028\n\t{{}}"


class Killed(Exception):
    """As near as a test in one process comes to a kill: nothing of ours catches it."""


class Lively(ScriptedModel):
    """Echoes, the later requests sooner, and knows how many were under way at once.

    ``failures`` names errors by the text of the last message, raised one at each asking until there are none left.
    """

    def __init__(self, failures: dict[str, list[Exception]] | None = None, dies_after: int | None = None) -> None:
        super().__init__(echo)
        self.failures = failures or {}
        self.dies_after = dies_after
        self.active = self.most_active = 0

    @property
    def asked_for(self) -> list[str]:
        return [messages[-1].content for messages in self.asked]

    async def stream(self, messages, sampling, adapter=None):
        if self.dies_after is not None and len(self.asked) >= self.dies_after:
            raise Killed
        self.active += 1
        self.most_active = max(self.most_active, self.active)
        try:
            waits = self.failures.get(messages[-1].content)
            for _ in range(max(1, 7 - len(self.asked))):
                await asyncio.sleep(0)
            if waits:
                self.asked.append(tuple(messages))
                raise waits.pop(0)
            async for piece in super().stream(messages, sampling, adapter):
                yield piece
        finally:
            self.active -= 1


def run(model, items, out=None, **options):
    return asyncio.run(generate_batch(model, items, out, **options))


def lines(path) -> list[dict]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


# --- one run ------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [1, 3, 100])
def test_results_come_in_the_order_of_the_requests_and_the_bound_is_kept(tmp_path, concurrency):
    model, items = Lively(), requests(20)
    results = run(model, items, tmp_path / "new" / "out.jsonl", concurrency=concurrency)
    assert [result.id for result in results] == [item.id for item in items]
    assert [result.text for result in results] == [echo(item.messages) for item in items]
    assert all(result.ok and result.finish_reason == "stop" and result.tries == 1 for result in results)
    assert results[3].usage == Usage(model.tokens.count_messages(items[3].messages), 6)
    assert model.most_active == min(concurrency, 20)
    assert [line["id"] for line in lines(tmp_path / "new" / "out.jsonl")] == [item.id for item in items]


def test_nothing_to_do_is_done():
    assert run(ScriptedModel(), []) == []


def test_the_adapter_is_passed_on():
    model = Lively()
    run(model, [request(1, adapter="pumps-1a2b"), request(2)], concurrency=1)
    assert model.adapters == ["pumps-1a2b", None]


@pytest.mark.parametrize(
    "error",
    [EngineUnavailableError("gone"), EngineTimeoutError("late"), EngineFaultError("broken"), EngineError("odd")],
)
def test_what_can_pass_is_tried_again(error):
    model = Lively({"say 1": [error] * 3})
    results = run(model, requests(3), retries=3)
    assert [result.tries for result in results] == [1, 4, 1]
    assert all(result.ok for result in results)


def test_out_of_tries_it_fails_with_its_reason_and_the_others_go_on(tmp_path):
    model = Lively({"say 1": [EngineFaultError("a bad day")] * 9})
    results = run(model, requests(4), tmp_path / "out.jsonl", retries=2)
    assert [result.ok for result in results] == [True, False, True, True]
    assert (results[1].error, results[1].error_kind, results[1].tries) == ("a bad day", "EngineFaultError", 3)
    assert lines(tmp_path / "out.jsonl")[1]["error"] == "a bad day"


def test_what_no_waiting_mends_is_asked_once():
    model = Lively({"say 0": [DoesNotFitError("too long")]})
    results = run(model, requests(2), retries=5)
    assert [(result.error_kind, result.tries) for result in results] == [("DoesNotFitError", 1), (None, 1)]


def test_a_busy_engine_is_waited_for_as_long_as_it_says_and_that_costs_no_try():
    model = Lively({"say 0": [EngineBusyError("full", 0.15), EngineBusyError("full", 0.15)]})
    started = time.monotonic()
    results = run(model, requests(1), retries=0)
    assert time.monotonic() - started >= 0.3
    assert (results[0].ok, results[0].tries) == (True, 1)


def test_an_engine_that_says_how_long_it_is_away_is_not_asked_before():
    model = Lively({"say 0": [EngineUnavailableError("starting", 0.2)]})
    started = time.monotonic()
    results = run(model, requests(1), retries=1)
    assert time.monotonic() - started >= 0.2
    assert results[0].ok


def test_an_engine_that_stays_busy_is_given_up(monkeypatch):
    monkeypatch.setattr(batch, "BUSY_PATIENCE_S", 0.05)
    model = Lively({"say 0": [EngineBusyError("full", 0.02)] * 9})
    results = run(model, requests(2))
    assert (results[0].error_kind, results[0].tries) == ("EngineBusyError", 0)
    assert model.asked_for.count("say 0") == 3
    assert results[1].ok


def test_an_engine_that_is_gone_ends_the_batch_and_the_next_run_goes_on(tmp_path):
    class Gone(Lively):
        async def stream(self, messages, sampling, adapter=None):
            if messages[-1].content in {f"say {n}" for n in range(5)}:
                async for piece in super().stream(messages, sampling, adapter):
                    yield piece
            else:
                self.asked.append(tuple(messages))
                raise EngineUnavailableError("not reachable")

    out, items, model = tmp_path / "out.jsonl", requests(500), Gone()
    results = run(model, items, out, concurrency=4, retries=2)
    assert sum(result.ok for result in results) == 5
    assert {result.error for result in results if not result.ok} == {"not reachable"}
    assert len(model.asked) < 40, "the rest is not asked one by one"
    again = Lively()
    assert all(result.ok for result in run(again, items, out))
    assert len(again.asked) == 495


def test_an_answer_cut_by_the_models_closing_is_not_taken_for_one():
    class Closing(ScriptedModel):
        async def stream(self, messages, sampling, adapter=None):
            self.asked.append(tuple(messages))
            async for piece in ScriptedModel("half").stream(messages, sampling):
                finish = "cancelled" if piece.finish_reason and len(self.asked) == 1 else piece.finish_reason
                yield batch.replace(piece, finish_reason=finish)

    assert run(Closing(), requests(1))[0].tries == 2


def test_a_bug_is_raised_as_it_is_and_ends_the_streams_under_way(tmp_path):
    model = Lively({"say 3": [ZeroDivisionError()]})
    with pytest.raises(ZeroDivisionError):
        run(model, requests(10), tmp_path / "out.jsonl", concurrency=4)
    assert model.active == 0


def test_progress_is_told_after_each_request():
    told = []
    model = Lively({"say 1": [DoesNotFitError("too long")]})
    run(model, requests(4), progress=told.append)
    assert [(each.done + each.failed, each.remaining) for each in told] == [(1, 3), (2, 2), (3, 1), (4, 0)]
    assert (told[-1].answered, told[-1].failed, told[-1].completion_tokens) == (3, 1, 18)
    assert told[-1].tokens_per_s == pytest.approx(18 / told[-1].seconds)
    assert told[0].remaining_s == pytest.approx(3 * told[0].seconds)
    assert told[-1].remaining_s == 0


def test_wrong_use_is_refused():
    with pytest.raises(UsageError, match="'7' stands twice"):
        run(ScriptedModel(), [request(7), request(7, "other")])
    with pytest.raises(UsageError, match="concurrency is 0"):
        run(ScriptedModel(), requests(1), concurrency=0)


# --- the journal --------------------------------------------------------------------------------


def test_what_is_finished_is_not_asked_again_and_what_failed_is(tmp_path):
    out, items = tmp_path / "out.jsonl", requests(6)
    first = run(Lively({"say 2": [DoesNotFitError("too long")]}), items, out)
    told, model = [], Lively()
    second = run(model, items, out, progress=told.append)
    assert model.asked_for == ["say 2"]
    assert [second[n] for n in (0, 1, 3, 4, 5)] == [first[n] for n in (0, 1, 3, 4, 5)]
    assert second[2].ok
    assert (told[0].resumed, told[0].answered, told[0].done, told[0].remaining) == (5, 1, 6, 0)
    assert len(lines(out)) == 6
    assert run(ScriptedModel(ZeroDivisionError), items, out) == second


@pytest.mark.parametrize(
    "changed",
    [
        request(0, "another text"),
        request("other", "say 0"),
        request(0, adapter="pumps"),
        request(0, sampling=Sampling(21)),
        request(0, sampling=Sampling(20, temperature=0.5)),
        request(0, sampling=Sampling(20, top_p=0.5)),
        request(0, sampling=Sampling(20, seed=1)),
        request(0, sampling=Sampling(20, stop=("x",))),
        request(0, sampling=Sampling(20, json_schema={"type": "object"})),
    ],
)
def test_a_request_that_changed_is_another_one_and_the_old_answer_is_kept(tmp_path, changed):
    out, model = tmp_path / "out.jsonl", Lively()
    run(model, requests(1), out)
    run(model, [changed], out)
    assert len(model.asked) == 2
    run(model, [*requests(1)], out)
    assert len(model.asked) == 2
    assert {line["key"] for line in lines(out)} == {request_key(item, model.name) for item in (request(0), changed)}


def test_another_models_answers_are_not_taken(tmp_path):
    out, other = tmp_path / "out.jsonl", ScriptedModel("no", name="other")
    run(Lively(), requests(1), out)
    assert run(other, requests(1), out)[0].text == "no"


def test_two_processes_do_not_write_one_journal(tmp_path):
    out = tmp_path / "out.jsonl"

    class Nosy(ScriptedModel):
        async def stream(self, messages, sampling, adapter=None):
            with pytest.raises(StateError, match="another batch is writing"):
                await generate_batch(ScriptedModel(), requests(1), out)
            async for piece in super().stream(messages, sampling, adapter):
                yield piece

    assert run(Nosy("fine"), requests(1), out)[0].ok


def test_a_damaged_line_is_named_and_nothing_is_lost(tmp_path):
    out = tmp_path / "out.jsonl"
    run(Lively(), requests(3), out)
    damaged = out.read_bytes().replace(b'"key"', b'"kex"', 1)
    out.write_bytes(damaged)
    with pytest.raises(StateError, match="line 1"):
        run(Lively(), requests(3), out)
    assert out.read_bytes() == damaged


def test_a_full_disk_ends_the_batch_and_spoils_nothing(tmp_path, monkeypatch):
    out = tmp_path / "out.jsonl"
    model = Lively()
    real = batch.Journal.append

    def full(self, key, result):
        if len(out.read_bytes().split(b"\n")) == 3:
            self._file.close()
            self._file = Path("/dev/full").open("ab", buffering=0)  # noqa: SIM115 - the journal closes it
        real(self, key, result)

    monkeypatch.setattr(batch.Journal, "append", full)
    with pytest.raises(StateError, match="No space left"):
        run(model, requests(9), out)
    monkeypatch.undo()
    again = Lively()
    run(again, requests(9), out)
    assert len(again.asked) == 7


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 12),
    st.integers(1, 5),
    st.lists(st.tuples(st.integers(0, 12), st.floats(0, 1)), max_size=4),
)
def test_however_often_it_dies_each_request_is_answered_once_and_in_order(count, concurrency, deaths):
    """Each run dies at some request, and its journal is then cut at any byte of the last line, or not at all."""
    items = requests(count)
    with TemporaryDirectory() as folder:
        out = Path(folder) / "out.jsonl"
        kept: Counter[str] = Counter()
        for dies_after, share in [*deaths, (None, 1.0)]:
            finished = {line["id"] for line in lines(out)} if out.exists() else set()
            model = Lively(dies_after=dies_after)
            try:
                results = run(model, items, out, concurrency=concurrency)
            except Killed:
                results = None
            assert not finished & {text.removeprefix("say ") for text in model.asked_for}
            kept.update(line["id"] for line in lines(out) if line["id"] not in finished)
            if results is None and (content := out.read_bytes()):
                last = content.rfind(b"\n", 0, -1) + 1
                cut = last + round(share * (len(content) - last))
                if cut < len(content):
                    out.write_bytes(content[:cut])
                    kept[json.loads(content[last:])["id"]] -= 1
            elif results is not None:
                break
        assert results is not None
        assert [result.text for result in results] == [echo(item.messages) for item in items]
        assert +kept == Counter(item.id for item in items)
        assert [line["id"] for line in lines(out)] == [item.id for item in items]


CHILD = """
import asyncio, sys
from pathlib import Path
from rag.fakes import ScriptedModel
from rag.generation.batch import generate_batch
from rag.generation.journal import BatchRequest
from rag.types import Message, Sampling

class Slow(ScriptedModel):
    async def stream(self, messages, sampling, adapter=None):
        async for piece in super().stream(messages, sampling, adapter):
            await asyncio.sleep(0.01)
            yield piece

requests = [
    BatchRequest(str(n), (Message("system", "Be brief."), Message("user", f"say {n}")), Sampling(20))
    for n in range(200)
]
asyncio.run(generate_batch(Slow(lambda messages: "from the child"), requests, Path(sys.argv[1]), concurrency=3))
"""


def test_after_kill_9_the_next_process_goes_on_where_it_was(tmp_path):
    out = tmp_path / "out.jsonl"
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(CHILD), str(out)], cwd=ROOT)
    try:
        deadline = time.monotonic() + 30
        while not out.exists() or out.read_bytes().count(b"\n") < 5:
            assert time.monotonic() < deadline
            assert child.poll() is None
            time.sleep(0.01)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    with out.open("ab") as file:
        file.write(b'{"key": "torn')
    finished = {line["id"] for line in lines(out)}
    assert 5 <= len(finished) < 200
    model = Lively()
    results = run(model, requests(200), out)
    assert sorted(model.asked_for) == sorted(f"say {n}" for n in range(200) if str(n) not in finished)
    for number, result in enumerate(results):
        assert result.ok
        assert result.text == ("from the child" if str(number) in finished else f"say {number}: да\u2028\n\t{{}}")
