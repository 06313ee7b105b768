"""Access keys as rows: whose, for what, until when. Knows only a digest of each; who holds one is checked elsewhere."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import Engine, Row, delete, exists, insert, select, update
from sqlalchemy.exc import IntegrityError

from rag.catalog.opening import reading, writing
from rag.catalog.schema import access_keys, tenants
from rag.errors import NotFoundError, UsageError

Role = Literal["reader", "editor", "admin"]


@dataclass(frozen=True, slots=True)
class AccessKey:
    """What a key is good for. ``id`` is its public part; times are UTC.

    ``collections`` are the names it may see, ``None`` all of its tenant's. Limits are per minute, ``None`` without end.
    """

    id: str
    tenant: str
    name: str
    role: Role
    digest: bytes
    created_at: datetime
    collections: frozenset[str] | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def is_valid(self, at: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or at < self.expires_at)


class AccessKeys:
    """The keys of a home. Every method is one transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, key: AccessKey) -> None:
        """Its tenant must be there, else ``NotFoundError``; ``UsageError`` if the id is taken."""
        try:
            with writing(self._engine) as connection:
                tenant_id = connection.execute(select(tenants.c.id).where(tenants.c.name == key.tenant)).scalar()
                if tenant_id is None:
                    raise NotFoundError(f"there is no tenant {key.tenant!r}")
                connection.execute(
                    insert(access_keys).values(
                        id=key.id,
                        tenant_id=tenant_id,
                        name=key.name,
                        role=key.role,
                        digest=key.digest,
                        collections=None if key.collections is None else json.dumps(sorted(key.collections)),
                        requests_per_minute=key.requests_per_minute,
                        tokens_per_minute=key.tokens_per_minute,
                        created_at=_stored(key.created_at),
                        expires_at=_stored(key.expires_at),
                        revoked_at=_stored(key.revoked_at),
                    )
                )
        except IntegrityError as error:
            raise UsageError(f"there is a key {key.id!r} already") from error

    def exist(self) -> bool:
        """Whether there is any, revoked and expired ones included."""
        with reading(self._engine) as connection:
            return bool(connection.execute(select(exists(select(access_keys.c.id)))).scalar())

    def list(self) -> Sequence[AccessKey]:
        """All of them, the oldest first."""
        statement = _KEYS.order_by(access_keys.c.created_at, access_keys.c.id)
        with reading(self._engine) as connection:
            return [_key(row) for row in connection.execute(statement)]

    def find(self, key_id: str) -> AccessKey | None:
        with reading(self._engine) as connection:
            row = connection.execute(_KEYS.where(access_keys.c.id == key_id)).first()
        return None if row is None else _key(row)

    def revoke(self, key_id: str, at: datetime) -> AccessKey:
        """The key as it is now; one that was revoked before stays so from then on. ``NotFoundError`` without it."""
        with writing(self._engine) as connection:
            connection.execute(
                update(access_keys)
                .where(access_keys.c.id == key_id, access_keys.c.revoked_at.is_(None))
                .values(revoked_at=_stored(at))
            )
            row = connection.execute(_KEYS.where(access_keys.c.id == key_id)).first()
        if row is None:
            raise _no_key(key_id)
        return _key(row)

    def forget(self, key_id: str) -> None:
        """Delete its row; ``NotFoundError`` without it."""
        with writing(self._engine) as connection:
            if not connection.execute(delete(access_keys).where(access_keys.c.id == key_id)).rowcount:
                raise _no_key(key_id)


_KEYS = select(access_keys, tenants.c.name.label("tenant")).join(tenants)


def _key(row: Row[Any]) -> AccessKey:
    return AccessKey(
        id=row.id,
        tenant=row.tenant,
        name=row.name,
        role=row.role,
        digest=row.digest,
        collections=None if row.collections is None else frozenset(json.loads(row.collections)),
        requests_per_minute=row.requests_per_minute,
        tokens_per_minute=row.tokens_per_minute,
        created_at=datetime.fromisoformat(row.created_at),
        expires_at=None if row.expires_at is None else datetime.fromisoformat(row.expires_at),
        revoked_at=None if row.revoked_at is None else datetime.fromisoformat(row.revoked_at),
    )


def _stored(time: datetime | None) -> str | None:
    return None if time is None else time.astimezone(UTC).isoformat(timespec="seconds")


def _no_key(key_id: str) -> NotFoundError:
    return NotFoundError(f"there is no key {key_id!r}; `domainqa keys list` names those there are")
