import pytest

from rag.catalog import Catalog
from rag.errors import CatalogError, IndexStateError
from rag.fakes import FakeEmbedder
from rag.index.generations import collection_folder
from rag.index.snapshot import IndexReader, Snapshot
from rag.ingestion import IngestProgress
from rag.reindexing import reindex
from rag.types import Collection
from tests.rag.workshop import LineChunker, Workshop

pytestmark = pytest.mark.integration


@pytest.fixture
def collection(workshop: Workshop) -> Collection:
    workshop.write(a="red\nblue", b="green", c="red")
    workshop.ingest()
    return workshop.catalog.collection("default")


def other_embedder() -> FakeEmbedder:
    embedder = FakeEmbedder(dimension=8)
    embedder.model = "other"
    embedder.fingerprint = "other-1"
    return embedder


def run(workshop: Workshop, collection: Collection, progress: list[IngestProgress] | None = None) -> int:
    callback = None if progress is None else progress.append
    return reindex(workshop.home, workshop.catalog, collection, workshop.pipeline(), callback)


def current(workshop: Workshop, collection: Collection) -> Snapshot:
    return IndexReader(workshop.home, workshop.catalog, collection, workshop.embedder).current()


def test_a_lost_index_comes_back_without_parsing_or_embedding(workshop: Workshop, collection: Collection) -> None:
    before = current(workshop, collection)
    (collection_folder(workshop.home, collection.id) / "CURRENT").unlink()
    parsed, embedded = len(workshop.parsed), len(workshop.embedder.embedded)
    assert run(workshop, collection) == 4
    assert (len(workshop.parsed), len(workshop.embedder.embedded)) == (parsed, embedded)
    after = current(workshop, collection)
    query = workshop.embedder.embed_query("red")
    assert after.dense.search(query, 9) == before.dense.search(query, 9)
    assert after.lexical.search(["red"], 9) == before.lexical.search(["red"], 9)


def test_only_missing_vectors_are_embedded(workshop: Workshop, collection: Collection) -> None:
    workshop.catalog.adopt(collection, other_embedder())
    workshop.catalog.drop_unused_vectors()
    collection = workshop.catalog.adopt(collection, workshop.embedder)
    workshop.catalog.add_vectors(
        collection.embedder,
        [key for key, text in workshop.catalog.texts_without_vector(collection).items() if "green" not in text],
        workshop.embedder.embed_documents(["About a.txt\nred", "About a.txt\nblue", "About c.txt\nred"]),
    )
    workshop.embedder.embedded.clear()
    assert run(workshop, collection) == 4
    assert workshop.embedder.embedded == ["About b.txt\ngreen"]


def test_another_embedder_takes_over(workshop: Workshop, collection: Collection) -> None:
    workshop.embedder = other_embedder()
    workshop.chunker = LineChunker("lines-for-other")
    with pytest.raises(IndexStateError):
        current(workshop, collection)
    parsed = len(workshop.parsed)
    steps: list[IngestProgress] = []
    assert run(workshop, collection, steps) == 4
    assert len(workshop.parsed) == parsed
    assert steps[-1] == IngestProgress(3, 3, 4, "c.txt")
    changed = workshop.catalog.collection("default")
    assert (changed.embedder, changed.embedding_model, changed.dimension) == ("other-1", "other", 8)
    snapshot = current(workshop, changed)
    assert snapshot.dense.dimension == 8
    assert len(snapshot.dense) == 4
    assert workshop.catalog.known_vectors([b""], "fake-embedder-1") == set()
    # The files are as the catalog knows them: nothing is left to do.
    report = workshop.ingest()
    assert (report.added, report.updated, report.unchanged) == (0, 0, 3)


@pytest.mark.parametrize("place", ["adopt", "add_vectors", "store", "publish", "drop_unused_vectors"])
@pytest.mark.parametrize("call", [1, 2])
def test_a_reindex_that_was_cut_off_is_taken_up(
    workshop: Workshop, collection: Collection, place: str, call: int
) -> None:
    workshop.embedder = other_embedder()
    method = getattr(Catalog, place)
    calls = 0

    def crash(*args: object) -> object:
        nonlocal calls
        result = method(*args)
        calls += 1
        if calls == call:
            raise KeyboardInterrupt
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Catalog, place, crash)
        try:
            run(workshop, collection)
        except KeyboardInterrupt:
            assert calls == call
    assert run(workshop, collection) == 4
    assert len(current(workshop, workshop.catalog.collection("default")).dense) == 4
    assert len(workshop.embedder.embedded) == 4


def test_an_index_of_an_older_analyzer_is_refused_until_it_is_reindexed(
    workshop: Workshop, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("rag.catalog.catalog", "rag.index.generations", "rag.ingestion", "rag.reindexing"):
        monkeypatch.setattr(f"{module}.ANALYZER_FINGERPRINT", "domainqa-analyzer-2")
    with pytest.raises(IndexStateError, match="this version has domainqa-analyzer-2; run `domainqa reindex`"):
        workshop.ingest()
    embedded = len(workshop.embedder.embedded)
    assert run(workshop, collection) == 4
    assert len(workshop.embedder.embedded) == embedded
    assert workshop.catalog.collection("default").analyzer == "domainqa-analyzer-2"
    assert len(current(workshop, collection).lexical) == 4


def test_it_does_not_run_beside_an_ingest(workshop: Workshop, collection: Collection) -> None:
    with (
        workshop.catalog.writer_lock(collection),
        pytest.raises(CatalogError, match="another ingest is running"),
    ):
        run(workshop, collection)
