import dataclasses
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from sqlalchemy import event

from rag.catalog import NewVersion, text_hash
from rag.catalog.opening import reading
from rag.errors import CatalogError, NotFoundError, UsageError
from rag.fakes import FakeEmbedder
from rag.types import Chunk, Failure, embedded_text
from tests.rag.workshop import Workshop, make_document


def test_a_document_comes_back_as_it_was_stored(workshop: Workshop) -> None:
    collection = workshop.collection()
    text = "Ünïcode 泵\n\n𝒳 astral \x00 nul\nлиния"
    workshop.put(collection, "a/б.txt", text, "ru")
    [info] = workshop.catalog.documents(collection)
    assert workshop.catalog.document(collection, info.id) == make_document("a/б.txt", text, "ru")
    assert workshop.catalog.document(collection, "a/б.txt") == make_document("a/б.txt", text, "ru")
    assert workshop.catalog.document_version(info.id, info.version).text == text
    assert (info.source, info.chunks, info.pages, info.language) == ("a/б.txt", 3, 1, "ru")
    assert info == workshop.catalog.document_info(collection, "a/б.txt")


def test_chunks_come_back_verbatim_with_what_a_citation_needs(workshop: Workshop) -> None:
    collection = workshop.collection()
    seq = workshop.put(collection, "a.txt", "first line\nsecond 泵 line")
    [info] = workshop.catalog.documents(collection)
    chunks = workshop.catalog.document_chunks(collection.id, info.id, seq)
    assert [chunk.text for chunk in chunks] == ["first line", "second 泵 line"]
    text = workshop.catalog.document(collection, info.id).text
    assert all(text[chunk.start : chunk.end] == chunk.text for chunk in chunks)
    assert {chunk.document_id for chunk in chunks} == {info.id}
    first = chunks[0]
    assert (first.title, first.context, first.heading_path) == ("About a.txt", "About a.txt", ("About a.txt",))
    assert (first.page, first.date, first.version, first.source) == (1, "2024-03-12", info.version, "a.txt")
    rows = [chunk.row for chunk in chunks]
    assert workshop.catalog.chunks(collection.id, np.array(rows), seq) == {chunk.row: chunk for chunk in chunks}
    assert workshop.catalog.visible_rows(collection.id, [*rows, 999], seq) == set(rows)


def test_ids_are_kept_through_edits_and_rows_never_reused(workshop: Workshop) -> None:
    collection = workshop.collection()
    catalog = workshop.catalog
    seq = workshop.put(collection, "a.txt", "one\ntwo")
    [before] = catalog.documents(collection)
    old = catalog.document_chunks(collection.id, before.id, seq)
    seq = workshop.put(collection, "a.txt", "one\nthree")
    [after] = catalog.documents(collection)
    new = catalog.document_chunks(collection.id, after.id, seq)
    assert before.id == after.id
    assert before.version != after.version
    assert {chunk.id for chunk in old}.isdisjoint(chunk.id for chunk in new)
    catalog.remove_document(collection, "a.txt")
    seq = workshop.put(collection, "a.txt", "one\nthree")
    again = catalog.document_chunks(collection.id, before.id, seq)
    assert [chunk.id for chunk in again] == [chunk.id for chunk in new]
    assert min(chunk.row for chunk in again) > max(chunk.row for chunk in new) > max(chunk.row for chunk in old)


def test_a_newcomer_under_a_moved_documents_first_name_gets_its_own_id(workshop: Workshop) -> None:
    collection = workshop.collection()
    workshop.put(collection, "a.txt", "one")
    known = workshop.catalog.known_sources(collection)["a.txt"]
    workshop.catalog.move(known, "b.txt", "/b.txt")
    workshop.put(collection, "a.txt", "two")
    infos = workshop.catalog.documents(collection)
    assert [info.source for info in infos] == ["a.txt", "b.txt"]
    assert infos[1].id == known.document_id != infos[0].id


def test_nothing_is_stored_of_a_document_whose_vector_is_missing(workshop: Workshop) -> None:
    collection = workshop.collection()
    document = make_document("a.txt", "one\ntwo")
    new = NewVersion(document, tuple(workshop.chunker.chunk(document)), "/a", 1, "p", "c/e")
    known, unknown = (text_hash(chunk) for chunk in new.chunks)
    workshop.catalog.add_vectors(collection.embedder, [known], np.ones((1, 64), np.float32))
    assert workshop.catalog.store(collection, new) == {unknown}
    assert workshop.catalog.documents(collection) == []
    assert workshop.catalog.last_seq(collection.id) == 0


def test_vectors_come_back_bit_by_bit_and_are_kept_while_used(workshop: Workshop) -> None:
    collection, other = workshop.collection(), workshop.collection("other")
    catalog = workshop.catalog
    workshop.put(collection, "a.txt", "shared line\nown line")
    workshop.put(collection, "b.txt", "nothing")
    rows = catalog.rows_for_index(collection.id, {catalog.last_seq(collection.id)})
    [batch] = catalog.index_rows(collection, rows)
    assert batch.rows.tolist() == rows.tolist()
    assert batch.texts == tuple(
        f"About {source}\n{line}"
        for source, line in (("a.txt", "shared line"), ("a.txt", "own line"), ("b.txt", "nothing"))
    )
    assert np.array_equal(batch.vectors, workshop.embedder.embed_documents(batch.texts))
    assert [len(part.rows) for part in catalog.index_rows(collection, rows, batch=2)] == [2, 1]

    workshop.put(other, "a.txt", "shared line")
    hashes = {line: text_hash(Chunk(line, "About a.txt", 0, 0)) for line in ("shared line", "own line")}
    catalog.remove_document(collection, "a.txt")
    assert catalog.known_vectors(hashes.values(), collection.embedder) == {hashes["shared line"]}
    catalog.delete_collection("other")
    assert catalog.known_vectors(hashes.values(), collection.embedder) == set()
    assert [len(part.rows) for part in catalog.index_rows(collection, rows)] == [1]


def test_a_missing_vector_is_named_when_an_index_is_built(workshop: Workshop) -> None:
    collection = workshop.collection()
    workshop.put(collection, "a.txt", "one")
    changed = workshop.catalog.adopt(collection, _other_embedder())
    texts = workshop.catalog.texts_without_vector(changed)
    assert list(texts.values()) == [embedded_text("About a.txt", "one")]
    with pytest.raises(CatalogError, match="no vector of 8 dimensions by embedder fake-embedder-2; run `domainqa rei"):
        list(workshop.catalog.index_rows(changed, [1]))


def test_unused_vectors_are_dropped(workshop: Workshop) -> None:
    collection = workshop.collection()
    workshop.put(collection, "a.txt", "one")
    used = text_hash(Chunk("one", "About a.txt", 0, 3))
    vector = np.ones((1, 64), np.float32)
    workshop.catalog.add_vectors(collection.embedder, [b"x" * 32], vector)
    workshop.catalog.add_vectors("gone", [used], vector)
    workshop.catalog.drop_unused_vectors()
    assert workshop.catalog.known_vectors([used, b"x" * 32], collection.embedder) == {used}
    assert workshop.catalog.known_vectors([used], "gone") == set()


def test_a_sweep_takes_what_was_retired_and_leaves_what_is_still_used(workshop: Workshop) -> None:
    collection = workshop.collection()
    first = workshop.put(collection, "a.txt", "same\nold")
    second = workshop.put(collection, "a.txt", "same\nnew")
    hashes = {line: text_hash(Chunk(line, "About a.txt", 0, 0)) for line in ("same", "old", "new")}
    before = workshop.catalog.document(collection, "a.txt", first).version
    workshop.catalog.sweep(collection, first)
    assert len(workshop.catalog.rows_for_index(collection.id, {first})) == 2
    workshop.catalog.sweep(collection, second)
    assert len(workshop.catalog.rows_for_index(collection.id, {first})) == 0
    assert len(workshop.catalog.rows_for_index(collection.id, {second})) == 2
    kept = workshop.catalog.known_vectors(hashes.values(), collection.embedder)
    assert kept == {hashes["same"], hashes["new"]}
    [info] = workshop.catalog.documents(collection)
    with pytest.raises(NotFoundError, match="no version"):
        workshop.catalog.document_version(info.id, before)


def test_failures_are_kept_until_the_source_is_stored_or_removed(workshop: Workshop) -> None:
    collection = workshop.collection()
    for reason in ("encrypted", "damaged"):
        workshop.catalog.record_failure(collection, Failure("a.txt", reason), None)
    workshop.catalog.record_failure(collection, Failure("b.txt", "empty"), "0" * 64)
    assert workshop.catalog.failures(collection) == [Failure("a.txt", "damaged"), Failure("b.txt", "empty")]
    workshop.put(collection, "a.txt", "now it can be read")
    assert workshop.catalog.failures(collection) == [Failure("b.txt", "empty")]


def test_names_are_checked_and_missing_ones_answered_with_those_there_are(workshop: Workshop) -> None:
    with pytest.raises(NotFoundError, match="nor any other"):
        workshop.catalog.collection("manuals")
    collection = workshop.collection("manuals")
    assert workshop.catalog.collection("manuals") == collection
    assert (collection.embedder, collection.dimension, collection.published_seq) == ("fake-embedder-1", 64, 0)
    with pytest.raises(NotFoundError, match="'manual'; there are: manuals"):
        workshop.catalog.collection("manual")
    with pytest.raises(UsageError, match="a collection 'manuals' already"):
        workshop.collection("manuals")
    for name in ("", "../etc", "a b", "-x", "x" * 65):
        with pytest.raises(UsageError, match="cannot name a collection"):
            workshop.collection(name)
    with pytest.raises(NotFoundError, match=r"no document 'a\.txt' in collection 'manuals'"):
        workshop.catalog.document(collection, "a.txt")


def test_a_deleted_collection_is_gone_and_its_number_not_given_again(workshop: Workshop) -> None:
    collection = workshop.collection()
    workshop.put(collection, "a.txt", "one")
    assert workshop.catalog.delete_collection("default").id == collection.id
    with pytest.raises(NotFoundError):
        workshop.catalog.published_seq(collection.id)
    with pytest.raises(NotFoundError):
        workshop.put(collection, "a.txt", "one")
    assert workshop.collection().id > collection.id
    assert workshop.catalog.damage() == []


def test_tenants_and_collections_do_not_see_each_other(workshop: Workshop) -> None:
    catalog = workshop.catalog
    with pytest.raises(NotFoundError, match="no tenant 'acme'"):
        workshop.collection("default", "acme")
    catalog.create_tenant("acme")
    ours, theirs = workshop.collection(), workshop.collection("default", "acme")
    secret = workshop.collection("secret", "acme")
    seq = workshop.put(ours, "a.txt", "ours")
    workshop.put(theirs, "a.txt", "theirs")
    workshop.put(secret, "s.txt", "secret")
    assert [collection.name for collection in catalog.collections()] == ["default"]
    assert [collection.name for collection in catalog.collections("acme")] == ["default", "secret"]
    with pytest.raises(NotFoundError, match=r"there are: default$"):
        catalog.collection("secret")
    with pytest.raises(NotFoundError):
        catalog.delete_collection("secret")
    their_rows = catalog.rows_for_index(theirs.id, {99}).tolist()
    assert catalog.chunks(ours.id, their_rows, 99) == {}
    assert catalog.visible_rows(ours.id, their_rows, 99) == set()
    [their_document] = catalog.documents(theirs)
    assert catalog.document_chunks(ours.id, their_document.id, seq) == []
    with pytest.raises(NotFoundError):
        catalog.document(ours, their_document.id)
    with pytest.raises(NotFoundError):
        catalog.remove_document(ours, their_document.id)
    assert next(iter(catalog.index_rows(ours, their_rows))).rows.tolist() == []
    assert catalog.document(ours, "a.txt").text == "ours"


def test_the_writer_lock_has_one_holder(workshop: Workshop) -> None:
    collection, other = workshop.collection(), workshop.collection("other")
    with workshop.catalog.writer_lock(collection):
        with (
            pytest.raises(CatalogError, match="another ingest is running on collection 'default'"),
            workshop.catalog.writer_lock(collection),
        ):
            pytest.fail("two writers")
        with workshop.catalog.writer_lock(other):
            pass
    with workshop.catalog.writer_lock(collection):
        pass


def test_a_killed_process_frees_the_writer_lock(workshop: Workshop) -> None:
    collection = workshop.collection()
    code = (
        "import sys, time; from pathlib import Path; from rag.catalog import Catalog\n"
        "catalog = Catalog.open(Path(sys.argv[1]))\n"
        "with catalog.writer_lock(catalog.collection('default')):\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, workshop.home], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(CatalogError), workshop.catalog.writer_lock(collection):
            pytest.fail("two writers")
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    time.sleep(0.01)
    with workshop.catalog.writer_lock(collection):
        pass


def test_wrong_shapes_are_refused(workshop: Workshop) -> None:
    with pytest.raises(ValueError, match="2 texts but 1 vectors"):
        workshop.catalog.add_vectors("x", [b"a" * 32, b"b" * 32], np.ones((1, 4), np.float32))


def _other_embedder() -> FakeEmbedder:
    embedder = FakeEmbedder(dimension=8)
    embedder.fingerprint = "fake-embedder-2"
    return embedder


def test_stored_types_are_plain(workshop: Workshop) -> None:
    """numpy's integers must not leak into values that are written as JSON."""
    collection = workshop.collection()
    seq = workshop.put(collection, "a.txt", "one")
    [chunk] = workshop.catalog.chunks(collection.id, np.array([1]), seq).values()
    assert {type(value) for value in dataclasses.astuple(chunk)} <= {int, str, tuple, type(None)}


def test_a_query_looks_up_its_rows_and_never_walks_the_collection(workshop: Workshop) -> None:
    collection = workshop.collection()
    seq = workshop.put(collection, "a.txt", "one\ntwo")
    [info] = workshop.catalog.documents(collection)
    statements: list[tuple[str, object]] = []
    engine = workshop.catalog._engine

    def note(_connection: object, _cursor: object, statement: str, parameters: object, *_rest: object) -> None:
        if statement.startswith("SELECT"):
            statements.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    workshop.catalog.visible_rows(collection.id, [1, 2], seq)
    workshop.catalog.chunks(collection.id, [1, 2], seq)
    list(workshop.catalog.index_rows(collection, [1, 2]))
    workshop.catalog.document_chunks(collection.id, info.id, seq)
    event.remove(engine, "before_cursor_execute", note)
    plans = []
    with reading(engine) as connection:
        for statement, parameters in statements:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            plans.append(next(line.detail for line in plan if "chunks" in line.detail))
    by_row, by_document = "INTEGER PRIMARY KEY (rowid=?)", "ix_chunks_document_id (document_id=?)"
    assert [plan.partition("USING ")[2].removeprefix("INDEX ") for plan in plans] == [by_row] * 3 + [by_document]
