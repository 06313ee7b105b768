"""Requests and replies of the API as plain values, the same for both clients. Opens no connection."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, TypeVar

import httpx

from service.client.failures import ClientError, ServiceFailedError, ServiceTimeoutError, UnreachableError, failure_of
from service.client.results import Answer, AnswerEvent, Provenance, TextEvent, Usage, parsed

DEFAULT_URL = "http://127.0.0.1:8080"
KEY_VARIABLE = "DOMAINQA_API_KEY"

Event = TextEvent | AnswerEvent

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Turn:
    """An earlier message of a conversation."""

    role: Literal["user", "assistant"]
    text: str


def settings_of(url: str, key: str | None, timeout_s: float) -> dict[str, Any]:
    """How both kinds of httpx client are made. ``timeout_s`` is for each wait; streams send signs of life."""
    key = key or os.environ.get(KEY_VARIABLE)
    return {
        "base_url": f"{url.rstrip('/').removesuffix('/v1')}/v1/",
        "headers": {"Authorization": f"Bearer {key}"} if key else {},
        "timeout": httpx.Timeout(timeout_s, connect=min(timeout_s, 10.0)),
    }


class Options(TypedDict, total=False):
    """What a question may say besides itself. ``model`` is a strategy, with ``@adapter`` where there is one."""

    collection: str
    model: str | None
    history: Sequence[Turn]
    conversation: str
    """`new`, or the id that ``Answer.provenance`` told: the service keeps the turns, and reads no ``history``."""
    instructions: str | None
    """The caller's own wishes; they rank below the service's rules."""
    max_tokens: int | None
    temperature: float | None
    seed: int | None
    trace: bool
    """Ask for ``Answer.trace``: how the answer came about."""


def chat_body(question: str, options: Options, *, stream: bool) -> dict[str, Any]:
    messages = [{"role": turn.role, "content": turn.text} for turn in options.get("history", ())]
    instructions = options.get("instructions")
    if instructions is not None:
        messages.insert(0, {"role": "system", "content": instructions})
    messages.append({"role": "user", "content": question})
    rest = {name: value for name, value in options.items() if name not in ("history", "instructions")}
    body = {"messages": messages} | {name: value for name, value in rest.items() if value is not None}
    return body | ({"stream": True, "stream_options": {"include_usage": True}} if stream else {})


def search_body(query: str, collection: str, top_k: int | None) -> dict[str, Any]:
    return {"query": query, "collection": collection} | ({"top_k": top_k} if top_k is not None else {})


def json_of(reply: httpx.Response) -> Any:
    """The body of a reply that was read. Raises what the API's error body says."""
    try:
        body = reply.json()
    except ValueError as error:
        if reply.is_success:
            raise ServiceFailedError(f"{reply.url} answered with something other than JSON") from error
        body = None
    if not reply.is_success:
        raise failure_of(reply.status_code, body, reply.headers)
    return body


def answer_of(body: Any) -> Answer:
    try:
        choice = body["choices"][0]
        message = choice["message"]
        return Answer(
            message["content"],
            choice["finish_reason"],
            _usage(body.get("usage")),
            parsed(Provenance, message["domainqa"]),
        )
    except (LookupError, TypeError, AttributeError) as error:
        raise ServiceFailedError(f"the service's reply lacks {error}; is it domainqa, in this version?") from error


def list_of(kind: type[T], body: Any, name: str) -> list[T]:
    entries = body.get(name) if isinstance(body, dict) else None
    return list(parsed(tuple[kind, ...], entries))  # type: ignore[valid-type]  # the type is made here


class StreamReader:
    """Lines of an event stream to events. ``finish`` after the last one: a stream that was cut raises there."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._finish_reason = "stop"
        self._provenance: Provenance | None = None
        self._usage = Usage()
        self._done = False

    def events(self, line: str) -> Iterator[Event]:
        if not line.startswith("data:"):
            return  # a comment as a sign of life, or the line between events
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            self._done = True
            return
        try:
            chunk = json.loads(data)
        except ValueError as error:
            raise ServiceFailedError("an event of the stream is not JSON") from error
        if not isinstance(chunk, dict):
            raise ServiceFailedError("an event of the stream is no JSON object")
        if "error" in chunk:
            raise failure_of(None, chunk, {})
        if chunk.get("usage") is not None:
            self._usage = _usage(chunk["usage"])
        if chunk.get("domainqa") is not None:
            self._provenance = parsed(Provenance, chunk["domainqa"])
        for choice in chunk.get("choices", ()):
            self._finish_reason = choice.get("finish_reason") or self._finish_reason
            text = choice["delta"].get("content")
            if text:
                self._texts.append(text)
                yield TextEvent(text)

    def finish(self) -> AnswerEvent:
        if not self._done or self._provenance is None:
            raise UnreachableError("the stream ended before the answer did")
        return AnswerEvent(Answer("".join(self._texts), self._finish_reason, self._usage, self._provenance))


def transport_failure(error: httpx.HTTPError, url: httpx.URL) -> ClientError:
    if isinstance(error, httpx.TimeoutException):
        return ServiceTimeoutError(f"{url.host} port {url.port} did not answer in time")
    return UnreachableError(f"{url} cannot be reached ({error}); is `domainqa serve` running there?")


def _usage(body: Any) -> Usage:
    if not isinstance(body, dict):
        return Usage()
    details = body.get("prompt_tokens_details") or {}
    return Usage(body["prompt_tokens"], body["completion_tokens"], details.get("cached_tokens"))
