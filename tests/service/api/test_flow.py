"""The bounds of the service through the whole app: full, late, failing, stopping."""

import asyncio
import json
from contextlib import aclosing
from dataclasses import replace

import httpx
import pytest

from rag.config import GenerationSettings, ServerSettings, Settings
from rag.errors import EngineBusyError, EngineFaultError, EngineTimeoutError, EngineUnavailableError, UsageError
from rag.question import Question
from rag.types import EvidencePacked, Finished, TextDelta
from service.api.app import create_app
from service.api.errors import StoppingError
from service.api.flow import Flow
from service.api.metrics import Metrics

pytestmark = pytest.mark.anyio
PATH = "/v1/chat/completions"
LONG = 30.0


def bounded(library, **server):
    library.settings = Settings(server=ServerSettings(**server))
    return library


def asking(**more: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": "Which torque?"}], **more}


def flow_over(library) -> Flow:
    return Flow(library.answerer, library.settings, Metrics())


def last_event(response: httpx.Response) -> dict[str, object]:
    return json.loads(response.text.rstrip().split("\n\n")[-1].removeprefix("data: "))


# --- places and queue ---------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_an_overload_is_answered_or_refused_and_nothing_is_lost(client_for, scripts, stream):
    library = bounded(
        scripts.library(scripts.steps_of(scripts.cited, pause_s=0.01)), max_concurrent_answers=2, max_waiting=4
    )
    async with client_for(library) as client:
        responses = await asyncio.gather(*(client.post(PATH, json=asking(stream=stream)) for _ in range(12)))
        again = await client.post(PATH, json=asking())
    answered = [response for response in responses if response.status_code == 200]
    refused = [response for response in responses if response.status_code == 429]
    assert (len(answered), len(refused)) == (6, 6)
    assert all(("[DONE]" if stream else scripts.cited.text) in response.text for response in answered)
    for response in refused:
        assert int(response.headers["retry-after"]) >= 1
        assert response.json()["error"]["type"] == "rate_limit_error"
        assert "2 answers are under way and 4 questions wait" in response.json()["error"]["message"]
    assert len(library.answerer.asked) == 7, "what is refused reaches no answer flow"
    assert again.status_code == 200


async def test_unset_the_places_are_the_engines_and_one_for_each_thread(scripts):
    library = scripts.library()
    library.settings = Settings(
        generation=GenerationSettings(concurrency=3, engine="openai", base_url="http://x/v1"),
        server=ServerSettings(threads=2),
    )
    assert flow_over(library).places.limit == 5


async def test_a_client_that_leaves_the_queue_frees_it(scripts):
    library = bounded(scripts.library([LONG]), max_concurrent_answers=1, max_waiting=1)
    flow = flow_over(library)
    running, waiting = (asyncio.create_task(flow.answer(Question("?"))) for _ in range(2))
    await asyncio.sleep(0.01)
    with pytest.raises(EngineBusyError):
        await flow.answer(Question("?"))
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert (flow.places.running, flow.places.waiting) == (1, 0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert (flow.places.running, flow.places.waiting) == (0, 0)
    assert library.answerer.running == 0


async def test_the_wait_is_told_in_the_timings(client_for, scripts):
    library = bounded(scripts.library([0.2, Finished(scripts.cited)]), max_concurrent_answers=1)
    async with client_for(library) as client:
        responses = await asyncio.gather(*(client.post(PATH, json=asking()) for _ in range(2)))
    waited = sorted(
        response.json()["choices"][0]["message"]["domainqa"]["timings"]["waiting"] for response in responses
    )
    assert waited[0] < 0.1 < 0.15 < waited[1]


# --- deadline -----------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_a_late_answer_is_a_504(client_for, scripts, stream):
    library = bounded(scripts.library([EvidencePacked(()), LONG]), request_deadline_s=0.1)
    async with client_for(library) as client:
        response = await client.post(PATH, json=asking(stream=stream))
    assert response.status_code == 504
    assert "0.1 s" in response.json()["error"]["message"]
    assert response.json()["error"]["code"] == "engine_timeout"
    assert library.answerer.running == 0


async def test_in_the_middle_of_a_stream_it_is_an_event(client_for, scripts):
    library = bounded(scripts.library([TextDelta("The "), LONG]), request_deadline_s=0.1)
    async with client_for(library) as client:
        response = await client.post(PATH, json=asking(stream=True))
    assert response.status_code == 200
    assert last_event(response)["error"]["code"] == "engine_timeout"
    assert library.answerer.running == 0


async def test_the_wait_for_a_place_counts(client_for, scripts):
    library = bounded(
        scripts.library([0.25, Finished(scripts.cited)]), max_concurrent_answers=1, request_deadline_s=0.3
    )
    async with client_for(library) as client:
        responses = await asyncio.gather(*(client.post(PATH, json=asking()) for _ in range(2)))
    assert sorted(response.status_code for response in responses) == [200, 504]


async def test_a_timeout_of_the_work_itself_stays_what_it_is(scripts):
    flow = flow_over(scripts.library([TimeoutError("a bug")]))
    with pytest.raises(TimeoutError, match="a bug"):
        await flow.answer(Question("?"))


# --- circuit ------------------------------------------------------------------------------------


async def test_an_engine_that_keeps_failing_is_left_alone_and_probed(client_for, scripts):
    down = EngineUnavailableError("cannot be reached")
    library = bounded(
        scripts.library([down], [down], scripts.steps_of(scripts.cited)), circuit_failures=2, circuit_open_s=0.2
    )
    async with client_for(library) as client:
        first = [(await client.post(PATH, json=asking())).status_code for _ in range(2)]
        refused = await client.post(PATH, json=asking(stream=True))
        ready, metrics = await client.get("/readyz"), (await client.get("/metrics")).text
        verbatim = await client.post(PATH, json=asking(model="extractive"))
        await asyncio.sleep(0.2)
        half_open = await client.get("/readyz")
        probe = await client.post(PATH, json=asking())
        closed = (await client.get("/metrics")).text
    assert first == [503, 503]
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"
    assert "left alone" in refused.json()["error"]["message"]
    assert (ready.status_code, "cannot be reached" in ready.json()["parts"]["circuit"]) == (503, True)
    assert 'domainqa_circuit_state{state="open"} 1.0' in metrics
    assert verbatim.status_code == 200, "what needs no engine goes on"
    assert len(library.answerer.asked) == 4, "what was refused reached no answer flow"
    assert (half_open.status_code, probe.status_code) == (200, 200)
    assert 'domainqa_circuit_state{state="closed"} 1.0' in closed


@pytest.mark.parametrize("error", [EngineFaultError("fell off"), EngineTimeoutError("late")])
async def test_other_failures_open_it_too(scripts, error):
    flow = flow_over(bounded(scripts.library([error]), circuit_failures=2))
    for _ in range(2):
        with pytest.raises(type(error)):
            await flow.answer(Question("?"))
    assert flow.circuit.state == "open"


async def test_a_deadline_without_any_text_counts_as_a_failure(scripts):
    flow = flow_over(bounded(scripts.library([LONG]), circuit_failures=1, request_deadline_s=0.05))
    with pytest.raises(EngineTimeoutError):
        await flow.answer(Question("?"))
    assert flow.circuit.state == "open"


async def test_abstentions_clients_that_leave_and_wrong_requests_say_nothing_of_the_engine(scripts):
    abstained = replace(scripts.abstained, model="")
    down = [EngineFaultError("fell off")]
    library = bounded(
        scripts.library(down, [Finished(abstained)], [UsageError("no")], [TextDelta("a"), LONG], down),
        circuit_failures=2,
    )
    flow = flow_over(library)
    for error in (EngineFaultError, None, UsageError):
        if error is None:
            await flow.answer(Question("?"))
        else:
            with pytest.raises(error):
                await flow.answer(Question("?"))
    async with aclosing(flow.stream(Question("?"))) as events:
        await anext(events)
    assert flow.circuit.state == "closed"
    with pytest.raises(EngineFaultError):
        await flow.answer(Question("?"))
    assert flow.circuit.state == "open"


# --- drain --------------------------------------------------------------------------------------


async def test_stopping_refuses_those_who_wait_and_lets_those_who_run_end(client_for, scripts):
    library = bounded(scripts.library([2.0, *scripts.steps_of(scripts.cited)]), max_concurrent_answers=1)
    app = create_app(library)
    flow = app.state.flow
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8080") as client:
        running, waiting = (asyncio.create_task(client.post(PATH, json=asking(stream=True))) for _ in range(2))
        while not (flow._running and flow._waiting):  # noqa: ASYNC110 (nothing tells of it)
            await asyncio.sleep(0.01)
        flow.stop(20)
        done, _ = await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
        (refused,) = (task.result() for task in done)
        # Which of the two came first is the loop's choice.
        running = running if waiting in done else waiting
        late = await client.post(PATH, json=asking())
        assert not running.done()
        finished = await running
    for response in (refused, late):
        assert response.status_code == 503
        assert response.json()["error"]["code"] == "stopping"
        assert response.headers["connection"] == "close"
        assert response.headers["retry-after"]
    assert finished.text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("stream", [False, True])
async def test_what_runs_too_long_is_cut_and_told(client_for, scripts, stream):
    library = scripts.library([TextDelta("The "), LONG])
    app = create_app(library)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8080") as client:
        running = asyncio.create_task(client.post(PATH, json=asking(stream=stream)))
        await asyncio.sleep(0.05)
        app.state.flow.stop(0.1)
        response = await asyncio.wait_for(running, 2)
        metrics = (await client.get("/metrics")).text
    assert response.status_code == (200 if stream else 503)
    assert last_event(response)["error"]["code"] == "stopping"
    assert library.answerer.running == 0
    assert 'domainqa_answers_total{outcome="cut",strategy="rag"} 1.0' in metrics


async def test_an_answer_between_two_events_is_cut_at_the_next(scripts):
    flow = flow_over(scripts.library([TextDelta("The "), TextDelta("torque"), LONG]))
    events = flow.stream(Question("?"))
    await anext(events)
    flow.stop(0)
    await asyncio.sleep(0.01)
    with pytest.raises(StoppingError):
        async for _ in events:
            pass
