"""The client for ordinary code. ``asynchronous`` has the same for asyncio."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, Unpack

import httpx

from service.client import wire
from service.client.results import Answer, Collection, Hit, Model


class Client:
    """A connection to a running service. Safe to use from several threads.

    ``key`` is the access key, ``DOMAINQA_API_KEY`` when left out; without either none is sent. Every method raises
    the ``ClientError`` family only.
    """

    def __init__(
        self,
        url: str = wire.DEFAULT_URL,
        key: str | None = None,
        *,
        timeout_s: float = 180.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = httpx.Client(transport=transport, **wire.settings_of(url, key, timeout_s))

    def ask(self, question: str, **options: Unpack[wire.Options]) -> Answer:
        """The whole answer. ``model`` is a strategy, with ``@adapter`` where there is one; ``models`` lists them."""
        body = wire.chat_body(question, options, stream=False)
        return wire.answer_of(self._json("POST", "chat/completions", body))

    def stream(self, question: str, **options: Unpack[wire.Options]) -> Generator[wire.Event, None, None]:
        """Pieces of text as they come, then the whole answer. Closing the generator stops the answer."""
        body = wire.chat_body(question, options, stream=True)
        reader = wire.StreamReader()
        with self._failures(), self._http.stream("POST", "chat/completions", json=body) as reply:
            if not reply.is_success:
                reply.read()
                wire.json_of(reply)
            for line in reply.iter_lines():
                yield from reader.events(line)
        yield reader.finish()

    def search(self, query: str, *, collection: str = "default", top_k: int | None = None) -> list[Hit]:
        """Passages, best first. ``top_k`` is the service's own number when left out."""
        return wire.list_of(Hit, self._json("POST", "search", wire.search_body(query, collection, top_k)), "hits")

    def models(self) -> list[Model]:
        """What can be asked; the service's default comes first."""
        return wire.list_of(Model, self._json("GET", "models"), "data")

    def collections(self) -> list[Collection]:
        """The collections that the key may see."""
        return wire.list_of(Collection, self._json("GET", "collections"), "data")

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _json(self, method: str, path: str, body: object = None) -> Any:
        with self._failures():
            return wire.json_of(self._http.request(method, path, json=body))

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except httpx.HTTPError as error:
            raise wire.transport_failure(error, self._http.base_url) from error
