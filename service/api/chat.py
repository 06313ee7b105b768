"""``POST /v1/chat/completions``: the answer flow in OpenAI's protocol, streamed or whole.

The payload under ``domainqa`` is the same in both: in ``message.domainqa`` of a whole answer, and as
``domainqa`` of the chunk that carries the ``finish_reason`` of a stream.
"""

import json
import logging
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

from fastapi import APIRouter, Request, Response

from rag.citing import numbers_for_readers
from rag.errors import DomainQAError
from rag.question import Question
from rag.types import Answer, AnswerEvent, Finished, TextDelta
from service.api.answers import citation_out, conflict_out, evidence_out, nearest_out, usage_out
from service.api.asking import question_of
from service.api.counting import STRATEGY
from service.api.errors import body_of, for_log, unexpected
from service.api.flow import Flow
from service.api.identity import Caller, Principal
from service.api.schemas import (
    ERRORS,
    AssistantMessage,
    ChatCompletion,
    ChatCompletionChunk,
    ChatRequest,
    Choice,
    ChunkChoice,
    Delta,
    ErrorBody,
    FinishOut,
    Provenance,
)
from service.api.streaming import CLIENT_GONE, ClientGoneError, EventStream, until_disconnect, with_heartbeats
from service.api.tracing import trace_of
from service.conversations import Conversing, Exchange

logger = logging.getLogger(__name__)


def chat_routes(flow: Flow, conversing: Conversing, default_strategy: str, heartbeat_s: float) -> APIRouter:
    """``heartbeat_s``: how long a stream may be silent before a comment tells the client that we're alive.

    A stream's response starts with its first text or its first heartbeat, so that an error before that
    still has its own status.
    """
    router = APIRouter()

    @router.post(
        "/v1/chat/completions",
        response_model=ChatCompletion,
        responses={
            200: {
                "description": "The answer; with `stream` server-sent events, each a chunk, closed by `[DONE]`.",
                "content": {"text/event-stream": {"schema": {"type": "string"}}},
            },
            **ERRORS,
        },
    )
    async def complete(body: ChatRequest, request: Request, caller: Caller) -> ChatCompletion | Response:
        question = question_of(body)
        exchange = None
        if body.conversation is not None:
            collection = body.collection if "collection" in body.model_fields_set else None
            exchange = conversing.exchange(body.conversation, caller, collection)
        head = Head(question.strategy or default_strategy, bool(body.trace), exchange)
        request.scope[STRATEGY] = flow.strategy_of(question)
        try:
            if not body.stream:
                answer = await until_disconnect(request.receive, _whole(_events(flow, question, caller, head)))
                return _completion(head, question, answer)
            usage_wanted = body.stream_options is not None and body.stream_options.include_usage
            events = _sse(flow, question, caller, head, usage_wanted, heartbeat_s)
            first = await until_disconnect(request.receive, _next(events))
        except ClientGoneError:
            return Response(status_code=CLIENT_GONE)
        return EventStream(events, first)

    return router


def _events(flow: Flow, question: Question, caller: Principal, head: "Head") -> AsyncGenerator[AnswerEvent, None]:
    return flow.stream(question, caller) if head.exchange is None else head.exchange.stream(question, flow.stream)


async def _whole(events: AsyncGenerator[AnswerEvent, None]) -> Answer:
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Finished):
                return event.answer
    raise AssertionError("the stream ended without an answer")


async def _next(events: AsyncGenerator[str, None]) -> str:
    return await anext(events)


async def _sse(
    flow: Flow, question: Question, caller: Principal, head: "Head", usage_wanted: bool, heartbeat_s: float
) -> AsyncGenerator[str, None]:
    """The stream's events. Errors are raised before the first one and told in an event of their own after it."""
    started = False
    try:
        async with aclosing(with_heartbeats(_events(flow, question, caller, head), heartbeat_s)) as events:
            async for event in events:
                if event is None:
                    yield ("" if started else _role(head)) + ": still working\n\n"
                    started = True
                elif isinstance(event, TextDelta):
                    yield ("" if started else _role(head)) + _data(_chunk(head, Delta(content=event.text)))
                    started = True
                elif isinstance(event, Finished):
                    yield ("" if started else _role(head)) + _last(head, question, event.answer, usage_wanted)
                    started = True
    except DomainQAError as error:
        if not started:
            raise
        logger.warning("a stream ended with an error: %s", for_log(error))
        yield _data(body_of(error))
    except Exception:
        if not started:
            raise
        logger.exception("unexpected error in a stream")
        yield _data(unexpected())


def _role(head: "Head") -> str:
    return _data(_chunk(head, Delta(role="assistant", content="")))


def _last(head: "Head", question: Question, answer: Answer, usage_wanted: bool) -> str:
    closing = _chunk(head, Delta(), _finish(answer))
    closing.domainqa = provenance_of(question, answer, head)
    text = _data(closing)
    if usage_wanted:
        counted = _chunk(head, Delta())
        counted.choices, counted.usage = [], usage_out(answer.usage)
        text += _data(counted)
    return text + "data: [DONE]\n\n"


def _data(message: ChatCompletionChunk | ErrorBody) -> str:
    if isinstance(message, ErrorBody):
        content = message.model_dump(mode="json")
    else:
        content = message.model_dump(mode="json", exclude_unset=True)
    return f"data: {json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(',', ':'))}\n\n"


@dataclass(frozen=True, slots=True)
class Head:
    """What every piece of one completion has in common."""

    model: str
    traced: bool
    exchange: Exchange | None = None
    """Its place in a conversation."""
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))


def _chunk(head: Head, delta: Delta, finish_reason: FinishOut | None = None) -> ChatCompletionChunk:
    return ChatCompletionChunk(
        id=head.id,
        object="chat.completion.chunk",
        created=head.created,
        model=head.model,
        choices=[ChunkChoice(index=0, delta=delta, logprobs=None, finish_reason=finish_reason)],
    )


def _completion(head: Head, question: Question, answer: Answer) -> ChatCompletion:
    message = AssistantMessage(content=answer.text, domainqa=provenance_of(question, answer, head))
    return ChatCompletion(
        id=head.id,
        created=head.created,
        model=head.model,
        choices=[Choice(message=message, finish_reason=_finish(answer))],
        usage=usage_out(answer.usage),
    )


def _finish(answer: Answer) -> FinishOut:
    # A cancelled answer has no reader but its canceller; OpenAI knows no word for it.
    return "length" if answer.finish_reason == "length" else "stop"


def provenance_of(question: Question, answer: Answer, head: "Head") -> Provenance:
    """The extension's payload, with its trace and its place in a conversation where those were asked for."""
    asked_in = None if head.exchange is None else head.exchange.collection
    numbers = numbers_for_readers(answer.text, answer.citations)
    return Provenance(
        abstained=answer.abstained,
        supported=answer.supported,
        fallback=answer.fallback,
        strategy=answer.strategy,
        adapter=answer.adapter,
        collection=asked_in or question.collection,
        engine_model=answer.model,
        citations=[citation_out(each, numbers) for each in answer.citations],
        nearest=[nearest_out(each) for each in answer.nearest],
        conflicts=[conflict_out(each) for each in answer.conflicts],
        evidence=[evidence_out(each) for each in answer.evidence],
        timings=dict(answer.timings),
        trace=trace_of(answer) if head.traced else None,
        conversation=None if head.exchange is None else head.exchange.conversation,
        turn=None if head.exchange is None else head.exchange.turn,
    )
