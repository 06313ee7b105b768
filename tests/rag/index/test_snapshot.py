import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag.analysis import query_terms
from rag.errors import IndexStateError, NotFoundError
from rag.fakes import FakeEmbedder
from rag.index.generations import collection_folder, current_name
from rag.index.publishing import Publisher, rebuild
from rag.index.snapshot import IndexReader, Snapshot
from rag.types import Collection
from tests.rag.workshop import Workshop

pytestmark = pytest.mark.integration

names = count()


def publish(workshop: Workshop, collection: Collection) -> None:
    publisher = Publisher.open(workshop.home, workshop.catalog, collection)
    publisher.publish()
    publisher.drop_dead_rows()


def reader(workshop: Workshop, collection: Collection) -> IndexReader:
    return IndexReader(workshop.home, workshop.catalog, collection, workshop.embedder)


def texts_found(workshop: Workshop, collection: Collection, snapshot: Snapshot) -> tuple[set[str], set[str]]:
    """What the dense and the lexical index hold, as far as it is visible at the snapshot's number."""
    everything = snapshot.dense.search(workshop.embedder.embed_query("x"), 10_000)
    about = snapshot.lexical.search(query_terms("about", snapshot.languages), 10_000)
    dense, lexical = (
        {
            f"{chunk.source}: {chunk.text}"
            for chunk in workshop.catalog.chunks(collection.id, {hit.row for hit in hits}, snapshot.seq).values()
        }
        for hits in (everything, about)
    )
    return dense, lexical


def folder(workshop: Workshop, collection: Collection) -> Path:
    return collection_folder(workshop.home, collection.id)


CHANGES = st.lists(
    st.one_of(
        st.tuples(st.sampled_from("abcd"), st.sampled_from(["red", "red\nblue", "green", "blue\ngreen\nwhite"])),
        st.tuples(st.sampled_from("abcd"), st.none()),
        st.sampled_from(["publish", "tidy", "rebuild"]),
    ),
    max_size=14,
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=CHANGES)
def test_readers_see_the_published_state_in_both_indexes(workshop: Workshop, changes: list[object]) -> None:
    collection = workshop.collection(f"c{next(names)}")
    long_lived = reader(workshop, collection)
    current: dict[str, str] = {}
    published: dict[str, str] = {}
    for change in changes:
        if change == "publish":
            Publisher.open(workshop.home, workshop.catalog, collection).publish()
            published = dict(current)
        elif change == "tidy":
            Publisher.open(workshop.home, workshop.catalog, collection).drop_dead_rows()
        elif change == "rebuild":
            rebuild(workshop.home, workshop.catalog, collection)
            published = dict(current)
        elif change[1] is not None:
            workshop.put(collection, *change)
            current[change[0]] = change[1]
        elif change[0] in current:
            workshop.catalog.remove_document(collection, change[0])
            del current[change[0]]
            published.pop(change[0], None)
        expected = {f"{source}: {line}" for source, text in published.items() for line in text.splitlines()}
        for each in (long_lived, reader(workshop, collection)):
            assert texts_found(workshop, collection, each.current()) == (expected, expected)


def test_the_snapshot_is_loaded_once_per_publication(workshop: Workshop) -> None:
    collection = workshop.collection()
    index = reader(workshop, collection)
    empty = index.current()
    assert (empty.seq, len(empty.dense), len(empty.lexical), list(empty.languages)) == (0, 0, 0, [])
    workshop.put(collection, "a", "one")
    assert index.current() is empty
    publish(workshop, collection)
    first = index.current()
    assert (first.seq, set(first.languages)) == (1, {"en"})
    assert index.current() is first
    publish(workshop, collection)
    assert index.current() is first
    workshop.put(collection, "b", "два", "ru")
    publish(workshop, collection)
    assert set(index.current().languages) == {"en", "ru"}
    # What was handed out goes on working.
    assert [hit.row for hit in first.lexical.search(["one"], 5)] == [1]


def test_a_query_that_began_before_a_publication_ends_with_what_it_saw(workshop: Workshop) -> None:
    collection = workshop.collection()
    workshop.put(collection, "a", "old")
    publish(workshop, collection)
    held = reader(workshop, collection).current()
    workshop.put(collection, "a", "new")
    publish(workshop, collection)
    assert texts_found(workshop, collection, held) == ({"a: old"}, {"a: old"})
    newest = reader(workshop, collection).current()
    assert texts_found(workshop, collection, newest) == ({"a: new"}, {"a: new"})
    assert len(newest.dense) == 1


def test_rebuilding_gives_the_index_that_grew(workshop: Workshop) -> None:
    collection = workshop.collection()
    for number in range(30):
        workshop.put(collection, f"d{number}", f"pump {number}\nvalve {number % 7} of pump")
        if number % 4 == 0:
            publish(workshop, collection)
    publish(workshop, collection)
    grown = reader(workshop, collection).current()
    embedded = len(workshop.embedder.embedded)
    assert rebuild(workshop.home, workshop.catalog, collection) == 60
    rebuilt = reader(workshop, collection).current()
    assert len(workshop.embedder.embedded) == embedded
    for query in ("pump 7", "valve 3", "about d4", "nothing"):
        vector, terms = workshop.embedder.embed_query(query), query_terms(query, grown.languages)
        assert rebuilt.dense.search(vector, 40) == grown.dense.search(vector, 40)
        assert rebuilt.lexical.search(terms, 40) == grown.lexical.search(terms, 40)


def test_old_generations_go_and_the_one_before_stays(workshop: Workshop) -> None:
    collection = workshop.collection()
    for number in range(5):
        workshop.put(collection, f"d{number}", "text")
        publish(workshop, collection)
    assert sorted(path.name for path in folder(workshop, collection).iterdir()) == [
        "CURRENT",
        "snapshot-4",
        "snapshot-5",
    ]


def test_a_publication_writes_only_what_is_new_of_the_lexical_files(workshop: Workshop) -> None:
    collection = workshop.collection()
    workshop.put(collection, "a", "one")
    publish(workshop, collection)
    workshop.put(collection, "b", "two")
    publish(workshop, collection)
    old, new = (folder(workshop, collection) / name / "lexical" for name in ("snapshot-1", "snapshot-2"))
    shared = [path for path in old.iterdir() if path.suffix not in (".json", ".lock")]
    assert shared
    assert all(path.samefile(new / path.name) for path in shared)


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.unlink()  # the generation before may share the file
    path.write_bytes(content)


def _edit_manifest(**changes: object) -> Callable[[Path], None]:
    def edit(where: Path) -> None:
        manifest = json.loads((where / "manifest.json").read_text("utf-8"))
        (where / "manifest.json").write_text(json.dumps({**manifest, **changes}), "utf-8")

    return edit


def _lexical_file(where: Path, suffix: str) -> Path:
    return next(path for path in (where / "lexical").iterdir() if path.suffix == suffix)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "dense flipped": (lambda where: _flip(where / "dense.faiss"), r"damaged: .*dense\.faiss has changed"),
    "dense lost": (lambda where: (where / "dense.faiss").unlink(), r"damaged: .*dense\.faiss cannot be read"),
    "dense cut": (lambda where: (where / "dense.faiss").write_bytes(b""), r"dense\.faiss has changed"),
    "terms flipped": (lambda where: _flip(_lexical_file(where, ".term")), r"damaged: .*\.term has changed"),
    "postings lost": (lambda where: _lexical_file(where, ".idx").unlink(), r"damaged: .*\.idx cannot be read"),
    "manifest lost": (lambda where: (where / "manifest.json").unlink(), "missing: there is no"),
    "manifest cut": (lambda where: (where / "manifest.json").write_text("{"), r"damaged: .*manifest\.json cannot"),
    "folder lost": (shutil.rmtree, "missing: there is no"),
    "current lost": (lambda where: (where.parent / "CURRENT").unlink(), "missing: .* names no snapshot"),
    "rows": (_edit_manifest(rows=3), r"damaged: .* should hold 3 rows .* has 2 of 64 and the lexical part 2"),
    "embedder": (_edit_manifest(embedder="bge-m3-x"), r"built with fake-embedder \(64 dimensions, bge-m3-x\)"),
    "dimension": (_edit_manifest(dimension=32), r"\(32 dimensions.*the collection has fake-embedder \(64 dim"),
    "analyzer": (_edit_manifest(analyzer="analyzer-0"), "analyzer analyzer-0, this version has domainqa"),
    "metric": (_edit_manifest(metric="L2"), "metric 'L2'"),
    "probe": (
        _edit_manifest(probe={"row": 1, "score": 1.0, "vector": [1.0] + [0.0] * 63}),
        "row 1 of .* no longer finds itself",
    ),
    "probe row": (
        _edit_manifest(probe={"row": 77, "score": 1.0, "vector": [1.0] + [0.0] * 63}),
        "row 77 of .* no longer finds itself",
    ),
    "behind": (_edit_manifest(seq=0, oldest_seq=0), "behind the catalog: it serves the changes 0 to 0"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_named_and_mended(workshop: Workshop, damage: str) -> None:
    collection = workshop.collection()
    workshop.put(collection, "a", "one\ntwo")
    publish(workshop, collection)
    name = current_name(folder(workshop, collection))
    assert name is not None
    harm, message = DAMAGE[damage]
    harm(folder(workshop, collection) / name)
    for attempt in (reader(workshop, collection).current, lambda: publish(workshop, collection)):
        with pytest.raises(IndexStateError, match=message) as raised:
            attempt()
        assert "run `domainqa reindex`" in str(raised.value)
    assert rebuild(workshop.home, workshop.catalog, collection) == 2
    snapshot = reader(workshop, collection).current()
    assert texts_found(workshop, collection, snapshot) == ({"a: one", "a: two"},) * 2


def test_an_older_catalog_put_back_is_noticed_before_rows_are_given_twice(workshop: Workshop) -> None:
    collection = workshop.collection()
    workshop.put(collection, "a", "one")
    publish(workshop, collection)
    name = current_name(folder(workshop, collection))
    _edit_manifest(seq=9)(folder(workshop, collection) / str(name))
    with pytest.raises(IndexStateError, match="ahead of the catalog"):
        publish(workshop, collection)


def test_another_embedder_is_refused_by_name(workshop: Workshop) -> None:
    collection = workshop.collection()
    other = FakeEmbedder(dimension=8)
    other.fingerprint = "other-1"
    with pytest.raises(IndexStateError) as raised:
        IndexReader(workshop.home, workshop.catalog, collection, other).current()
    assert str(raised.value) == (
        "collection 'default' was built with fake-embedder (64 dimensions, fake-embedder-1), the configuration asks "
        "for fake-embedder (8 dimensions, other-1); run `domainqa reindex` or set embedding.model"
    )


def test_a_deleted_collection_is_not_found(workshop: Workshop) -> None:
    collection = workshop.collection()
    index = reader(workshop, collection)
    index.current()
    workshop.catalog.delete_collection("default")
    with pytest.raises(NotFoundError):
        index.current()


def test_readers_on_threads_never_mix_two_states(workshop: Workshop) -> None:
    """While a document changes colour, every reader finds exactly one colour at its snapshot's number."""
    collection = workshop.collection()
    workshop.put(collection, "a", "colour 0")
    publish(workshop, collection)
    index = reader(workshop, collection)
    stop = False

    def read() -> list[set[str]]:
        seen = []
        while not stop:
            snapshot = index.current()
            hits = snapshot.lexical.search(["colour"], 10)
            chunks = workshop.catalog.chunks(collection.id, [hit.row for hit in hits], snapshot.seq)
            seen.append({chunk.text for chunk in chunks.values()})
        return seen

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        try:
            for number in range(1, 12):
                workshop.put(collection, "a", f"colour {number}")
                Publisher.open(workshop.home, workshop.catalog, collection).publish()
        finally:
            stop = True
        seen = [texts for future in readers for texts in future.result()]
    assert all(len(texts) <= 1 for texts in seen)
    # A reader that took its snapshot just before two publications may find nothing; that is rare.
    assert sum(not texts for texts in seen) <= len(seen) // 4
    assert index.current().seq == 12


def test_vectors_reach_the_index_bit_by_bit(workshop: Workshop) -> None:
    collection = workshop.collection()
    workshop.put(collection, "a", "one\ntwo")
    publish(workshop, collection)
    dense = reader(workshop, collection).current().dense
    for row, line in ((1, "one"), (2, "two")):
        assert np.array_equal(dense.vector(row), workshop.embedder.embed_query(f"About a\n{line}"))
