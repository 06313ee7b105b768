"""``GET /v1/conversations``, ``GET|PATCH|DELETE /v1/conversations/{id}``: what was asked and answered.

Turns are added by ``POST /v1/chat/completions`` alone.
"""

from fastapi import APIRouter

from rag.build import Library
from rag.catalog.conversations import Conversation, StoredTurn
from rag.catalog.feedback import Feedback
from rag.citing import numbers_for_readers
from service.api.answers import citation_out, conflict_out, evidence_out, nearest_out, usage_out
from service.api.identity import Caller
from service.api.records import (
    After,
    ConversationDetail,
    ConversationList,
    ConversationOut,
    Deleted,
    Limit,
    RenameRequest,
    TurnOut,
    seconds,
)
from service.api.schemas import ERRORS
from service.api.threads import Threads
from service.conversations import visible


def conversation_routes(library: Library, threads: Threads) -> APIRouter:
    router = APIRouter()

    @router.get("/v1/conversations", responses=ERRORS)
    async def conversations(caller: Caller, limit: Limit = 20, after: After = None) -> ConversationList:
        page = library.catalog.conversations.page
        found = await threads.run(page, caller.tenant, limit + 1, after, caller.collections)
        return ConversationList(data=[_out(each) for each in found[:limit]], has_more=len(found) > limit)

    @router.get("/v1/conversations/{conversation_id}", responses=ERRORS)
    async def conversation(caller: Caller, conversation_id: str) -> ConversationDetail:
        def read() -> ConversationDetail:
            found = visible(library.catalog, caller, conversation_id)
            ratings = library.catalog.feedback.of_conversation(found.number)
            turns = library.catalog.conversations.turns(found)
            return ConversationDetail(**dict(_out(found)), data=[_turn(each, ratings.get(each.id)) for each in turns])

        return await threads.run(read)

    @router.patch("/v1/conversations/{conversation_id}", responses=ERRORS)
    async def rename(caller: Caller, conversation_id: str, body: RenameRequest) -> ConversationOut:
        def act() -> Conversation:
            visible(library.catalog, caller, conversation_id)
            return library.catalog.conversations.rename(conversation_id, body.title, caller.tenant)

        return _out(await threads.run(act))

    @router.delete("/v1/conversations/{conversation_id}", responses=ERRORS)
    async def delete(caller: Caller, conversation_id: str) -> Deleted:
        """With its turns and the feedback on them."""

        def act() -> None:
            visible(library.catalog, caller, conversation_id)
            library.catalog.conversations.delete(conversation_id, caller.tenant)

        await threads.run(act)
        return Deleted(id=conversation_id)

    return router


def _out(conversation: Conversation) -> ConversationOut:
    return ConversationOut(
        id=conversation.id,
        title=conversation.title,
        collection=conversation.collection,
        turns=conversation.turns,
        created=seconds(conversation.created_at),
        updated=seconds(conversation.updated_at),
    )


def _turn(stored: StoredTurn, rated: Feedback | None) -> TurnOut:
    numbers = numbers_for_readers(stored.turn.assistant, stored.citations)
    return TurnOut(
        id=stored.id,
        question=stored.turn.question,
        answer=stored.turn.assistant,
        abstained=stored.abstained,
        supported=stored.supported,
        fallback=stored.fallback,
        purged=stored.purged,
        strategy=stored.strategy,
        engine_model=stored.model,
        finish_reason=stored.finish_reason,
        usage=usage_out(stored.usage),
        timings=dict(stored.timings),
        citations=[citation_out(each, numbers) for each in stored.citations],
        nearest=[nearest_out(each) for each in stored.nearest],
        conflicts=[conflict_out(each) for each in stored.conflicts],
        evidence=[evidence_out(each) for each in stored.turn.evidence],
        rating=None if rated is None else rated.rating,
        comment=None if rated is None else rated.comment,
        created=seconds(stored.created_at),
    )
