"""A chat model behind any OpenAI-compatible server, such as vLLM, reached over HTTP. Starts no server."""

import asyncio
import os
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import openai
from openai import AsyncOpenAI, omit
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletionMessageParam
from openai.types.shared_params import ResponseFormatJSONSchema

from rag.config import GenerationSettings
from rag.errors import EngineBusyError, EngineFaultError, EngineTimeoutError
from rag.generation.server_address import NO_ACCOUNT, FixedServer, Link
from rag.generation.server_errors import StreamCutShort, is_transient
from rag.generation.server_probe import ServerProbe
from rag.interfaces import Endpoint, ModelServer, TokenCounter
from rag.types import FinishReason, Generated, Message, Sampling, Usage

_FIRST_WAIT_S = 0.25
_LONGEST_WAIT_S = 4.0
_BUSY_RETRY_S = 1.0

T = TypeVar("T")


class OpenAIChatModel:
    """The model named in the settings, on the server at ``base_url`` or wherever ``server`` says that it is now.

    An adapter is a model name there.

    ``timeout_s`` is for a whole answer: its wait for a place, every try, and the last token. ``window`` and ``tokens``
    ask the server once, when first needed, and block meanwhile: call them off the event loop. May be used from
    several event loops, each of which has ``concurrency`` places and closes its own. Beside the engine errors:
    ``NotFoundError`` for an adapter the server doesn't have, ``DoesNotFitError`` where it says the prompt is too long,
    ``NotSupportedError`` where it refuses a request that holds the text to a schema.
    """

    def __init__(
        self,
        settings: GenerationSettings,
        local_tokens: Callable[[], TokenCounter | None] | None = None,
        environment: Mapping[str, str] = os.environ,
        server: ModelServer | None = None,
    ) -> None:
        """``local_tokens`` finds the model's tokenizer for a server that doesn't count; in the model cache if unset.

        ``server`` is one that we run ourselves; asked before each try, for a restarted one has another key.
        """
        self._settings = settings
        self._server = server or FixedServer(settings, environment)
        self._key_name = settings.api_key_env if server is None else None
        self._probe = ServerProbe(settings, self._link, local_tokens)
        self._lanes: WeakKeyDictionary[asyncio.AbstractEventLoop, _Lane] = WeakKeyDictionary()
        self._lanes_lock = Lock()

    def __repr__(self) -> str:
        return f"OpenAIChatModel({self.name!r} at {self._server!r})"

    @property
    def name(self) -> str:
        return self._settings.model

    @property
    def window(self) -> int:
        return self._probe.window()

    @property
    def tokens(self) -> TokenCounter:
        """Exact where the server counts (vLLM) or the tokenizer lies on this disk, else an approximate counter."""
        return self._probe.tokens()

    async def stream(
        self, messages: Sequence[Message], sampling: Sampling, adapter: str | None = None
    ) -> AsyncGenerator[Generated, None]:
        async with aclosing(self._answer(messages, sampling, adapter, self._streamed)) as pieces:
            async for piece in pieces:
                yield piece

    async def complete(self, messages: Sequence[Message], sampling: Sampling, adapter: str | None = None) -> Generated:
        """Not streamed: that spares vLLM about a twentieth of its time, which it takes to send each token by itself."""
        async with aclosing(self._answer(messages, sampling, adapter, self._whole)) as pieces:
            return await anext(pieces)

    async def aclose(self) -> None:
        """Closes the connections of the running event loop, and those that count."""
        with self._lanes_lock:
            lane = self._lanes.pop(asyncio.get_running_loop(), None)
        if lane is not None and lane.client is not None:
            await lane.client.close()
        await asyncio.to_thread(self._probe.close)

    async def _answer(
        self, messages: Sequence[Message], sampling: Sampling, adapter: str | None, once: "_Once"
    ) -> AsyncGenerator[Generated, None]:
        """What ``once`` gives, in one of our places, tried again where that may help."""
        lane = self._lane()
        if lane.active >= self._settings.concurrency + self._settings.max_queue:
            raise EngineBusyError(
                f"{self.name} is busy: {lane.active} answers are under way or waiting; "
                f"come back in {_BUSY_RETRY_S:g} s",
                _BUSY_RETRY_S,
            )
        asked = _Asked(messages, sampling, adapter, asyncio.get_running_loop().time() + self._settings.timeout_s)
        lane.active += 1
        try:
            await self._before(asked.deadline, lane.places.acquire())
            try:
                async with aclosing(self._tries(lane, asked, once)) as pieces:
                    async for piece in pieces:
                        yield piece
            finally:
                lane.places.release()
        finally:
            lane.active -= 1

    async def _tries(self, lane: "_Lane", asked: "_Asked", once: "_Once") -> AsyncGenerator[Generated, None]:
        wait_s = _FIRST_WAIT_S
        for left in range(self._settings.retries, -1, -1):
            begun = False
            link = self._link()
            try:
                async with aclosing(once(link, lane.client_of(link), asked)) as pieces:
                    async for piece in pieces:
                        begun = True
                        yield piece
                return
            except (openai.APIError, StreamCutShort, ValueError) as error:
                final = begun or left == 0 or not is_transient(error)
                failure = link.errors.translate(error, self.name, asked.adapter, asked.sampling, begun)
            if final:
                raise failure
            # Half of the wait is chance, so that many who failed together don't come back together.
            await self._before(asked.deadline, asyncio.sleep(wait_s * (0.5 + 0.5 * random.random())))  # noqa: S311
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    async def _streamed(self, link: Link, client: AsyncOpenAI, asked: "_Asked") -> AsyncGenerator[Generated, None]:
        request = client.chat.completions.create(
            **self._request(link, asked), stream=True, stream_options={"include_usage": True}
        )
        reason: FinishReason | None = None
        usage: Usage | None = None
        text = ""
        async with await self._before(asked.deadline, request) as stream:
            while (chunk := await self._before(asked.deadline, anext(stream, None))) is not None:
                if chunk.usage is not None:
                    usage = _usage(chunk.usage)
                for choice in chunk.choices or ():
                    if choice.finish_reason is not None:
                        reason = _reason(choice.finish_reason, link)
                    if choice.delta.content:
                        text += choice.delta.content
                        yield Generated(choice.delta.content)
        if reason is None:
            raise StreamCutShort
        yield Generated("", reason, usage or await asyncio.to_thread(self._count, asked.messages, text))

    async def _whole(self, link: Link, client: AsyncOpenAI, asked: "_Asked") -> AsyncGenerator[Generated, None]:
        request = client.chat.completions.create(**self._request(link, asked), stream=False)
        completion = await self._before(asked.deadline, request)
        if not completion.choices:
            raise ValueError("the answer has no choices")
        choice = completion.choices[0]
        text = choice.message.content or ""
        usage = _usage(completion.usage) if completion.usage is not None else None
        reason = _reason(choice.finish_reason, link)
        yield Generated(text, reason, usage or await asyncio.to_thread(self._count, asked.messages, text))

    def _request(self, link: Link, asked: "_Asked") -> dict[str, Any]:
        sampling = asked.sampling
        return {
            "model": asked.adapter or self.name,
            "messages": [_message(message) for message in asked.messages],
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": omit if sampling.seed is None or sampling.temperature == 0 else sampling.seed,
            "stop": list(sampling.stop) or omit,
            "response_format": omit if sampling.json_schema is None else _response_format(sampling.json_schema),
            "extra_headers": link.headers,
        }

    def _count(self, messages: Sequence[Message], text: str) -> Usage:
        """For servers that don't tell: as exact as ``tokens`` is."""
        return Usage(self.tokens.count_messages(messages), self.tokens.count_text(text))

    async def _before(self, deadline: float, work: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout_at(deadline):
                return await work
        except TimeoutError:
            raise EngineTimeoutError(
                f"the model server of {self.name} did not finish within {self._settings.timeout_s:g} s; "
                "see whether it is overloaded, or raise generation.timeout_s"
            ) from None

    def _lane(self) -> "_Lane":
        """Connections and semaphores belong to the event loop that made them."""
        loop = asyncio.get_running_loop()
        with self._lanes_lock:
            if loop not in self._lanes:
                self._lanes[loop] = _Lane(asyncio.Semaphore(self._settings.concurrency))
            return self._lanes[loop]

    def _link(self) -> Link:
        return Link.to(self._server, self._key_name)


@dataclass(frozen=True, slots=True)
class _Asked:
    """One request, and when the event loop's clock says that it is too late for it."""

    messages: Sequence[Message]
    sampling: Sampling
    adapter: str | None
    deadline: float


_Once = Callable[[Link, AsyncOpenAI, _Asked], AsyncGenerator[Generated, None]]
"""Asks the server a single time."""


@dataclass(slots=True)
class _Lane:
    """What one event loop has: its places, how many answers are under way or wait, and its connections."""

    places: asyncio.Semaphore
    active: int = 0
    client: AsyncOpenAI | None = None
    endpoint: Endpoint | None = None

    def client_of(self, link: Link) -> AsyncOpenAI:
        """For the server where it is now. Clients of where it was share the connections, and are not cut."""
        if self.client is None:
            # No time limit and no tries of the library's own: the deadline is ours, and a try must stay before the
            # first token.
            self.client = AsyncOpenAI(
                api_key=link.key,
                base_url=link.url,
                default_headers=NO_ACCOUNT,  # type: ignore[arg-type]
                timeout=None,
                max_retries=0,
            )
        elif self.endpoint != link.endpoint:
            self.client = self.client.with_options(api_key=link.key, base_url=link.url)
        self.endpoint = link.endpoint
        return self.client


def _reason(reason: str, link: Link) -> FinishReason:
    match reason:
        case "stop" | "length":
            return reason
        case _:
            raise EngineFaultError(f"the model server at {link.url} ended the answer with {reason!r}")


def _message(message: Message) -> ChatCompletionMessageParam:
    match message.role:
        case "system":
            return {"role": "system", "content": message.content}
        case "user":
            return {"role": "user", "content": message.content}
        case "assistant":
            return {"role": "assistant", "content": message.content}


def _response_format(schema: Mapping[str, object]) -> ResponseFormatJSONSchema:
    # The name is for the server's log; without one the request is refused.
    return {"type": "json_schema", "json_schema": {"name": "reply", "schema": dict(schema), "strict": True}}


def _usage(usage: CompletionUsage) -> Usage:
    details = usage.prompt_tokens_details
    return Usage(usage.prompt_tokens, usage.completion_tokens, details.cached_tokens if details else None)
