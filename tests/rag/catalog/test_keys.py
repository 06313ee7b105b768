"""Keys as rows: what was put in comes out, a revocation stays, an older catalog gets the table and keeps its data."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rag.catalog import CATALOG_FILE, AccessKey, Catalog
from rag.errors import NotFoundError, UsageError
from rag.fakes import FakeEmbedder

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
PLAIN = AccessKey("a" * 12, "default", "plain", "reader", b"d" * 32, NOON)
LIMITED = AccessKey(
    "b" * 12,
    "acme",
    "limited",
    "editor",
    b"e" * 32,
    NOON + timedelta(hours=1),
    frozenset({"manuals", "größe"}),
    60,
    10_000,
    NOON + timedelta(days=2),
)


@pytest.fixture
def catalog(tmp_path: Path):
    with Catalog.open(tmp_path) as catalog:
        catalog.create_tenant("acme")
        yield catalog


def test_what_was_put_in_comes_out_the_oldest_first(catalog: Catalog) -> None:
    assert not catalog.keys.exist()
    catalog.keys.add(LIMITED)
    catalog.keys.add(PLAIN)
    assert catalog.keys.exist()
    assert catalog.keys.list() == [PLAIN, LIMITED]
    assert [catalog.keys.find(each.id) for each in (PLAIN, LIMITED)] == [PLAIN, LIMITED]
    assert catalog.keys.find("c" * 12) is None


def test_a_revocation_stays_as_it_was_first_made(catalog: Catalog) -> None:
    catalog.keys.add(PLAIN)
    catalog.keys.revoke(PLAIN.id, NOON)
    revoked = catalog.keys.revoke(PLAIN.id, NOON + timedelta(days=1))
    assert revoked.revoked_at == NOON
    assert catalog.keys.find(PLAIN.id) == revoked
    assert catalog.keys.exist(), "a revoked key is still one"
    catalog.keys.forget(PLAIN.id)
    assert not catalog.keys.exist()


def test_what_is_not_there_is_said(catalog: Catalog) -> None:
    catalog.keys.add(PLAIN)
    with pytest.raises(UsageError, match="there is a key 'aaaaaaaaaaaa' already"):
        catalog.keys.add(PLAIN)
    for change in (lambda: catalog.keys.revoke("f" * 12, NOON), lambda: catalog.keys.forget("f" * 12)):
        with pytest.raises(NotFoundError, match="domainqa keys list"):
            change()
    with pytest.raises(NotFoundError, match="no tenant 'nobody'"):
        catalog.keys.add(AccessKey("d" * 12, "nobody", "n", "reader", b"", NOON))


@pytest.mark.parametrize(
    ("at", "valid"),
    [(NOON, True), (NOON + timedelta(days=2, seconds=-1), True), (NOON + timedelta(days=2), False)],
)
def test_a_key_is_valid_until_it_expires(at: datetime, valid: bool) -> None:
    assert LIMITED.is_valid(at) is valid


@pytest.mark.parametrize("name", ["", "a b", "../x", "x" * 65, "-x"])
def test_a_tenant_has_a_name_like_a_collection(catalog: Catalog, name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a tenant"):
        catalog.create_tenant(name)


def test_collections_left_out_are_not_there(catalog: Catalog) -> None:
    for name in ("one", "two"):
        catalog.create_collection(name, FakeEmbedder(), "acme")
    assert [each.name for each in catalog.collections("acme", frozenset({"two", "three"}))] == ["two"]
    assert catalog.collection("two", "acme", frozenset({"two"})).name == "two"
    messages = []
    for name, only in (("one", frozenset({"two"})), ("nix", frozenset({"two"}))):
        with pytest.raises(NotFoundError) as caught:
            catalog.collection(name, "acme", only)
        messages.append(str(caught.value).replace(name, "?"))
    assert messages[0] == messages[1]
    assert "one" not in messages[0].replace("there are", "")


def test_a_catalog_of_the_schema_before_gets_the_table_and_keeps_its_data(tmp_path: Path, downgrade) -> None:
    with Catalog.open(tmp_path) as catalog:
        made = catalog.create_collection("manuals", FakeEmbedder())
    downgrade(tmp_path, "0002")
    with closing(sqlite3.connect(tmp_path / CATALOG_FILE)) as connection:
        assert not connection.execute("SELECT name FROM sqlite_master WHERE name = 'access_keys'").fetchall()
    with Catalog.open(tmp_path) as catalog:
        assert catalog.collection("manuals") == made
        catalog.keys.add(PLAIN)
        assert catalog.keys.list() == [PLAIN]
