"""OpenAI's own client, sync and async, against a real server."""

import asyncio
import time

import openai
import pytest

from rag.errors import DoesNotFitError, EngineBusyError, EngineFaultError, NotFoundError
from rag.types import EvidencePacked, TextDelta

MESSAGES = [{"role": "user", "content": "Which torque?"}]


def client_of(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=20)


def test_sync_whole_and_streamed(running, scripts):
    library = scripts.library()
    with running(library) as url, client_of(url) as client:
        assert next(model.id for model in client.models.list()) == "rag"
        whole = client.chat.completions.create(model="rag", messages=MESSAGES)
        chunks = list(client.chat.completions.create(model="rag", messages=MESSAGES, stream=True))
    message = whole.choices[0].message
    assert message.content == scripts.cited.text
    assert message.domainqa["citations"][0]["quote"] == scripts.passage
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == message.content
    assert chunks[-1].domainqa == message.domainqa
    assert whole.usage.total_tokens == 112
    assert library.closed


def test_an_answer_can_be_sent_back_as_history(running, scripts):
    library = scripts.library()
    with running(library) as url, client_of(url) as client:
        first = client.chat.completions.create(model="rag", messages=MESSAGES).choices[0].message
        client.chat.completions.create(
            model="rag",
            messages=[*MESSAGES, first, {"role": "user", "content": "And the seal?"}],
            extra_body={"collection": "archive"},
        )
    question = library.answerer.asked[1]
    assert [message.content for message in question.history] == ["Which torque?", scripts.cited.text]
    assert question.collection == "archive"


def test_the_accumulating_helper(running, scripts):
    asked = {"model": "rag", "messages": MESSAGES, "stream_options": {"include_usage": True}}
    with (
        running(scripts.library()) as url,
        client_of(url) as client,
        client.chat.completions.stream(**asked) as stream,
    ):
        last = [event.chunk for event in stream if event.type == "chunk"][-2]
        final = stream.get_final_completion()
    assert final.choices[0].message.content == scripts.cited.text
    assert final.usage.completion_tokens == 12
    assert last.domainqa["strategy"] == "rag"


def test_async_whole_and_streamed(running, scripts):
    async def talk(url: str) -> tuple[str, str, object]:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=20) as client:
            whole = await client.chat.completions.create(model="rag", messages=MESSAGES)
            stream = await client.chat.completions.create(model="rag", messages=MESSAGES, stream=True)
            chunks = [chunk async for chunk in stream]
            streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
            return whole.choices[0].message.content or "", streamed, chunks[-1].domainqa

    with running(scripts.library()) as url:
        whole, streamed, details = asyncio.run(talk(url))
    assert whole == streamed == scripts.cited.text
    assert details["citations"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (NotFoundError("there is no strategy"), openai.NotFoundError),
        (DoesNotFitError("too long"), openai.BadRequestError),
        (EngineBusyError("full", 1), openai.RateLimitError),
        (EngineFaultError("broken"), openai.InternalServerError),
    ],
)
def test_errors_are_the_clients_own_types(running, scripts, error, raised, stream):
    library = scripts.library([error])
    with running(library) as url, client_of(url) as client, pytest.raises(raised, match=str(error)):
        client.chat.completions.create(model="rag", messages=MESSAGES, stream=stream)


def test_an_unsupported_field_is_named(running, scripts):
    with (
        running(scripts.library()) as url,
        client_of(url) as client,
        pytest.raises(openai.BadRequestError) as caught,
    ):
        client.chat.completions.create(model="rag", messages=MESSAGES, n=2)
    assert caught.value.param == "n"


def test_an_error_in_the_middle_is_raised(running, scripts):
    library = scripts.library([EvidencePacked(()), TextDelta("The "), EngineFaultError("the engine died")])
    with running(library) as url, client_of(url) as client:
        stream = client.chat.completions.create(model="rag", messages=MESSAGES, stream=True)
        with pytest.raises(openai.APIError, match="the engine died"):
            list(stream)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_hangs_up_stops_the_answer(running, scripts, stream):
    library = scripts.library([EvidencePacked(()), TextDelta("The "), 60.0])
    with running(library) as url:
        if stream:
            with client_of(url) as client:
                answer = client.chat.completions.create(model="rag", messages=MESSAGES, stream=True)
                next(iter(answer))
                answer.close()
        else:
            with client_of(url) as client, pytest.raises(openai.APITimeoutError):
                client.with_options(timeout=0.3).chat.completions.create(model="rag", messages=MESSAGES)
        deadline = time.monotonic() + 5
        while library.answerer.running and time.monotonic() < deadline:
            time.sleep(0.02)
        assert library.answerer.running == 0
        assert library.answerer.cut_off == 1


def test_comments_are_passed_over(running, scripts):
    library = scripts.library([0.3, *scripts.steps_of(scripts.cited)])
    with running(library, heartbeat_s=0.05) as url, client_of(url) as client:
        chunks = list(client.chat.completions.create(model="rag", messages=MESSAGES, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == scripts.cited.text
