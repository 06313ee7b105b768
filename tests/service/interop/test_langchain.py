"""LangChain's ``ChatOpenAI``, with what it sends of its own accord and what its users set."""

import asyncio

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI
from openai import BadRequestError

pytestmark = pytest.mark.integration


@pytest.fixture
def chat(service):
    return ChatOpenAI(base_url=f"{service.url}/v1", api_key="none", model="rag", max_retries=0, timeout=60)


def test_whole(chat, service):
    answer = chat.invoke(service.question)
    assert "42 Nm" in answer.content
    assert answer.usage_metadata["input_tokens"] > 0
    assert answer.response_metadata["finish_reason"] == "stop"
    assert answer.response_metadata["model_name"] == "rag"


@pytest.mark.parametrize("stream_usage", [True, False])
def test_streamed(chat, service, stream_usage):
    pieces = list(chat.stream(service.question, stream_usage=stream_usage))
    total = pieces[0]
    for piece in pieces[1:]:
        total = total + piece
    assert total.content == chat.invoke(service.question).content
    assert (total.usage_metadata is not None) == stream_usage


def test_async(chat, service):
    async def talk():
        whole = await chat.ainvoke(service.question)
        return whole.content, "".join([piece.content async for piece in chat.astream(service.question)])

    whole, streamed = asyncio.run(talk())
    assert whole == streamed


def test_a_conversation_in_parts(chat, service):
    first = chat.invoke(service.question)
    assert isinstance(first, AIMessage)
    answer = chat.invoke(
        [
            SystemMessage("Be brief."),
            HumanMessage(service.question),
            first,
            HumanMessage(
                [{"type": "text", "text": "How much are the casing bolts"}, {"type": "text", "text": "tightened?"}]
            ),
        ]
    )
    assert "42 Nm" in answer.content


def test_what_its_users_set_without_effect(service):
    chat = ChatOpenAI(
        base_url=f"{service.url}/v1",
        api_key="none",
        model="rag",
        n=1,
        temperature=0,
        seed=1,
        max_tokens=50,
        top_p=1,
        logprobs=False,
        presence_penalty=0,
        frequency_penalty=0,
        stop=[],
        max_retries=0,
        metadata={"who": "me"},
        model_kwargs={"user": "me"},
        extra_body={"collection": "default"},
    )
    assert "42 Nm" in chat.invoke(service.question).content
    assert "42 Nm" in "".join(piece.content for piece in chat.stream(service.question))
    assert (
        "42 Nm" in chat.bind(tools=[], tool_choice="auto", parallel_tool_calls=False).invoke(service.question).content
    )
    assert "42 Nm" in chat.bind(response_format={"type": "text"}).invoke(service.question).content
    assert [answer.content for answer in chat.batch([service.question] * 2)] == [
        chat.invoke(service.question).content
    ] * 2


def test_what_cannot_be_done_is_named(chat, service):
    with pytest.raises(BadRequestError, match="tools is not supported"):
        chat.bind_tools([{"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}]).invoke(
            "?"
        )
    with pytest.raises(BadRequestError, match="logprobs"):
        chat.bind(logprobs=True).invoke(service.question)
