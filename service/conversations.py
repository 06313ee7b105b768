"""One question within a stored conversation: its history from the catalog, its turn back into it.

A turn is stored once the answer is whole, and before its end is told: whoever has read the end can come back to it. An
answer that fails or is cut off leaves nothing, not even the conversation that it would have begun.
"""

import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Protocol

from rag.build import Library
from rag.catalog import Catalog
from rag.catalog.conversations import Conversation
from rag.errors import ConflictError, DoesNotFitError, NotFoundError, UsageError
from rag.question import Question
from rag.types import Answer, AnswerEvent, Finished, Turn
from service.api.identity import Principal
from service.api.threads import Threads

NEW = "new"


class Stream(Protocol):
    def __call__(self, question: Question, caller: Principal) -> AsyncGenerator[AnswerEvent, None]: ...


class Conversing:
    """The conversations of one library that are being answered in just now. Belongs to one event loop."""

    def __init__(self, library: Library, threads: Threads) -> None:
        self.library = library
        self.threads = threads
        self.busy: set[str] = set()

    def exchange(self, wanted: str, caller: Principal, collection: str | None) -> "Exchange":
        """``wanted`` is a conversation's id, or ``new``; ``collection`` the one that was asked for, if any."""
        return Exchange(self, wanted, caller, collection)


class Exchange:
    """One question and its answer. The ids are fixed before the answer begins."""

    def __init__(self, conversing: Conversing, wanted: str, caller: Principal, collection: str | None) -> None:
        self._conversing = conversing
        self._caller = caller
        self._wanted_collection = collection
        self._new = wanted == NEW
        self.conversation = f"conv_{uuid.uuid4().hex}" if self._new else wanted
        self.turn = f"turn_{uuid.uuid4().hex}"
        self.collection = collection

    async def stream(self, question: Question, stream: Stream) -> AsyncGenerator[AnswerEvent, None]:
        """The answer's events with the conversation's own turns as history, whatever history the question brought.

        Raises beside the stream's own errors ``NotFoundError``, and ``ConflictError`` while another question of the
        same conversation is being answered. Where the history no longer fits the model's window, its older half is left
        out from now on.
        """
        if self.conversation in self._conversing.busy:
            raise ConflictError(f"conversation {self.conversation!r} is answering another question; ask again after it")
        self._conversing.busy.add(self.conversation)
        try:
            turns = () if self._new else await self._turns()
            question = replace(question, collection=self.collection or question.collection)
            self.collection = question.collection
            dropped = 0
            while True:
                begun = False
                try:
                    asked = replace(question, history=turns[dropped:])
                    async with aclosing(stream(asked, self._caller)) as events:
                        async for event in events:
                            begun = True
                            if isinstance(event, Finished):
                                await self._store(event.answer, dropped)
                            yield event
                    return
                except DoesNotFitError:
                    if begun or dropped == len(turns):
                        raise
                    dropped += (len(turns) - dropped + 1) // 2
        finally:
            self._conversing.busy.discard(self.conversation)

    async def _turns(self) -> tuple[Turn, ...]:
        conversation, turns = await self._conversing.threads.run(self._load)
        if self._wanted_collection not in (None, conversation.collection):
            raise UsageError(
                f"conversation {self.conversation!r} is about the collection {conversation.collection!r}, not "
                f"{self._wanted_collection!r}; begin another one"
            )
        self.collection = conversation.collection
        return turns

    def _load(self) -> tuple[Conversation, tuple[Turn, ...]]:
        conversation = visible(self._conversing.library.catalog, self._caller, self.conversation)
        stored = self._conversing.library.catalog.conversations.turns(conversation)
        return conversation, tuple(each.turn for each in stored if each.position >= conversation.history_start)

    async def _store(self, answer: Answer, dropped: int) -> None:
        assert self.collection is not None
        await self._conversing.threads.run(
            self._conversing.library.catalog.conversations.add_turn,
            self.conversation,
            self.turn,
            self.collection,
            answer,
            self._caller.tenant,
            new=self._new,
            dropped_turns=dropped,
        )


def visible(catalog: Catalog, caller: Principal, conversation_id: str) -> Conversation:
    """The conversation, else ``NotFoundError``: also where it is another tenant's or of a collection not to be seen."""
    conversation = catalog.conversations.get(conversation_id, caller.tenant)
    if not caller.may_see(conversation.collection):
        raise NotFoundError(f"there is no conversation {conversation_id!r}")
    return conversation
