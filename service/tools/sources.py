"""Where the tools' answers come from: the library in this process, or a running service through its client."""

from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol

import anyio
import anyio.to_thread

from rag.question import Question
from rag.types import Finished
from service.client import AsyncClient
from service.tools.outputs import CheckedAnswer, Passage, Passages, checked_answer

if TYPE_CHECKING:
    from rag.build import Library


class Source(Protocol):
    """Raises the ``DomainQAError`` family only."""

    async def search(self, query: str, collection: str, top_k: int | None) -> Passages: ...

    async def ask(self, question: str, collection: str) -> CheckedAnswer: ...

    async def aclose(self) -> None: ...


class InProcess:
    """The home's documents, answered here. Models are loaded by the first call."""

    def __init__(self, library: "Library") -> None:
        self._library = library
        self._threads = anyio.CapacityLimiter(library.settings.server.threads)

    async def search(self, query: str, collection: str, top_k: int | None) -> Passages:
        wanted = top_k or self._library.settings.retrieval.top_k
        hits = await anyio.to_thread.run_sync(self._library.search, query, collection, wanted, limiter=self._threads)
        return Passages(
            collection=collection,
            passages=[
                Passage(
                    document=hit.chunk.source,
                    title=hit.chunk.title,
                    page=hit.chunk.page,
                    start=hit.chunk.start,
                    end=hit.chunk.end,
                    text=hit.chunk.text,
                    score=hit.score,
                )
                for hit in hits
            ],
        )

    async def ask(self, question: str, collection: str) -> CheckedAnswer:
        async with aclosing(self._library.answerer.stream(Question(question.strip(), collection))) as events:
            async for event in events:
                if isinstance(event, Finished):
                    answer = event.answer
                    return checked_answer(
                        answer.text,
                        abstained=answer.abstained,
                        supported=answer.supported,
                        citations=[(each.source, each) for each in answer.citations],
                        nearest=[(each.source, each.title) for each in answer.nearest],
                    )
        raise AssertionError("the answer flow ended without an answer")

    async def aclose(self) -> None:
        await self._library.aclose()


class Remote:
    """The documents of a running service."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def search(self, query: str, collection: str, top_k: int | None) -> Passages:
        hits = await self._client.search(query, collection=collection, top_k=top_k)
        return Passages(
            collection=collection,
            passages=[
                Passage(
                    document=hit.document,
                    title=hit.title,
                    page=hit.page,
                    start=hit.start,
                    end=hit.end,
                    text=hit.text,
                    score=hit.score,
                )
                for hit in hits
            ],
        )

    async def ask(self, question: str, collection: str) -> CheckedAnswer:
        answer = await self._client.ask(question, collection=collection)
        return checked_answer(
            answer.text,
            abstained=answer.abstained,
            supported=answer.supported,
            citations=[(each.document, each) for each in answer.citations],
            nearest=[(each.document, each.title) for each in answer.provenance.nearest],
        )

    async def aclose(self) -> None:
        await self._client.aclose()
