"""``POST /v1/feedback``: what a reader thought of an answer. The last word on a turn counts."""

from fastapi import APIRouter

from rag.build import Library
from rag.catalog.feedback import Feedback
from service.api.identity import Caller
from service.api.records import FeedbackOut, FeedbackRequest, seconds
from service.api.schemas import ERRORS
from service.api.threads import Threads
from service.conversations import visible


def feedback_routes(library: Library, threads: Threads) -> APIRouter:
    router = APIRouter()

    @router.post("/v1/feedback", responses=ERRORS)
    async def rate(caller: Caller, body: FeedbackRequest) -> FeedbackOut:
        def act() -> Feedback:
            visible(library.catalog, caller, body.conversation)
            return library.catalog.feedback.put(body.conversation, body.turn, body.rating, body.comment, caller.tenant)

        stored = await threads.run(act)
        return FeedbackOut(
            conversation=stored.conversation,
            turn=stored.turn,
            rating=stored.rating,
            comment=stored.comment,
            created=seconds(stored.created_at),
        )

    return router
