"""The HTTP engine against a real server that misbehaves on purpose."""

import asyncio
import email.utils
import importlib.util
import logging
import socket
import time
import traceback
from contextlib import aclosing
from pathlib import Path

import pytest

from rag.config import GenerationSettings
from rag.errors import (
    ConfigError,
    DoesNotFitError,
    EngineBusyError,
    EngineError,
    EngineFaultError,
    EngineTimeoutError,
    EngineUnavailableError,
    NotFoundError,
    NotSupportedError,
)
from rag.generation.batch import generate_batch
from rag.generation.journal import BatchRequest
from rag.generation.openai_server import OpenAIChatModel
from rag.generation.server_errors import retry_after_s
from rag.generation.server_tokens import ApproximateTokenCounter
from rag.generation.tokens import LocalTokenCounter, load_tokenizer
from rag.interfaces import Endpoint
from rag.types import Generated, Message, Sampling, Usage


def _load(name: str):
    # Test folders are no packages, so a file beside this one is loaded by its path.
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fake = _load("model_server")

MESSAGES = (Message("system", "Be brief."), Message("user", "the pump?"))
KEY = "key-0123456789-secret"


@pytest.fixture(scope="module")
def fresh_server():
    with fake.serving() as fresh:
        yield fresh


@pytest.fixture
def server(fresh_server):
    return fresh_server()


def model_at(url, environment=None, **settings) -> OpenAIChatModel:
    given = {"engine": "openai", "model": fake.MODEL, "base_url": url, "timeout_s": 10, "retries": 0} | settings
    return OpenAIChatModel(GenerationSettings(**given), environment=environment or {})


def collect(model, sampling=Sampling(50), adapter=None):  # noqa: B008 - frozen
    async def run():
        try:
            async with aclosing(model.stream(MESSAGES, sampling, adapter)) as stream:
                return [piece async for piece in stream]
        finally:
            await model.aclose()

    return asyncio.run(run())


def test_a_stream_comes_piece_by_piece_with_usage_at_its_end(server):
    pieces = collect(model_at(server.url), Sampling(50, temperature=0.5, top_p=0.9, seed=7, stop=("END",)))
    assert [piece.text for piece in pieces] == ["Hel", "lo", ""]
    assert pieces[-1].finish_reason == "stop"
    assert pieces[-1].usage == Usage(12, 2, 8)
    asked = server.asked[0]
    assert asked["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "the pump?"}]
    assert asked["model"] == fake.MODEL
    assert (asked["max_tokens"], asked["temperature"], asked["top_p"], asked["seed"]) == (50, 0.5, 0.9, 7)
    assert asked["stop"] == ["END"]
    assert asked["stream_options"] == {"include_usage": True}


def test_an_adapter_is_the_model_that_is_asked(server):
    collect(model_at(server.url), adapter="pumps-1a2b")
    assert server.asked[0]["model"] == "pumps-1a2b"


def test_usage_is_counted_where_the_server_does_not_tell(server):
    server.script = [fake.says(*fake.ANSWER[:3], fake.ANSWER[4])]
    assert collect(model_at(server.url))[-1].usage == Usage(4, 1, None)


def test_a_length_stop_is_told(server):
    server.script = [fake.says(fake.chunk("Hel"), fake.chunk(reason="length"), fake.chunk(usage=fake.USAGE))]
    assert collect(model_at(server.url))[-1].finish_reason == "length"


# --- whole answers ------------------------------------------------------------------------------


def complete(model, sampling=Sampling(50), adapter=None):  # noqa: B008 - frozen
    async def run():
        try:
            return await model.complete(MESSAGES, sampling, adapter)
        finally:
            await model.aclose()

    return asyncio.run(run())


def test_a_whole_answer_is_asked_for_as_a_stream_is(server):
    sampling = Sampling(50, temperature=0.5, top_p=0.9, seed=7, stop=("END",), json_schema=SCHEMA)
    collect(model_at(server.url), sampling, "pumps-1a2b")
    server.script = [fake.answers_whole()]
    assert complete(model_at(server.url), sampling, "pumps-1a2b") == Generated("Hello", "stop", Usage(12, 2, 8))
    streamed, whole = server.asked
    assert whole == {**{key: streamed[key] for key in streamed if key != "stream_options"}, "stream": False}


def test_a_whole_answer_without_usage_is_counted(server):
    server.script = [fake.answers_whole("Hello you", "length", usage=None)]
    assert complete(model_at(server.url)) == Generated("Hello you", "length", Usage(4, 2, None))


def test_a_whole_answer_is_tried_again_and_its_failure_told(server):
    server.script = [fake.fails(500), fake.fails(503), fake.answers_whole()]
    assert complete(model_at(server.url, retries=2)).text == "Hello"
    server.script = [fake.fails(429, headers={"Retry-After": "7"})]
    with pytest.raises(EngineBusyError) as caught:
        complete(model_at(server.url, retries=2))
    assert caught.value.retry_after_s == 7
    for broken in (fake.answers_whole(choices=[]), fake.answers_whole(reason="content_filter")):
        server.script = [broken]
        with pytest.raises(EngineFaultError):
            complete(model_at(server.url))


def test_a_whole_answer_that_is_late_or_not_wanted_any_more_is_let_go_of(server):
    server.script = [fake.never_answers()]
    with pytest.raises(EngineTimeoutError):
        complete(model_at(server.url, timeout_s=0.2))
    assert server.ended.wait(5)
    server.ended.clear()

    async def cancel():
        model = model_at(server.url, concurrency=1)
        asking = asyncio.create_task(model.complete(MESSAGES, Sampling(5)))
        while len(server.asked) < 2:  # noqa: ASYNC110 - set by another thread
            await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        server.script = [fake.answers_whole()]
        assert (await model.complete(MESSAGES, Sampling(5))).text == "Hello"
        await model.aclose()

    asyncio.run(cancel())
    assert server.ended.wait(5)


def test_a_batch_asks_for_whole_answers(server):
    server.script = [fake.answers_whole()]

    async def run():
        model = model_at(server.url)
        results = await generate_batch(model, [BatchRequest("one", MESSAGES, Sampling(5))])
        await model.aclose()
        return results

    (result,) = asyncio.run(run())
    assert (result.text, result.finish_reason, result.usage) == ("Hello", "stop", Usage(12, 2, 8))
    assert not server.asked[0]["stream"]


SCHEMA = {"type": "object", "properties": {"question": {"type": "string"}}}


def test_a_schema_is_asked_for_as_openai_does(server):
    collect(model_at(server.url), Sampling(50, json_schema=SCHEMA))
    collect(model_at(server.url))
    structured, plain = server.asked
    assert structured["response_format"]["type"] == "json_schema"
    assert structured["response_format"]["json_schema"] | {"name": "", "strict": True} == {
        "name": "", "schema": SCHEMA, "strict": True,
    }  # fmt: skip
    assert "response_format" not in plain


@pytest.mark.parametrize("status", [400, 422, 501])
def test_a_server_that_refuses_a_schema_says_so(server, status):
    server.script = [fake.fails(status, "response_format is not known")]
    with pytest.raises(NotSupportedError, match="response_format is not known"):
        collect(model_at(server.url, retries=0), Sampling(50, json_schema=SCHEMA))
    with pytest.raises(EngineFaultError):
        collect(model_at(server.url, retries=0))


def test_a_prompt_too_long_is_no_refusal_of_the_schema(server):
    server.script = [fake.fails(400, "This model's maximum context length is 8192 tokens.")]
    with pytest.raises(DoesNotFitError):
        collect(model_at(server.url), Sampling(50, json_schema=SCHEMA))


# --- tries and errors ---------------------------------------------------------------------------


@pytest.mark.parametrize("failure", [fake.fails(500), fake.fails(503), fake.breaks_after(), fake.says()])
def test_a_failure_before_the_first_token_is_tried_again(server, failure):
    server.script = [failure, failure, fake.says(*fake.ANSWER)]
    pieces = collect(model_at(server.url, retries=2))
    assert "".join(piece.text for piece in pieces) == "Hello"
    assert len(server.asked) == 3


def test_tries_end(server):
    server.script = [fake.fails(500, "the GPU fell off")]
    with pytest.raises(EngineFaultError, match="500: the GPU fell off"):
        collect(model_at(server.url, retries=1))
    assert len(server.asked) == 2


@pytest.mark.parametrize("rest", [fake.breaks_after(fake.chunk("Hel")), fake.says(fake.chunk("Hel"))])
def test_nothing_is_tried_again_once_a_piece_was_given(server, rest):
    server.script = [rest, fake.says(*fake.ANSWER)]
    model = model_at(server.url, retries=2)
    texts = []

    async def run():
        try:
            async with aclosing(model.stream(MESSAGES, Sampling(50))) as stream:
                async for piece in stream:
                    texts.append(piece.text)
        finally:
            await model.aclose()

    with pytest.raises(EngineError):
        asyncio.run(run())
    assert texts == ["Hel"]
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("failure", "error", "words"),
    [
        (fake.fails(400, "temperature is too high"), EngineFaultError, "400: temperature is too high"),
        (fake.fails(401, "bad key"), EngineFaultError, "DOMAINQA_ENGINE_API_KEY"),
        (fake.fails(404, "no such model"), EngineFaultError, "no such model"),
        (fake.fails(503, "loading"), EngineUnavailableError, "not ready: loading"),
        (fake.fails(400, "This model's maximum context length is 8192 tokens."), DoesNotFitError, "8192"),
        (fake.fails(400, "too long", code="context_length_exceeded"), DoesNotFitError, "too long"),
        (fake.says(b'data: {"error": {"message": "engine died"}}\n\n'), EngineFaultError, "engine died"),
        (fake.says(b"data: {nonsense\n\n"), EngineFaultError, "no OpenAI-compatible server"),
        (fake.says(b"<html>hello</html>"), EngineFaultError, "base_url"),
        (fake.says(fake.chunk(reason="content_filter")), EngineFaultError, "content_filter"),
    ],
)
def test_failures_are_told_by_what_to_do_next(server, failure, error, words):
    server.script = [failure]
    with pytest.raises(error, match=words):
        collect(model_at(server.url))


def test_an_adapter_the_server_does_not_have_is_not_found(server):
    server.script = [fake.fails(404, "The model `nope` does not exist.")]
    with pytest.raises(NotFoundError, match="nope"):
        collect(model_at(server.url), adapter="nope")


def test_a_busy_server_is_not_asked_again_and_its_wait_is_passed_on(server):
    server.script = [fake.fails(429, "full", headers={"Retry-After": "7"})]
    with pytest.raises(EngineBusyError, match="full") as caught:
        collect(model_at(server.url, retries=3))
    assert caught.value.retry_after_s == 7
    assert len(server.asked) == 1


def test_retry_after_is_seconds_or_a_date():
    assert retry_after_s("2.5") == 2.5
    date = email.utils.formatdate(time.time() + 60, usegmt=True)
    assert 50 < retry_after_s(date) <= 60
    assert retry_after_s(None) == retry_after_s("soon") == retry_after_s("-3") == retry_after_s("nan") == 1.0


def test_a_server_that_is_not_there_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(EngineUnavailableError, match=url):
            collect(model_at(url, retries=1))
        with pytest.raises(EngineUnavailableError, match=url):
            _ = model_at(url).window


@pytest.mark.parametrize("parts", [(fake.chunk("Hel"), fake.chunk("lo")), ()])
def test_a_server_that_hangs_times_out_and_is_let_go(server, parts):
    server.script = [fake.says(*parts, b": still here\n\n", b": and here\n\n", pause_s=0.3)]
    started = time.monotonic()
    with pytest.raises(EngineTimeoutError, match=r"0\.5 s"):
        collect(model_at(server.url, timeout_s=0.5))
    assert time.monotonic() - started < 3
    assert server.ended.wait(5)


def test_closing_the_stream_closes_the_connection(server):
    server.script = [fake.says(*[fake.chunk("word ")] * 500, pause_s=0.02)]
    model = model_at(server.url)

    async def close_early():
        stream = model.stream(MESSAGES, Sampling(500))
        await anext(stream)
        await stream.aclose()
        ended = await asyncio.to_thread(server.ended.wait, 5)
        await model.aclose()
        return ended

    assert asyncio.run(close_early())
    assert server.sent < 250


# --- places -------------------------------------------------------------------------------------


def test_places_and_queue_are_bounded_and_freed(server):
    server.script = [fake.says(*fake.ANSWER, pause_s=0.05)]
    model = model_at(server.url, concurrency=2, max_queue=1)
    running = most = 0

    async def ask():
        nonlocal running, most
        async with aclosing(model.stream(MESSAGES, Sampling(50))) as stream:
            first = True
            async for _ in stream:
                running += first
                first = False
                most = max(most, running)
            running -= 1
        return "done"

    async def crowd():
        outcomes = await asyncio.gather(*(ask() for _ in range(5)), return_exceptions=True)
        again = await ask()
        await model.aclose()
        return outcomes, again

    outcomes, again = asyncio.run(crowd())
    assert outcomes.count("done") == 3
    assert sum(isinstance(outcome, EngineBusyError) for outcome in outcomes) == 2
    assert most == 2
    assert again == "done"


def test_one_model_serves_several_event_loops(server):
    model = model_at(server.url)
    assert [len(collect(model)) for _ in range(3)] == [3, 3, 3]


# --- window and tokens --------------------------------------------------------------------------


def test_the_window_is_the_servers_or_a_smaller_one_that_was_asked_for(server):
    assert model_at(server.url).window == 2048
    assert model_at(server.url, window=1024).window == 1024
    with pytest.raises(ConfigError, match=r"4096.*2048"):
        _ = model_at(server.url, window=4096).window


def test_a_server_that_does_not_tell_needs_the_setting(server):
    server.models = [{"id": "another", "object": "model"}]
    assert model_at(server.url, window=1024).window == 1024
    with pytest.raises(ConfigError, match=r"another.*generation\.window"):
        _ = model_at(server.url).window


def test_a_server_that_counts_is_asked_once_a_text(server):
    counter = model_at(server.url).tokens
    assert counter.exact
    assert [counter.count_text("three small words") for _ in range(3)] == [3, 3, 3]
    assert counter.count_messages(MESSAGES) == 4
    assert [body.get("prompt") for body in server.tokenized] == ["a", "three small words", None]
    assert server.tokenized[-1]["add_generation_prompt"] is True


def test_a_tokenizer_on_this_disk_stands_in_for_a_server_that_does_not_count(server, tiny_model):
    server.tokenizes = False
    counter = model_at(server.url, model=str(tiny_model)).tokens
    local = LocalTokenCounter(load_tokenizer(tiny_model, "tiny"), "tiny")
    assert counter.exact
    assert counter.count_messages(MESSAGES) == local.count_messages(MESSAGES)


def test_without_either_the_counter_says_that_it_guesses(server):
    server.tokenizes = False
    counter = model_at(server.url).tokens
    assert isinstance(counter, ApproximateTokenCounter)
    assert not counter.exact
    assert counter.count_text("") == 0
    assert counter.count_text("four") == 2


# --- the key ------------------------------------------------------------------------------------


def test_the_key_is_sent_and_never_told(server, caplog):
    caplog.set_level(logging.DEBUG)
    environment = {"DOMAINQA_ENGINE_API_KEY": KEY}
    model = model_at(server.url, environment)
    server.script = [fake.says(*fake.ANSWER), fake.fails(401, f"Incorrect API key provided: {KEY}")]
    collect(model)
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    with pytest.raises(EngineFaultError) as caught:
        collect(model)
    told = "".join(traceback.format_exception(caught.value)) + repr(model) + repr(model._link()) + caplog.text
    assert "Incorrect API key provided: ***" in told
    assert KEY not in told
    assert caught.value.__context__ is None


def test_without_a_key_nothing_of_this_machines_account_is_sent(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-someone")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "project-of-someone")
    collect(model_at(server.url))
    sent = server.headers[0]
    assert "authorization" not in sent
    assert not any("someone" in value for value in sent.values())


@pytest.mark.parametrize("url", ["http://me:secret-word@127.0.0.1/v1", "127.0.0.1:8000", "ftp://host/v1"])
def test_an_address_that_cannot_work_is_refused(url):
    with pytest.raises(ConfigError, match="base_url") as caught:
        model_at(url)
    assert "secret-word" not in str(caught.value)


class MovingServer:
    """A server of ours that is restarted: each start has another key, and in between it isn't there."""

    def __init__(self, url):
        self.at = Endpoint(url, "first-0123456789")

    def endpoint(self):
        if self.at is None:
            raise EngineUnavailableError("the engine is not ready: restarting after it died", 7.0)
        return self.at

    def state(self):
        return "ok" if self.at else "restarting after it died"


def test_a_restarted_server_is_asked_with_its_new_key(server):
    moving = MovingServer(server.url)
    settings = GenerationSettings(engine="vllm", model=fake.MODEL, retries=2, timeout_s=10)
    model = OpenAIChatModel(settings, environment={"DOMAINQA_ENGINE_API_KEY": KEY}, server=moving)

    async def run():
        for at in (moving.at, Endpoint(server.url, "second-0123456789")):
            moving.at = at
            async with aclosing(model.stream(MESSAGES, Sampling(50))) as stream:
                assert [piece async for piece in stream][-1].finish_reason == "stop"
        moving.at = None
        with pytest.raises(EngineUnavailableError, match="restarting after it died") as caught:
            await anext(model.stream(MESSAGES, Sampling(50)))
        assert caught.value.retry_after_s == 7.0
        with pytest.raises(EngineUnavailableError, match="restarting after it died"):
            await asyncio.to_thread(lambda: model.window)
        await model.aclose()

    asyncio.run(run())
    sent = [headers["authorization"] for headers in server.headers]
    assert sent == ["Bearer first-0123456789", "Bearer second-0123456789"]
    assert "0123456789" not in repr(model)


def test_a_server_of_ours_that_breaks_off_is_told_without_a_setting_that_would_not_help(server):
    server.script = [fake.breaks_after(fake.chunk("Hel"))]
    settings = GenerationSettings(engine="vllm", model=fake.MODEL, retries=2, timeout_s=10)
    model = OpenAIChatModel(settings, environment={}, server=MovingServer(server.url))
    with pytest.raises(EngineError, match="broke off in the middle of the answer") as caught:
        collect(model)
    assert isinstance(caught.value, EngineUnavailableError)
    assert "base_url" not in str(caught.value)
