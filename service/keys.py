"""Access keys as their holders have them: made, told apart from others, and kept as a digest only.

A key is ``dqa_<id>_<secret>``: the id is public and finds the row, the secret is 256 random bits. What is stored is
HMAC-SHA-256 of the whole key under a pepper, which lies in a file of its own.
"""

import hmac
import os
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Protocol

from rag.catalog import AccessKey, AccessKeys
from rag.errors import StateError

PREFIX = "dqa_"
PEPPER_FILE = "keys.pepper"

_PEPPER_BYTES = 32
_SECRET_BYTES = 32
_ID_BYTES = 6
_KEY = re.compile(r"dqa_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
_ID = re.compile(r"[0-9a-f]{12}")
_NOBODYS = bytes(32)


@dataclass(frozen=True, slots=True)
class NewKey:
    """``text`` is the key itself, for its holder; nobody can tell it again."""

    id: str
    text: str


def new_key() -> NewKey:
    key_id = secrets.token_hex(_ID_BYTES)
    return NewKey(key_id, f"{PREFIX}{key_id}_{secrets.token_urlsafe(_SECRET_BYTES)}")


def id_of(text: str) -> str | None:
    """The public part of what looks like a whole key."""
    found = _KEY.fullmatch(text)
    return found[1] if found else None


def named_id(text: str) -> str | None:
    """The id in what somebody names a key by: the id, with its prefix or without, or the whole key."""
    bare = text.removeprefix(PREFIX)
    return bare if _ID.fullmatch(bare) else id_of(text)


class Pepper:
    """The secret of a home that every digest depends on; without it no key of that home is good any longer."""

    def __init__(self, home: Path) -> None:
        self._path = home / PEPPER_FILE
        self._value: bytes | None = None
        self._lock = Lock()

    def make(self) -> None:
        """Make it unless it is there. Of several processes that do so at once, all end with the same."""
        draft = self._path.with_name(f"{PEPPER_FILE}.{secrets.token_hex(8)}")
        try:
            if self._path.exists():
                return
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(secrets.token_bytes(_PEPPER_BYTES))
                file.flush()
                os.fsync(file.fileno())
            try:
                # Whole or not at all, and never over another's.
                os.link(draft, self._path)
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        except OSError as error:
            raise StateError(f"{self._path} cannot be made: {error.strerror or error}") from error

    def digest(self, text: str) -> bytes:
        """HMAC-SHA-256 (RFC 2104), 32 bytes. ``StateError`` where the pepper cannot be read."""
        return hmac.digest(self._read(), text.encode(), "sha256")

    def _read(self) -> bytes:
        with self._lock:
            if self._value is None:
                try:
                    value = self._path.read_bytes()
                except OSError as error:
                    raise StateError(
                        f"{self._path} cannot be read ({error.strerror or error}), so no key can be checked; restore "
                        "it from a backup, or forget all keys with `domainqa keys revoke ID --forget` and make new ones"
                    ) from error
                if len(value) != _PEPPER_BYTES:
                    raise StateError(f"{self._path} has {len(value)} bytes, not {_PEPPER_BYTES}: it is damaged")
                self._value = value
            return self._value


def _now() -> datetime:
    return datetime.now(UTC)


def valid_keys_exist(keys: AccessKeys, home: Path) -> bool:
    """Whether anybody has a key that is good now. ``StateError`` where there are some and none can be checked."""
    now = _now()
    if not any(key.is_valid(now) for key in keys.list()):
        return False
    Pepper(home).digest("")
    return True


class KeyRows(Protocol):
    """What is asked of ``AccessKeys``."""

    def exist(self) -> bool: ...

    def find(self, key_id: str) -> AccessKey | None: ...


class Verifier:
    """Whose key a text is. Thread-safe; every question goes to the rows, so that a revocation holds at once."""

    def __init__(self, keys: KeyRows, pepper: Pepper, now: Callable[[], datetime] = _now) -> None:
        self._keys = keys
        self._pepper = pepper
        self._now = now
        self._exist = False

    def keys_exist(self) -> bool:
        """Once true it stays so for this process: nothing that happens to the rows opens a door that was closed."""
        self._exist = self._exist or self._keys.exist()
        return self._exist

    def verify(self, text: str) -> AccessKey | None:
        """The key, where it is one of ours, neither revoked nor expired."""
        key_id = id_of(text)
        if key_id is None:
            return None
        key = self._keys.find(key_id)
        # The same work for an unknown id, in a time that does not depend on where digests differ.
        is_same = hmac.compare_digest(self._pepper.digest(text), key.digest if key is not None else _NOBODYS)
        return key if key is not None and is_same and key.is_valid(self._now()) else None
