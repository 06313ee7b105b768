"""Conversations and their turns: what was asked and answered, from which evidence, and how.

A turn is stored whole, in the transaction that makes its conversation where it is the first one. Its rendered messages
are kept to the byte, for they are the prefix of the next prompt.
"""

import json
from collections.abc import Collection as AnyOf
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Select, and_, delete, func, insert, or_, select, update

from rag.catalog.opening import reading, writing
from rag.catalog.schema import conversations, tenants, turn_documents, turns
from rag.errors import NotFoundError
from rag.types import (
    DEFAULT_TENANT,
    Answer,
    Citation,
    Conflict,
    Evidence,
    FinishReason,
    NearestDocument,
    Turn,
    Usage,
)

PURGED_TEXT = "[removed: a document that this answer was made from was purged]"
MAX_TITLE = 80

T = TypeVar("T", Citation, Conflict, Evidence, NearestDocument)


@dataclass(frozen=True, slots=True)
class Conversation:
    """Times are ISO 8601 in UTC; ``turns`` counts them."""

    number: int
    id: str
    tenant: str
    collection: str
    title: str
    history_start: int
    """The position of the first turn that the model is still told: those before no longer fit its window."""
    created_at: str
    updated_at: str
    turns: int


@dataclass(frozen=True, slots=True)
class StoredTurn:
    """A question and its answer. ``purged``: a document behind it was erased, and all but the question with it."""

    id: str
    position: int
    turn: Turn
    strategy: str
    model: str
    abstained: bool
    supported: bool | None
    fallback: str | None
    finish_reason: FinishReason
    purged: bool
    created_at: str
    usage: Usage
    timings: Mapping[str, float]
    citations: tuple[Citation, ...]
    nearest: tuple[NearestDocument, ...]
    conflicts: tuple[Conflict, ...]


_CONVERSATION: Select[Any] = select(
    conversations.c.number,
    conversations.c.id,
    tenants.c.name,
    conversations.c.collection,
    conversations.c.title,
    conversations.c.history_start,
    conversations.c.created_at,
    conversations.c.updated_at,
    select(func.count()).where(turns.c.conversation_number == conversations.c.number).scalar_subquery(),
).join(tenants, tenants.c.id == conversations.c.tenant_id)


class Conversations:
    """Every method is one transaction. Conversations of other tenants do not exist for a caller."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def get(self, conversation_id: str, tenant: str = DEFAULT_TENANT) -> Conversation:
        with reading(self._engine) as connection:
            return _get(connection, conversation_id, tenant)

    def page(
        self,
        tenant: str = DEFAULT_TENANT,
        limit: int = 20,
        after: str | None = None,
        collections: AnyOf[str] | None = None,
    ) -> list[Conversation]:
        """By last activity, newest first; those behind the conversation ``after``, of ``collections`` where given."""
        statement = _CONVERSATION.where(tenants.c.name == tenant)
        if collections is not None:
            statement = statement.where(conversations.c.collection.in_(collections))
        with reading(self._engine) as connection:
            if after is not None:
                found = connection.execute(statement.where(conversations.c.id == after)).first()
                if found is None:
                    raise _no_conversation(after)
                last = Conversation(*found)
                same_time = and_(conversations.c.updated_at == last.updated_at, conversations.c.number < last.number)
                statement = statement.where(or_(conversations.c.updated_at < last.updated_at, same_time))
            order = (conversations.c.updated_at.desc(), conversations.c.number.desc())
            return [Conversation(*entry) for entry in connection.execute(statement.order_by(*order).limit(limit))]

    def turns(self, conversation: Conversation) -> list[StoredTurn]:
        """All of them, in order."""
        statement = select(turns).where(turns.c.conversation_number == conversation.number).order_by(turns.c.position)
        with reading(self._engine) as connection:
            return [stored_turn(entry) for entry in connection.execute(statement).mappings().all()]

    def add_turn(
        self,
        conversation_id: str,
        turn_id: str,
        collection: str,
        answer: Answer,
        tenant: str = DEFAULT_TENANT,
        *,
        new: bool,
        dropped_turns: int = 0,
    ) -> None:
        """Store a finished answer with its turn; ``new`` makes the conversation. ``NotFoundError`` once it is deleted.

        ``dropped_turns``: so many further turns at its beginning no longer fitted the model's window.
        """
        assert answer.turn is not None
        moment = _moment()
        with writing(self._engine) as connection:
            tenant_id = connection.execute(select(tenants.c.id).where(tenants.c.name == tenant)).scalar_one()
            if new:
                connection.execute(
                    insert(conversations).values(
                        id=conversation_id,
                        tenant_id=tenant_id,
                        collection=collection,
                        title=title_of(answer.turn.question),
                        history_start=1,
                        created_at=moment,
                        updated_at=moment,
                    )
                )
            conversation = _get(connection, conversation_id, tenant)
            connection.execute(
                update(conversations)
                .where(conversations.c.number == conversation.number)
                .values(updated_at=moment, history_start=conversations.c.history_start + dropped_turns)
            )
            turn_number = connection.execute(
                insert(turns)
                .values(
                    id=turn_id,
                    tenant_id=tenant_id,
                    conversation_number=conversation.number,
                    position=conversation.turns + 1,
                    created_at=moment,
                    purged=0,
                    **_columns(answer, answer.turn),
                )
                .returning(turns.c.number)
            ).scalar_one()
            entries = [
                {"turn_number": turn_number, "document_id": document_id, "tenant_id": tenant_id}
                for document_id in _documents_of(answer, answer.turn)
            ]
            if entries:
                connection.execute(insert(turn_documents), entries)

    def rename(self, conversation_id: str, title: str, tenant: str = DEFAULT_TENANT) -> Conversation:
        with writing(self._engine) as connection:
            conversation = _get(connection, conversation_id, tenant)
            connection.execute(
                update(conversations).where(conversations.c.number == conversation.number).values(title=title)
            )
            return _get(connection, conversation_id, tenant)

    def delete(self, conversation_id: str, tenant: str = DEFAULT_TENANT) -> None:
        """With its turns and the feedback on them."""
        with writing(self._engine) as connection:
            conversation = _get(connection, conversation_id, tenant)
            connection.execute(delete(conversations).where(conversations.c.number == conversation.number))

    def expire(self, before: datetime) -> int:
        """Delete the conversations, of every tenant, in which nothing happened since; how many there were."""
        moment = before.astimezone(UTC).isoformat(timespec="microseconds")
        with writing(self._engine) as connection:
            return connection.execute(delete(conversations).where(conversations.c.updated_at < moment)).rowcount

    def with_document(self, document_id: str) -> list[str]:
        """Ids of the conversations, of every tenant, in which a turn was shown, cited or pointed at the document."""
        statement = (
            select(conversations.c.id)
            .join(turns, turns.c.conversation_number == conversations.c.number)
            .join(turn_documents, turn_documents.c.turn_number == turns.c.number)
            .where(turn_documents.c.document_id == document_id)
            .distinct()
            .order_by(conversations.c.id)
        )
        with reading(self._engine) as connection:
            return list(connection.execute(statement).scalars())

    def purge_document(self, document_id: str) -> int:
        """Erase all but the question of every turn that the document had a part in; the number of turns.

        The answer goes too, for it may repeat the passage. So does the rest of the evidence, which the rendered message
        held in one piece with it.
        """
        touched = select(turn_documents.c.turn_number).where(turn_documents.c.document_id == document_id)
        with writing(self._engine) as connection:
            numbers = list(connection.execute(touched).scalars())
            for number in numbers:
                connection.execute(
                    update(turns)
                    .where(turns.c.number == number)
                    .values(
                        user=turns.c.question,
                        assistant=PURGED_TEXT,
                        citations="[]",
                        nearest="[]",
                        evidence="[]",
                        conflicts="[]",
                        supported=None,
                        fallback=None,
                        purged=1,
                    )
                )
                connection.execute(delete(turn_documents).where(turn_documents.c.turn_number == number))
        return len(numbers)


def title_of(question: str) -> str:
    """The question in one line, cut where it is long."""
    line = " ".join(question.split())
    return line if len(line) <= MAX_TITLE else line[: MAX_TITLE - 1] + "…"


def _moment() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _get(connection: Connection, conversation_id: str, tenant: str) -> Conversation:
    statement = _CONVERSATION.where(conversations.c.id == conversation_id, tenants.c.name == tenant)
    found = connection.execute(statement).first()
    if found is None:
        raise _no_conversation(conversation_id)
    return Conversation(*found)


def _no_conversation(conversation_id: str) -> NotFoundError:
    return NotFoundError(f"there is no conversation {conversation_id!r}")


def _documents_of(answer: Answer, turn: Turn) -> list[str]:
    shown = {each.document_id for each in (*turn.evidence, *answer.evidence)}
    cited = {each.document_id for each in answer.citations}
    return sorted(shown | cited | {each.document_id for each in answer.nearest})


def _columns(answer: Answer, turn: Turn) -> dict[str, Any]:
    return {
        "question": turn.question,
        "user": turn.user,
        "assistant": turn.assistant,
        "strategy": answer.strategy,
        "model": answer.model,
        "abstained": int(answer.abstained),
        "supported": None if answer.supported is None else int(answer.supported),
        "fallback": answer.fallback,
        "finish_reason": answer.finish_reason,
        "usage": _json(asdict(answer.usage)),
        "timings": _json(dict(answer.timings)),
        "citations": _json([asdict(each) for each in answer.citations]),
        "nearest": _json([asdict(each) for each in answer.nearest]),
        "evidence": _json([asdict(each) for each in turn.evidence]),
        "conflicts": _json([asdict(each) for each in answer.conflicts]),
    }


def stored_turn(entry: Mapping[Any, Any]) -> StoredTurn:
    """A row of ``turns``."""
    evidence = _read(Evidence, entry["evidence"])
    return StoredTurn(
        id=entry["id"],
        position=entry["position"],
        turn=Turn(entry["question"], entry["user"], entry["assistant"], evidence),
        strategy=entry["strategy"],
        model=entry["model"],
        abstained=bool(entry["abstained"]),
        supported=None if entry["supported"] is None else bool(entry["supported"]),
        fallback=entry["fallback"],
        finish_reason=entry["finish_reason"],
        purged=bool(entry["purged"]),
        created_at=entry["created_at"],
        usage=Usage(**json.loads(entry["usage"])),
        timings=json.loads(entry["timings"]),
        citations=_read(Citation, entry["citations"]),
        nearest=_read(NearestDocument, entry["nearest"]),
        conflicts=_read(Conflict, entry["conflicts"]),
    )


def _read(kind: type[T], text: str) -> tuple[T, ...]:
    """What was written by an earlier version may hold fields that are no longer, and lack those with a default."""
    names = {field.name for field in fields(kind)}
    made: list[T] = []
    for each in json.loads(text):
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in each.items() if name in names
        }
        made.append(kind(**values))
    return tuple(made)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
