"""The client against a real server whose answers follow a script."""

import asyncio
import subprocess
import sys
import time
from contextlib import aclosing, closing

import httpx
import pytest

from rag.errors import DoesNotFitError, EngineBusyError, EngineFaultError, EngineTimeoutError, NotFoundError
from rag.types import EvidencePacked, TextDelta
from service.client import (
    AnswerEvent,
    AsyncClient,
    Client,
    InvalidRequestError,
    NotAllowedError,
    RateLimitedError,
    ServiceFailedError,
    ServiceTimeoutError,
    TextEvent,
    Turn,
    UnknownNameError,
    UnreachableError,
)


def test_an_answer_is_the_same_whole_and_streamed(running, scripts):
    with running(scripts.library()) as url, Client(url) as client:
        whole = client.ask("Which torque?")
        *pieces, last = client.stream("Which torque?")
    assert isinstance(last, AnswerEvent)
    assert all(isinstance(piece, TextEvent) for piece in pieces)
    assert "".join(piece.text for piece in pieces) == last.answer.text == whole.text == scripts.cited.text
    assert last.answer.citations == whole.citations
    assert last.answer.usage == whole.usage
    assert (whole.usage.prompt_tokens, whole.usage.cached_tokens) == (100, 64)
    first, second = whole.citations
    assert first.quote == scripts.passage == scripts.document.text[first.start : first.end]
    assert (first.supported, second.supported, whole.supported, whole.abstained) == (True, False, False, False)
    assert whole.trace is None


def test_an_abstention_names_the_nearest_documents(running, scripts):
    library = scripts.library(scripts.steps_of(scripts.abstained))
    with running(library) as url, Client(url) as client:
        answer = client.ask("Who won?")
    assert answer.abstained
    assert [each.document for each in answer.provenance.nearest] == [scripts.document.source]


def test_what_is_asked_arrives(running, scripts):
    library = scripts.library()
    with running(library) as url, Client(f"{url}/v1/") as client:
        answer = client.ask(
            "And the seal?",
            collection="archive",
            model="rag@pumps",
            history=[Turn("user", "Which torque?"), Turn("assistant", "42 Nm.")],
            instructions="Be brief.",
            max_tokens=9,
            temperature=0.5,
            seed=3,
            trace=True,
        )
    [asked] = library.answerer.asked
    assert (asked.text, asked.collection, asked.strategy, asked.instructions) == (
        "And the seal?", "archive", "rag@pumps", "Be brief.",
    )  # fmt: skip
    assert [(turn.role, turn.content) for turn in asked.history] == [("user", "Which torque?"), ("assistant", "42 Nm.")]
    assert (asked.max_tokens, asked.temperature, asked.seed) == (9, 0.5, 3)
    assert answer.trace is not None


def test_search_models_and_collections(running, scripts):
    library = scripts.library()
    with running(library) as url, Client(url) as client:
        [hit] = client.search("torque", collection="archive", top_k=3)
        models, collections = client.models(), client.collections()
    assert library.searched == [("torque", "archive", 3)]
    assert hit.text == scripts.document.text[hit.start : hit.end]
    assert hit.channels["lexical"].rank == 2
    assert models[0].id == "rag"
    assert [(each.name, each.dimension) for each in collections] == [("archive", 384), ("default", 384)]


def test_the_same_for_asyncio(running, scripts):
    async def talk(url):
        async with AsyncClient(url) as client:
            whole = await client.ask("Which torque?")
            events = [event async for event in client.stream("Which torque?")]
            return whole, events, await client.search("x"), await client.models(), await client.collections()

    with running(scripts.library()) as url:
        whole, events, hits, models, collections = asyncio.run(talk(url))
    assert events[-1].answer.text == whole.text == scripts.cited.text
    assert (len(hits), models[0].id, len(collections)) == (1, "rag", 2)


ERRORS = [
    (NotFoundError("there is no strategy"), UnknownNameError),
    (DoesNotFitError("too long"), InvalidRequestError),
    (EngineBusyError("full", 3), RateLimitedError),
    (EngineFaultError("broken"), ServiceFailedError),
    (EngineTimeoutError("slow"), ServiceTimeoutError),
]


@pytest.mark.parametrize(("error", "raised"), ERRORS)
def test_errors_have_the_services_words_and_say_what_to_do_next(running, scripts, error, raised):
    async def ask(url):
        async with AsyncClient(url) as client:
            with pytest.raises(raised, match=str(error)):
                await client.ask("?")
            with pytest.raises(raised, match=str(error)):
                [event async for event in client.stream("?")]

    with running(scripts.library([error])) as url:
        with Client(url) as client, pytest.raises(raised, match=str(error)) as whole:
            client.ask("?")
        with Client(url) as client, pytest.raises(raised, match=str(error)):
            list(client.stream("?"))
        asyncio.run(ask(url))
    assert whole.value.retry_after_s == (3 if isinstance(error, EngineBusyError) else None)
    assert whole.value.status is not None


@pytest.mark.parametrize(("error", "raised"), ERRORS)
def test_an_error_in_the_middle_is_of_the_same_kind(running, scripts, error, raised):
    library = scripts.library([EvidencePacked(()), TextDelta("The "), error])
    with running(library) as url, Client(url) as client:
        events = client.stream("?")
        assert next(events) == TextEvent("The ")
        with pytest.raises(raised, match=str(error)):
            list(events)


def test_a_wrong_field_is_named(running, scripts):
    with running(scripts.library()) as url, Client(url) as client, pytest.raises(InvalidRequestError) as caught:
        client.search("")
    assert caught.value.param == "query"


def test_a_stream_that_is_closed_stops_the_answer(running, scripts):
    async def leave(url):
        async with AsyncClient(url) as client, aclosing(client.stream("?")) as events:
            assert await anext(events) == TextEvent("The ")

    library = scripts.library([EvidencePacked(()), TextDelta("The "), 60.0])
    with running(library) as url:
        with Client(url) as client, closing(client.stream("?")) as events:
            assert next(events) == TextEvent("The ")
        asyncio.run(leave(url))
        deadline = time.monotonic() + 5
        while library.answerer.running and time.monotonic() < deadline:
            time.sleep(0.02)
    assert library.answerer.cut_off == 2


def replying(status=200, **reply) -> Client:
    return Client("http://qa", transport=httpx.MockTransport(lambda request: httpx.Response(status, **reply)))


@pytest.mark.parametrize(
    ("reply", "raised"),
    [
        (replying(401, json={"error": {"message": "no such key", "code": "invalid_api_key"}}), NotAllowedError),
        (replying(403, json={"error": {"message": "not yours"}}), NotAllowedError),
        (replying(502, text="<html>Bad gateway</html>"), ServiceFailedError),
        (replying(200, text="hello"), ServiceFailedError),
        (replying(200, json={"hits": [{"document": 3}]}), ServiceFailedError),
        (replying(200, json=[]), ServiceFailedError),
    ],
)
def test_replies_of_something_else_are_told(reply, raised):
    with pytest.raises(raised):
        reply.search("x")
    with pytest.raises(raised):
        reply.ask("x")


def test_a_stream_that_breaks_off_is_no_answer():
    client = replying(text='data: {"choices": [{"delta": {"content": "The "}}]}\n\n')
    with pytest.raises(UnreachableError, match="ended before"):
        list(client.stream("?"))


def test_nobody_there():
    with Client("http://127.0.0.1:9") as client, pytest.raises(UnreachableError, match="domainqa serve"):
        client.models()


def test_silence_is_a_timeout(running, scripts):
    library = scripts.library([60.0])
    with running(library) as url, Client(url, timeout_s=0.2) as client, pytest.raises(ServiceTimeoutError):
        client.ask("?")


@pytest.mark.parametrize(
    ("argument", "variable", "sent"),
    [
        ("dqa_a", None, "Bearer dqa_a"),
        (None, "dqa_b", "Bearer dqa_b"),
        ("dqa_a", "dqa_b", "Bearer dqa_a"),
        (None, None, None),
    ],
)
def test_the_key_is_the_arguments_or_the_environments(monkeypatch, argument, variable, sent):
    seen = []

    def reply(request):
        seen.append(request.headers.get("authorization"))
        return httpx.Response(200, json={"data": []})

    monkeypatch.delenv("DOMAINQA_API_KEY", raising=False)
    if variable is not None:
        monkeypatch.setenv("DOMAINQA_API_KEY", variable)
    assert Client("http://qa", argument, transport=httpx.MockTransport(reply)).models() == []
    assert seen == [sent]


def test_importing_it_is_light():
    code = "import sys, service.client\n"
    code += "print([m for m in ('torch', 'transformers', 'fastapi', 'sqlalchemy', 'openai') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
