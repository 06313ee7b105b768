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
from rag.types import Answer, Finished, TextDelta, Usage
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
    CitationOut,
    ConflictOut,
    Delta,
    ErrorBody,
    EvidenceOut,
    FinishOut,
    NearestOut,
    PromptTokensDetails,
    Provenance,
    UsageOut,
)
from service.api.streaming import ClientGoneError, EventStream, until_disconnect, with_heartbeats
from service.api.tracing import trace_of

logger = logging.getLogger(__name__)

CLIENT_GONE = 499
"""What proxies log for a client that went away; nobody reads the response."""


def chat_routes(flow: Flow, default_strategy: str, heartbeat_s: float) -> APIRouter:
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
        head = _Head(question.strategy or default_strategy, bool(body.trace))
        request.scope[STRATEGY] = flow.strategy_of(question)
        try:
            if not body.stream:
                return _completion(
                    head, question, await until_disconnect(request.receive, flow.answer(question, caller))
                )
            usage_wanted = body.stream_options is not None and body.stream_options.include_usage
            events = _sse(flow, question, caller, head, usage_wanted, heartbeat_s)
            first = await until_disconnect(request.receive, _next(events))
        except ClientGoneError:
            return Response(status_code=CLIENT_GONE)
        return EventStream(events, first)

    return router


async def _next(events: AsyncGenerator[str, None]) -> str:
    return await anext(events)


async def _sse(
    flow: Flow, question: Question, caller: Principal, head: "_Head", usage_wanted: bool, heartbeat_s: float
) -> AsyncGenerator[str, None]:
    """The stream's events. Errors are raised before the first one and told in an event of their own after it."""
    started = False
    try:
        async with aclosing(with_heartbeats(flow.stream(question, caller), heartbeat_s)) as events:
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


def _role(head: "_Head") -> str:
    return _data(_chunk(head, Delta(role="assistant", content="")))


def _last(head: "_Head", question: Question, answer: Answer, usage_wanted: bool) -> str:
    closing = _chunk(head, Delta(), _finish(answer))
    closing.domainqa = provenance_of(question, answer, traced=head.traced)
    text = _data(closing)
    if usage_wanted:
        counted = _chunk(head, Delta())
        counted.choices, counted.usage = [], _usage(answer.usage)
        text += _data(counted)
    return text + "data: [DONE]\n\n"


def _data(message: ChatCompletionChunk | ErrorBody) -> str:
    if isinstance(message, ErrorBody):
        content = message.model_dump(mode="json")
    else:
        content = message.model_dump(mode="json", exclude_unset=True)
    return f"data: {json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(',', ':'))}\n\n"


@dataclass(frozen=True, slots=True)
class _Head:
    """What every piece of one completion has in common."""

    model: str
    traced: bool
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))


def _chunk(head: _Head, delta: Delta, finish_reason: FinishOut | None = None) -> ChatCompletionChunk:
    return ChatCompletionChunk(
        id=head.id,
        object="chat.completion.chunk",
        created=head.created,
        model=head.model,
        choices=[ChunkChoice(index=0, delta=delta, logprobs=None, finish_reason=finish_reason)],
    )


def _completion(head: _Head, question: Question, answer: Answer) -> ChatCompletion:
    message = AssistantMessage(content=answer.text, domainqa=provenance_of(question, answer, traced=head.traced))
    return ChatCompletion(
        id=head.id,
        created=head.created,
        model=head.model,
        choices=[Choice(message=message, finish_reason=_finish(answer))],
        usage=_usage(answer.usage),
    )


def _finish(answer: Answer) -> FinishOut:
    # A cancelled answer has no reader but its canceller; OpenAI knows no word for it.
    return "length" if answer.finish_reason == "length" else "stop"


def _usage(usage: Usage) -> UsageOut:
    cached = None if usage.cached_tokens is None else PromptTokensDetails(cached_tokens=usage.cached_tokens)
    return UsageOut(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        prompt_tokens_details=cached,
    )


def provenance_of(question: Question, answer: Answer, *, traced: bool) -> Provenance:
    """The extension's payload, with its trace where that was asked for."""
    numbers = numbers_for_readers(answer)
    return Provenance(
        abstained=answer.abstained,
        supported=answer.supported,
        fallback=answer.fallback,
        strategy=answer.strategy,
        adapter=answer.adapter,
        collection=question.collection,
        engine_model=answer.model,
        citations=[
            CitationOut(
                marker=each.marker,
                number=numbers[each.marker],
                document=each.source,
                document_id=each.document_id,
                title=each.title,
                page=each.page,
                start=each.start,
                end=each.end,
                quote=each.quote,
                supported=each.supported,
                attributed=each.attributed,
                answer_start=each.answer_start,
                answer_end=each.answer_end,
            )
            for each in answer.citations
        ],
        nearest=[
            NearestOut(document=each.source, document_id=each.document_id, title=each.title, score=each.score)
            for each in answer.nearest
        ],
        conflicts=[
            ConflictOut(
                kind=each.kind,
                newer=each.newer,
                older=each.older,
                newer_document=each.newer_source,
                older_document=each.older_source,
                newer_date=each.newer_date,
                older_date=each.older_date,
                newer_text=each.newer_text,
                older_text=each.older_text,
                note=each.note,
            )
            for each in answer.conflicts
        ],
        evidence=[
            EvidenceOut(
                number=each.number,
                document=each.source,
                document_id=each.document_id,
                title=each.title,
                page=each.page,
                start=each.start,
                end=each.end,
                score=each.score,
                date=each.date,
            )
            for each in answer.evidence
        ],
        timings=dict(answer.timings),
        trace=trace_of(answer) if traced else None,
    )
