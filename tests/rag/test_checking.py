import sqlite3
from collections.abc import Callable

import pytest

from rag.catalog import CATALOG_FILE
from rag.checking import check
from rag.index.generations import collection_folder
from rag.reindexing import reindex
from tests.rag.workshop import Workshop

pytestmark = pytest.mark.integration


def _sql(statement: str) -> Callable[[Workshop], None]:
    def change(workshop: Workshop) -> None:
        connection = sqlite3.connect(workshop.home / CATALOG_FILE)
        connection.execute(statement)
        connection.commit()
        connection.close()

    return change


def _damage_dense(workshop: Workshop) -> None:
    collection = workshop.catalog.collection("default")
    [dense] = collection_folder(workshop.home, collection.id).glob("*/dense.faiss")
    dense.write_bytes(dense.read_bytes()[:-4])


def _store_unpublished(workshop: Workshop) -> None:
    workshop.put(workshop.catalog.collection("default"), "late.txt", "late")


MENDED_BY_REINDEX: dict[str, tuple[Callable[[Workshop], None], str]] = {
    "vector": (_sql("DELETE FROM vectors WHERE id = 1"), "1 texts have no vector by fake-embedder"),
    "unpublished": (_store_unpublished, "changes 3 to 3 are stored but not published"),
    "dense": (_damage_dense, "dense.faiss has changed"),
    "embedder": (_sql("UPDATE collections SET embedder = 'old-1'"), "the configuration asks for fake-embedder"),
    "behind": (_sql("UPDATE collections SET last_seq = 9, published_seq = 9"), "is behind the catalog"),
}


@pytest.fixture
def filled(workshop: Workshop) -> Workshop:
    workshop.write(a="red\nblue", b="green")
    workshop.ingest()
    return workshop


def test_a_sound_home_has_no_findings(filled: Workshop) -> None:
    assert check(filled.home, filled.catalog, filled.embedder) == []
    assert check(filled.home, filled.catalog) == []


@pytest.mark.parametrize("name", MENDED_BY_REINDEX)
def test_what_a_reindex_mends_is_found_and_mended(filled: Workshop, name: str) -> None:
    harm, what = MENDED_BY_REINDEX[name]
    harm(filled)
    findings = check(filled.home, filled.catalog, filled.embedder)
    assert any(what in finding.what for finding in findings)
    assert {(finding.collection, finding.command) for finding in findings} == {
        ("default", "domainqa reindex --collection default")
    }
    reindex(filled.home, filled.catalog, filled.catalog.collection("default"), filled.pipeline())
    assert check(filled.home, filled.catalog, filled.embedder) == []


def test_a_chunk_that_is_not_its_documents_text_is_found(filled: Workshop) -> None:
    _sql("UPDATE chunks SET text = 'rad' WHERE text = 'red'")(filled)
    [finding] = check(filled.home, filled.catalog, filled.embedder)
    assert finding.what.startswith("1 of 2 chunks of a.txt are not the document's text at their place")
    assert "documents remove" in finding.command


def test_a_published_chunk_that_no_index_holds_is_found(filled: Workshop) -> None:
    _sql(
        "INSERT INTO chunks (collection_id, document_id, version_id, created_seq, id, text_hash, start, end, "
        "heading_path, context, text) SELECT collection_id, document_id, version_id, created_seq, id, text_hash, "
        "start, end, heading_path, context, text FROM chunks WHERE row = 1"
    )(filled)
    [finding] = check(filled.home, filled.catalog, filled.embedder)
    assert finding.what == "1 of 4 published chunks are not in the index"


def test_a_chunk_without_its_version_is_damage(filled: Workshop) -> None:
    _sql("UPDATE chunks SET version_id = 99 WHERE row = 1")(filled)
    findings = check(filled.home, filled.catalog, filled.embedder)
    assert findings[0].collection is None
    assert findings[0].what == "1 rows of chunks belong to no row of document_versions"
    assert findings[0].command == "domainqa restore FILE --force"
    assert filled.catalog.drop_orphans() == 0, "the document would have a hole"


def test_what_is_left_of_a_document_that_is_gone_is_found_and_mended(filled: Workshop) -> None:
    _sql("DELETE FROM documents WHERE source = 'a.txt'")(filled)  # this connection keeps no references
    findings = check(filled.home, filled.catalog, filled.embedder)
    assert {(each.what, each.command) for each in findings if each.collection is None} == {
        ("2 rows of chunks belong to no row of documents", "domainqa reindex"),
        ("1 rows of document_versions belong to no row of documents", "domainqa reindex"),
    }
    reindex(filled.home, filled.catalog, filled.catalog.collection("default"), filled.pipeline())
    assert check(filled.home, filled.catalog, filled.embedder) == []


def test_a_damaged_file_is_found(filled: Workshop) -> None:
    connection = sqlite3.connect(filled.home / CATALOG_FILE)
    connection.execute("PRAGMA writable_schema = 1")
    # An index that no longer holds what its table does: only the full check compares them.
    wrong = "UPDATE sqlite_master SET sql = replace(sql, '(text_hash)', '(id)') WHERE name = 'ix_chunks_text_hash'"
    connection.execute(wrong)
    connection.commit()
    connection.close()
    filled.catalog.close()
    findings = check(filled.home, filled.catalog, filled.embedder)
    assert findings[0].what.startswith("the catalog is damaged: ")
    assert findings[0].command == "domainqa restore FILE --force"


def test_every_tenants_collections_are_looked_at(filled: Workshop) -> None:
    filled.catalog.create_tenant("acme")
    filled.put(filled.collection("theirs", "acme"), "x", "unpublished")
    assert [each.collection for each in check(filled.home, filled.catalog, filled.embedder)] == ["theirs"]
