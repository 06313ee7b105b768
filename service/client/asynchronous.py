"""The client for asyncio: the same methods as ``sync``, awaited."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, Unpack

import httpx

from service.client import wire
from service.client.results import Answer, Collection, Hit, Model


class AsyncClient:
    """A connection to a running service. Belongs to one event loop.

    ``key`` is the access key, ``DOMAINQA_API_KEY`` when left out; without either none is sent. Every method raises
    the ``ClientError`` family only.
    """

    def __init__(
        self,
        url: str = wire.DEFAULT_URL,
        key: str | None = None,
        *,
        timeout_s: float = 180.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = httpx.AsyncClient(transport=transport, **wire.settings_of(url, key, timeout_s))

    async def ask(self, question: str, **options: Unpack[wire.Options]) -> Answer:
        """The whole answer. ``model`` is a strategy, with ``@adapter`` where there is one; ``models`` lists them."""
        body = wire.chat_body(question, options, stream=False)
        return wire.answer_of(await self._json("POST", "chat/completions", body))

    async def stream(self, question: str, **options: Unpack[wire.Options]) -> AsyncGenerator[wire.Event, None]:
        """Pieces of text as they come, then the whole answer. Closing the generator stops the answer."""
        body = wire.chat_body(question, options, stream=True)
        reader = wire.StreamReader()
        with self._failures():
            async with self._http.stream("POST", "chat/completions", json=body) as reply:
                if not reply.is_success:
                    await reply.aread()
                    wire.json_of(reply)
                async for line in reply.aiter_lines():
                    for event in reader.events(line):
                        yield event
        yield reader.finish()

    async def search(self, query: str, *, collection: str = "default", top_k: int | None = None) -> list[Hit]:
        """Passages, best first. ``top_k`` is the service's own number when left out."""
        return wire.list_of(Hit, await self._json("POST", "search", wire.search_body(query, collection, top_k)), "hits")

    async def models(self) -> list[Model]:
        """What can be asked; the service's default comes first."""
        return wire.list_of(Model, await self._json("GET", "models"), "data")

    async def collections(self) -> list[Collection]:
        """The collections that the key may see."""
        return wire.list_of(Collection, await self._json("GET", "collections"), "data")

    async def aclose(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _json(self, method: str, path: str, body: object = None) -> Any:
        with self._failures():
            return wire.json_of(await self._http.request(method, path, json=body))

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except httpx.HTTPError as error:
            raise wire.transport_failure(error, self._http.base_url) from error
