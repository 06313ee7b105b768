"""The chat protocol: OpenAI's schema, the same payload streamed or whole, and errors that say what to change."""

import json
from dataclasses import replace

import httpx
import pytest

from rag.errors import (
    CatalogError,
    ConfigError,
    DoesNotFitError,
    EngineBusyError,
    EngineFaultError,
    EngineTimeoutError,
    EngineUnavailableError,
    NotFoundError,
)
from rag.types import EvidencePacked, Message, TextDelta
from service.api.schemas import ChatCompletion, ChatCompletionChunk

pytestmark = pytest.mark.anyio
PATH = "/v1/chat/completions"


def asking(text: str = "Which torque?", **more: object) -> dict[str, object]:
    return {"model": "rag", "messages": [{"role": "user", "content": text}], **more}


def events_of(response: httpx.Response) -> list[str]:
    """The data of each event; comments are left out."""
    blocks = response.text.split("\n\n")
    assert blocks[-1] == ""
    return [block.removeprefix("data: ") for block in blocks[:-1] if not block.startswith(":")]


def chunks_of(response: httpx.Response) -> list[ChatCompletionChunk]:
    *events, last = events_of(response)
    assert last == "[DONE]"
    return [ChatCompletionChunk.model_validate_json(event) for event in events]


async def test_whole_answer(client_for, scripts):
    async with client_for(scripts.library()) as client:
        response = await client.post(PATH, json=asking())
    assert response.status_code == 200
    completion = ChatCompletion.model_validate(response.json())
    answer = scripts.cited
    assert completion.object == "chat.completion"
    assert completion.model == "rag"
    assert completion.id.startswith("chatcmpl-")
    assert [choice.message.content for choice in completion.choices] == [answer.text]
    assert completion.choices[0].finish_reason == "stop"
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (100, 12)
    assert completion.usage.total_tokens == 112
    assert completion.usage.prompt_tokens_details is not None
    assert completion.usage.prompt_tokens_details.cached_tokens == 64
    details = response.json()["choices"][0]["message"]["domainqa"]
    assert details["citations"][0] == {
        "marker": 1,
        "number": 1,
        "document": "pumps/zp-40.md",
        "document_id": "doc-1",
        "title": "ZP-40 manual",
        "page": 1,
        "start": scripts.start,
        "end": scripts.start + len(scripts.passage),
        "quote": scripts.passage,
        "supported": True,
        "attributed": False,
        "recognised": False,
        "answer_start": 0,
        "answer_end": 26,
    }
    assert details["collection"] == "default"
    assert details["timings"] == {"waiting": 0.0, "retrieval": 0.25, "total": 1.5}
    assert details["trace"] is None


async def test_sources_that_disagree_are_in_the_payload(client_for, scripts):
    differing = replace(scripts.cited, conflicts=(scripts.conflict,))
    async with client_for(scripts.library(scripts.steps_of(differing))) as client:
        (choice,) = (await client.post(PATH, json=asking())).json()["choices"]
    (told,) = choice["message"]["domainqa"]["conflicts"]
    assert (told["kind"], told["newer"], told["older"], told["note"]) == ("superseded", 1, 2, scripts.conflict.note)
    assert (told["older_document"], told["older_date"]) == ("pumps/zp-40-2019.md", "2019-05-01")


@pytest.mark.parametrize("which", ["cited", "abstained"])
async def test_streaming_carries_the_same_answer(client_for, scripts, which):
    answer = getattr(scripts, which)
    async with client_for(scripts.library(scripts.steps_of(answer))) as client:
        whole = (await client.post(PATH, json=asking())).json()["choices"][0]
        response = await client.post(PATH, json=asking(stream=True))
    assert response.headers["content-type"].startswith("text/event-stream")
    chunks = chunks_of(response)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == answer.text
    assert chunks[0].choices[0].delta.role == "assistant"
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    assert [chunk.domainqa is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    last = json.loads(events_of(response)[-2])
    assert last["domainqa"] == whole["message"]["domainqa"]
    assert last["choices"] == [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": whole["finish_reason"]}]
    assert all(chunk.choices[0].finish_reason is None for chunk in chunks[:-1])


async def test_usage_comes_only_when_asked_for(client_for, scripts):
    async with client_for(scripts.library()) as client:
        plain = await client.post(PATH, json=asking(stream=True))
        counted = await client.post(PATH, json=asking(stream=True, stream_options={"include_usage": True}))
    assert all(chunk.usage is None for chunk in chunks_of(plain))
    *others, last = chunks_of(counted)
    assert all(chunk.usage is None for chunk in others)
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.total_tokens == 112
    assert others[-1].domainqa is not None


async def test_the_question_reaches_the_flow_as_it_was_asked(client_for, scripts):
    library = scripts.library()
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": [{"type": "text", "text": "Hi."}], "domainqa": {"citations": []}},
        {"role": "developer", "content": "Use SI units."},
        {"role": "user", "content": [{"type": "text", "text": "Which"}, {"type": "text", "text": "torque?"}]},
    ]
    body = {
        "model": "rag@pumps", "messages": messages, "collection": "archive",
        "max_completion_tokens": 9, "temperature": 0.5, "seed": 3,
    }  # fmt: skip
    async with client_for(library) as client:
        response = await client.post(PATH, json=body)
    assert response.status_code == 200
    assert response.json()["model"] == "rag@pumps"
    [question] = library.answerer.asked
    assert question.text == "Which\ntorque?"
    assert question.strategy == "rag@pumps"
    assert question.collection == "archive"
    assert question.instructions == "Be brief.\n\nUse SI units."
    assert question.history == (Message("user", "Hello"), Message("assistant", "Hi."))
    assert (question.max_tokens, question.temperature, question.seed) == (9, 0.5, 3)


async def test_without_a_model_the_configured_strategy_answers(client_for, scripts):
    library = scripts.library()
    async with client_for(library) as client:
        response = await client.post(PATH, json={"messages": [{"role": "user", "content": "Hello"}]})
    assert library.answerer.asked[0].strategy is None
    assert response.json()["model"] == library.settings.answering.strategy


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "status", "kind", "retry_after"),
    [
        (NotFoundError("there is no strategy 'x'"), 404, "invalid_request_error", None),
        (DoesNotFitError("9000 tokens are too many"), 400, "invalid_request_error", None),
        (EngineBusyError("all places are taken", 1.2), 429, "rate_limit_error", "2"),
        (EngineUnavailableError("the engine is starting"), 503, "server_error", "5"),
        (EngineTimeoutError("no answer in 120 s"), 504, "server_error", None),
        (EngineFaultError("the engine said 500"), 502, "server_error", None),
        (CatalogError("the catalog is locked"), 500, "server_error", None),
        (ConfigError("generation.base_url is not set"), 500, "server_error", None),
    ],
)
async def test_errors_before_the_first_text_have_their_status(
    client_for, scripts, error, status, kind, retry_after, stream
):
    library = scripts.library([EvidencePacked(()), error])
    async with client_for(library) as client:
        response = await client.post(PATH, json=asking(stream=stream))
    assert response.status_code == status
    assert response.json()["error"]["message"] == str(error)
    assert response.json()["error"]["type"] == kind
    assert response.headers.get("retry-after") == retry_after
    assert library.answerer.running == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_a_bug_is_logged_and_tells_no_details(client_for, scripts, stream, caplog):
    library = scripts.library([RuntimeError("the secret path /srv/x")])
    async with client_for(library) as client:
        response = await client.post(PATH, json=asking(stream=stream))
    assert response.status_code == 500
    assert "secret" not in response.text
    assert response.json()["error"]["code"] == "internal_error"
    assert "the secret path" in caplog.text


@pytest.mark.parametrize(
    ("error", "told"),
    [(EngineFaultError("the engine died"), "the engine died"), (RuntimeError("secret"), "an internal error")],
)
async def test_an_error_in_the_middle_is_an_event_and_ends_the_stream(client_for, scripts, error, told):
    library = scripts.library([EvidencePacked(()), TextDelta("The torque"), error])
    async with client_for(library) as client:
        response = await client.post(PATH, json=asking(stream=True))
    assert response.status_code == 200
    *_, last = events_of(response)
    assert json.loads(last)["error"]["message"].startswith(told)
    assert "[DONE]" not in response.text
    assert "secret" not in response.text


async def test_a_silent_flow_is_bridged_by_comments(client_for, scripts):
    library = scripts.library([0.2, *scripts.steps_of(scripts.cited)])
    async with client_for(library, heartbeat_s=0.05) as client:
        response = await client.post(PATH, json=asking(stream=True))
    first, second, *_ = response.text.split("\n\n")
    assert json.loads(first.removeprefix("data: "))["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert second.startswith(":")
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks_of(response)) == scripts.cited.text
    assert response.text.count('"role":') == 1


async def test_an_error_after_a_comment_is_an_event(client_for, scripts):
    library = scripts.library([0.2, EngineBusyError("all places are taken", 1)])
    async with client_for(library, heartbeat_s=0.05) as client:
        response = await client.post(PATH, json=asking(stream=True))
    assert response.status_code == 200
    assert json.loads(events_of(response)[-1])["error"]["code"] == "engine_busy"


UNSUPPORTED = {
    "tools": [{"type": "function", "function": {"name": "f"}}],
    "tool_choice": "required",
    "functions": [{"name": "f"}],
    "function_call": {"name": "f"},
    "n": 2,
    "top_p": 0.5,
    "stop": ["\n"],
    "logprobs": True,
    "top_logprobs": 3,
    "logit_bias": {"5": 1},
    "presence_penalty": 0.5,
    "frequency_penalty": -1,
    "response_format": {"type": "json_object"},
    "modalities": ["text", "audio"],
    "audio": {"voice": "x"},
    "prediction": {"type": "content"},
    "web_search_options": {},
    "reasoning_effort": "high",
    "store": True,
    "service_tier": "flex",
    "colection": "typo",
    "top_k": 5,
}


@pytest.mark.parametrize("name", UNSUPPORTED)
async def test_what_is_not_supported_is_named(client_for, scripts, name):
    library = scripts.library()
    async with client_for(library) as client:
        response = await client.post(PATH, json=asking(**{name: UNSUPPORTED[name]}))
    assert response.status_code == 400
    assert response.json()["error"]["param"] == name
    assert name in response.json()["error"]["message"]
    assert library.answerer.asked == []


async def test_fields_that_ask_for_nothing_are_accepted(client_for, scripts):
    neutral = {
        "n": 1, "top_p": 1.0, "stop": None, "tools": [], "tool_choice": "auto", "logprobs": False, "logit_bias": {},
        "presence_penalty": 0, "frequency_penalty": 0.0, "response_format": {"type": "text"}, "modalities": ["text"],
        "store": False, "user": "ann", "metadata": {"a": "b"}, "service_tier": "auto", "reasoning_effort": None,
        "conversation": None, "seed": None, "max_tokens": 5, "max_completion_tokens": 5, "stream": None,
        "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "ignore_eos": False,
    }  # fmt: skip
    async with client_for(scripts.library()) as client:
        response = await client.post(PATH, json=asking(**neutral))
    assert response.status_code == 200, response.text


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": "rag"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "   "}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "1"}]}]}, "messages[0].tool_calls"),
        (asking(temperature=3), "temperature"),
        (asking(max_tokens=0), "max_tokens"),
        (asking(max_tokens=5, max_completion_tokens=6), "max_tokens"),
        (asking(seed="x"), "seed"),
        (asking(stream="maybe"), "stream"),
        (asking(collection=""), "collection"),
        (asking(stream_options={"include_usages": True}), "stream_options.include_usages"),
    ],
)
async def test_a_wrong_field_is_named(client_for, scripts, body, param):
    async with client_for(scripts.library()) as client:
        response = await client.post(PATH, json=body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
    assert response.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (b"{", {"Content-Type": "application/json"}),
        (b"[" * 200_000, {"Content-Type": "application/json"}),
        (b'"text"', {"Content-Type": "application/json"}),
        (b"\xff\xfe", {"Content-Type": "application/json"}),
        (b"", {"Content-Type": "application/json"}),
        (json.dumps(asking()).encode(), {"Content-Type": "text/plain"}),
        (json.dumps(asking()).encode(), {}),
        (json.dumps(asking("\ud800")).encode(), {"Content-Type": "application/json"}),
        (json.dumps(asking(**{"\ud800": 1})).encode(), {"Content-Type": "application/json"}),
        (b'{"messages": [{"role": "user", "content": "x"}], "temperature": NaN}', {"Content-Type": "application/json"}),
    ],
    ids=["cut", "deep", "no object", "no utf-8", "empty", "text", "untyped", "surrogate", "surrogate key", "nan"],
)
async def test_a_body_that_is_no_request_is_a_400(client_for, scripts, content, headers):
    library = scripts.library()
    async with client_for(library) as client:
        response = await client.post(PATH, content=content, headers=headers)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert library.answerer.asked == []
