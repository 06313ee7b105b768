"""Keys in their holders' hands: random, recognised by a digest under the pepper, compared in constant time."""

import hashlib
import hmac
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rag.catalog import AccessKey
from rag.errors import StateError
from service import keys
from service.keys import PEPPER_FILE, Pepper, Verifier, id_of, named_id, new_key

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Rows:
    def __init__(self, *held: AccessKey) -> None:
        self.held = {each.id: each for each in held}

    def exist(self) -> bool:
        return bool(self.held)

    def find(self, key_id: str) -> AccessKey | None:
        return self.held.get(key_id)


@pytest.fixture
def pepper(tmp_path: Path) -> Pepper:
    made = Pepper(tmp_path)
    made.make()
    return made


@pytest.fixture
def held(pepper: Pepper) -> tuple[str, AccessKey]:
    new = new_key()
    return new.text, AccessKey(new.id, "default", "n", "reader", pepper.digest(new.text), NOON)


def verifier(pepper: Pepper, *held: AccessKey, at: datetime = NOON) -> Verifier:
    return Verifier(Rows(*held), pepper, lambda: at)


def test_keys_are_of_one_form_and_never_the_same() -> None:
    made = [new_key() for _ in range(200)]
    assert len({each.text for each in made}) == len({each.id for each in made}) == 200
    for each in made:
        prefix, key_id, secret = each.text.split("_", 2)
        assert (prefix, key_id, id_of(each.text)) == ("dqa", each.id, each.id)
        assert len(secret) == 43, "256 bits in base64"
    assert len({each.text[-20:] for each in made}) == 200


@pytest.mark.parametrize(
    "text",
    ["", "none", "dqa_", "dqa_aaaaaaaaaaaa", "dqa_aaaaaaaaaaaa_short", "sk-x", "dqa_ä", "dqa_a\r\nb", "x" * 9999],
)
def test_what_has_another_form_is_no_key(pepper: Pepper, text: str) -> None:
    assert id_of(text) is None
    assert verifier(pepper).verify(text) is None


def test_a_key_is_named_by_its_id_or_by_itself() -> None:
    new = new_key()
    assert named_id(new.id) == named_id(f"dqa_{new.id}") == named_id(new.text) == new.id
    assert named_id(new.text[:-1]) is named_id("x") is None


def test_the_digest_is_the_standards(pepper: Pepper, tmp_path: Path, held: tuple[str, AccessKey]) -> None:
    text, key = held
    secret = (tmp_path / PEPPER_FILE).read_bytes()
    # RFC 2104 by hand.
    block = secret.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block) + text.encode()).digest()
    assert key.digest == hashlib.sha256(bytes(byte ^ 0x5C for byte in block) + inner).digest()


def test_only_the_very_key_is_recognised(pepper: Pepper, held: tuple[str, AccessKey]) -> None:
    text, key = held
    other = new_key().text
    at = verifier(pepper, key)
    assert at.verify(text) == key
    assert at.verify(text[:-1] + ("A" if text[-1] != "A" else "B")) is None
    assert at.verify(text[:17] + other[17:]) is None, "the id of one, the secret of another"
    assert at.verify(other) is None


def test_revoked_and_expired_keys_are_not(pepper: Pepper, held: tuple[str, AccessKey]) -> None:
    text, key = held
    assert verifier(pepper, replace(key, revoked_at=NOON)).verify(text) is None
    expiring = replace(key, expires_at=NOON + timedelta(seconds=1))
    assert verifier(pepper, expiring).verify(text) == expiring
    assert verifier(pepper, expiring, at=NOON + timedelta(seconds=1)).verify(text) is None


def test_every_comparison_takes_constant_time(
    pepper: Pepper, held: tuple[str, AccessKey], monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = []

    def spy(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return real(one, other)

    real = hmac.compare_digest
    monkeypatch.setattr(keys.hmac, "compare_digest", spy)
    text, key = held
    at = verifier(pepper, key)
    stranger = new_key().text
    for each in (text, text[:-1] + "-", stranger):
        at.verify(each)
    assert [len(one) for one, _ in compared] == [32, 32, 32], "an unknown id costs a comparison too"
    assert [other for _, other in compared] == [key.digest, key.digest, bytes(32)]


def test_a_door_once_closed_stays_closed(pepper: Pepper, held: tuple[str, AccessKey]) -> None:
    rows = Rows()
    at = Verifier(rows, pepper)
    assert not at.keys_exist()
    rows.held[held[1].id] = held[1]
    assert at.keys_exist()
    rows.held.clear()
    assert at.keys_exist()


def test_the_pepper_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: Pepper(home).make(), range(32)))
    path = home / PEPPER_FILE
    assert [each.name for each in home.iterdir()] == [PEPPER_FILE], "no drafts are left"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(path.read_bytes()) == 32
    before = path.read_bytes()
    Pepper(home).make()
    assert path.read_bytes() == before
    assert Pepper(home).digest("x") != Pepper(_made(tmp_path / "another")).digest("x")


def _made(home: Path) -> Path:
    Pepper(home).make()
    return home


def test_a_missing_or_damaged_pepper_is_said_without_showing_it(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"keys\.pepper cannot be read .* restore"):
        Pepper(tmp_path).digest("x")
    (tmp_path / PEPPER_FILE).write_bytes(b"short")
    with pytest.raises(StateError, match=r"has 5 bytes, not 32") as caught:
        Pepper(tmp_path).digest("x")
    assert "short" not in str(caught.value)
