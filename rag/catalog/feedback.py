"""What readers thought of answers: one rating for each turn, the last one counts."""

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Engine, delete, insert, select

from rag.catalog.conversations import StoredTurn, stored_turn
from rag.catalog.opening import reading, writing
from rag.catalog.schema import conversations, feedback, tenants, turns
from rag.catalog.writing import now
from rag.errors import NotFoundError
from rag.types import DEFAULT_TENANT

Rating = Literal["up", "down"]


@dataclass(frozen=True, slots=True)
class Feedback:
    conversation: str
    turn: str
    rating: Rating
    comment: str | None
    created_at: str


@dataclass(frozen=True, slots=True)
class RatedTurn:
    """A rated answer with the turns before it."""

    conversation: str
    collection: str
    rating: Rating
    comment: str | None
    turn: StoredTurn
    history: tuple[StoredTurn, ...]


class FeedbackStore:
    """Every method is one transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def put(
        self,
        conversation_id: str,
        turn_id: str,
        rating: Rating,
        comment: str | None,
        tenant: str = DEFAULT_TENANT,
    ) -> Feedback:
        """Rate a turn, or rate it anew; ``NotFoundError`` where the conversation has no such turn."""
        moment = now()
        found = (
            select(turns.c.number, turns.c.tenant_id)
            .join(conversations, conversations.c.number == turns.c.conversation_number)
            .join(tenants, tenants.c.id == turns.c.tenant_id)
            .where(turns.c.id == turn_id, conversations.c.id == conversation_id, tenants.c.name == tenant)
        )
        with writing(self._engine) as connection:
            turn = connection.execute(found).first()
            if turn is None:
                raise NotFoundError(f"there is no turn {turn_id!r} in conversation {conversation_id!r}")
            connection.execute(delete(feedback).where(feedback.c.turn_number == turn.number))
            connection.execute(
                insert(feedback).values(
                    tenant_id=turn.tenant_id,
                    turn_number=turn.number,
                    rating=rating,
                    comment=comment,
                    created_at=moment,
                )
            )
        return Feedback(conversation_id, turn_id, rating, comment, moment)

    def of_conversation(self, conversation_number: int) -> dict[str, Feedback]:
        """By the turn's id."""
        statement = (
            select(conversations.c.id, turns.c.id, feedback.c.rating, feedback.c.comment, feedback.c.created_at)
            .join(turns, turns.c.number == feedback.c.turn_number)
            .join(conversations, conversations.c.number == turns.c.conversation_number)
            .where(conversations.c.number == conversation_number)
        )
        with reading(self._engine) as connection:
            return {entry[1]: Feedback(*entry) for entry in connection.execute(statement)}

    def rated(self, tenant: str = DEFAULT_TENANT) -> list[RatedTurn]:
        """Every rated turn, oldest first; those whose content was purged left out."""
        rated = (
            select(feedback.c.rating, feedback.c.comment, conversations.c.id, conversations.c.collection, turns)
            .join(turns, turns.c.number == feedback.c.turn_number)
            .join(conversations, conversations.c.number == turns.c.conversation_number)
            .join(tenants, tenants.c.id == feedback.c.tenant_id)
            .where(tenants.c.name == tenant, turns.c.purged == 0)
            .order_by(turns.c.number)
        )
        found: list[RatedTurn] = []
        with reading(self._engine) as connection:
            for rating, comment, conversation, collection, *columns in connection.execute(rated).all():
                entry = dict(zip(turns.c.keys(), columns, strict=True))
                before = (
                    select(turns)
                    .where(
                        turns.c.conversation_number == entry["conversation_number"],
                        turns.c.position < entry["position"],
                    )
                    .order_by(turns.c.position)
                )
                history = tuple(stored_turn(row) for row in connection.execute(before).mappings())
                found.append(RatedTurn(conversation, collection, rating, comment, stored_turn(entry), history))
        return found
