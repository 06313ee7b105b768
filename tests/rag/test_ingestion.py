import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag.analysis import query_terms
from rag.catalog import Catalog
from rag.documents.discovery import SourceFile
from rag.errors import CatalogError, IndexStateError, ModelError, NotFoundError
from rag.fakes import FakeEmbedder
from rag.index import generations
from rag.index.dense import DenseIndex
from rag.index.generations import collection_folder
from rag.index.lexical import LexicalIndex
from rag.index.snapshot import IndexReader
from rag.ingestion import IngestProgress, delete_collection, ingest, remove
from rag.types import Failure, IngestReport
from tests.rag.workshop import LineChunker, Workshop

pytestmark = pytest.mark.integration


def found(workshop: Workshop, query: str, name: str = "default") -> list[str]:
    """The sources that the lexical index finds, checked against the catalog; the dense one must know them, too."""
    collection = workshop.catalog.collection(name)
    snapshot = IndexReader(workshop.home, workshop.catalog, collection, workshop.embedder).current()
    hits = snapshot.lexical.search(query_terms(query, snapshot.languages), 100)
    chunks = workshop.catalog.chunks(collection.id, [hit.row for hit in hits], snapshot.seq)
    assert {hit.row for hit in hits} <= set(snapshot.dense.rows.tolist())
    return sorted({chunk.source for chunk in chunks.values()})


def outcome(report: IngestReport) -> tuple[int, int, int]:
    return report.added, report.updated, report.unchanged


def test_what_is_unchanged_is_not_read_again(workshop: Workshop) -> None:
    workshop.write(a="red\nblue", b="green")
    report = workshop.ingest()
    assert (outcome(report), report.chunks, report.failed, report.removed) == ((2, 0, 0), 3, (), 0)
    assert found(workshop, "red") == ["a.txt"]
    assert set(report.seconds_by_step) == {"parsing", "chunking", "embedding", "storing", "indexing"}
    assert sum(report.seconds_by_step.values()) <= report.seconds
    parsed = list(workshop.parsed)

    assert outcome(workshop.ingest()) == (0, 0, 2)
    assert workshop.parsed == parsed

    workshop.write(b="yellow")
    assert outcome(workshop.ingest()) == (0, 1, 1)
    assert workshop.parsed == [*parsed, "b.txt"]
    assert (found(workshop, "green"), found(workshop, "yellow")) == ([], ["b.txt"])


def test_the_same_text_is_embedded_once(workshop: Workshop) -> None:
    workshop.write(a="\n".join(f"line {number % 5}" for number in range(50)))
    workshop.ingest()
    workshop.write(a="line 1\nline 2\nline new")
    workshop.ingest()
    assert sorted(workshop.embedder.embedded) == sorted(
        f"About a.txt\nline {name}" for name in ("0", "1", "2", "3", "4", "new")
    )


def test_calls_are_filled_across_documents_and_hold_texts_of_a_length(workshop: Workshop) -> None:
    batches: list[list[int]] = []
    embed = workshop.embedder.embed_documents

    def watch(texts: list[str]) -> Any:
        batches.append([len(text) for text in texts])
        return embed(texts)

    workshop.embedder.embed_documents = watch  # type: ignore[method-assign]
    workshop.write(**{f"d{number:02}": f"{number} " + "x" * (number * 7 % 31) for number in range(32)})
    workshop.ingest()
    assert [len(batch) for batch in batches] == [16, 16], "four batches of four at once"
    lengths = [length for batch in batches for length in batch]
    assert lengths == sorted(lengths, reverse=True)


def test_reading_goes_on_beside_embedding_but_only_a_few_files_ahead(workshop: Workshop) -> None:
    window, ahead = 128, 16
    parsed: list[int] = []
    embed = workshop.embedder.embed_documents

    def slow(texts: list[str]) -> Any:
        time.sleep(0.3)
        parsed.append(len(workshop.parsed))
        return embed(texts)

    workshop.embedder.embed_documents = slow  # type: ignore[method-assign]
    workshop.write(**{f"d{number:03}": f"line {number}" for number in range(200)})
    assert workshop.ingest().added == 200
    assert parsed[0] > window, "nothing was read while the first window was embedded"
    assert parsed[0] <= window + ahead + 1, "the files read ahead are not bounded"


def test_another_parser_or_chunker_makes_the_same_bytes_new(workshop: Workshop) -> None:
    workshop.write(a="red")
    workshop.ingest()
    workshop.parser_fingerprint = "plain-2"
    assert outcome(workshop.ingest()) == (0, 1, 0)
    workshop.chunker = LineChunker("lines-2")
    assert outcome(workshop.ingest()) == (0, 1, 0)
    assert outcome(workshop.ingest()) == (0, 0, 1)
    assert len(workshop.embedder.embedded) == 1
    collection = workshop.catalog.collection("default")
    assert workshop.catalog.rows_for_index(collection.id, {collection.published_seq}).tolist() == [3]


def test_bad_files_are_named_and_tried_again_and_the_rest_goes_on(workshop: Workshop) -> None:
    workshop.write(a="red", b="BROKEN", c="\n\n", d="blue")
    (workshop.files / "bad\udcff.txt").write_bytes(b"x")
    (workshop.files / "half.txt").write_bytes(b"half \xed\xa0\x80")
    report = workshop.ingest()
    assert outcome(report) == (2, 0, 0)
    expected = [
        Failure("b.txt", "the file is damaged"),
        Failure("bad\\udcff.txt", "the file's name is not valid UTF-8: rename it"),
        Failure("c.txt", "there is no text in it"),
        Failure("half.txt", "its text holds half a surrogate pair at character 5"),
    ]
    collection = workshop.catalog.collection("default")
    assert sorted(report.failed, key=lambda failure: failure.source) == expected
    assert workshop.catalog.failures(collection) == expected

    workshop.write(b="mended")
    report = workshop.ingest()
    assert (outcome(report), len(report.failed)) == ((1, 0, 2), 3)
    assert [failure.source for failure in workshop.catalog.failures(collection)] == [
        failure.source for failure in expected[1:]
    ]


def test_a_version_that_was_readable_stays_when_its_file_breaks(workshop: Workshop) -> None:
    workshop.write(a="red")
    workshop.ingest()
    workshop.write(a="BROKEN")
    assert [failure.source for failure in workshop.ingest().failed] == ["a.txt"]
    assert found(workshop, "red") == ["a.txt"]
    workshop.write(a="red")
    assert outcome(workshop.ingest()) == (0, 0, 1)
    assert workshop.catalog.failures(workshop.catalog.collection("default")) == []


def test_a_file_that_vanishes_is_a_failure(workshop: Workshop) -> None:
    workshop.write(a="red")
    missing = SourceFile(workshop.files / "gone.txt", "gone.txt")
    pipeline = workshop.pipeline()
    files = [*pipeline.discover([workshop.files], []), missing]

    def discover(paths: Sequence[Path], skipped: list[Failure]) -> list[SourceFile]:
        skipped.append(Failure("link", "the link leads to nothing"))
        return files

    workshop.discover = discover
    report = workshop.ingest()
    assert report.added == 1
    assert [failure.source for failure in report.failed] == ["link", "gone.txt"]
    assert report.failed[1].reason == "the file cannot be opened: No such file or directory"


def test_a_moved_file_keeps_its_document_and_a_copy_does_not(workshop: Workshop) -> None:
    workshop.write(a="red\nblue")
    workshop.ingest()
    collection = workshop.catalog.collection("default")
    [before] = workshop.catalog.documents(collection)
    (workshop.files / "copy.txt").write_text("red\nblue")
    assert outcome(workshop.ingest()) == (1, 0, 1)
    (workshop.files / "a.txt").rename(workshop.files / "moved.txt")
    assert outcome(workshop.ingest()) == (0, 1, 1)
    infos = {info.source: info.id for info in workshop.catalog.documents(collection)}
    assert set(infos) == {"copy.txt", "moved.txt"}
    assert infos["moved.txt"] == before.id != infos["copy.txt"]
    assert found(workshop, "red") == ["copy.txt", "moved.txt"]
    assert outcome(workshop.ingest()) == (0, 0, 2)

    # Moved and due for the new chunker at once.
    workshop.chunker = LineChunker("lines-2")
    (workshop.files / "moved.txt").rename(workshop.files / "again.txt")
    assert outcome(workshop.ingest()) == (0, 2, 0)
    infos = {info.source: info.id for info in workshop.catalog.documents(collection)}
    assert infos["again.txt"] == before.id


def test_what_is_missing_from_a_folder_stays_until_it_is_removed(workshop: Workshop) -> None:
    workshop.write(a="red", b="red")
    workshop.ingest()
    (workshop.files / "a.txt").unlink()
    workshop.ingest()
    assert found(workshop, "red") == ["a.txt", "b.txt"]
    collection = workshop.catalog.collection("default")
    assert remove(workshop.home, workshop.catalog, collection, "a.txt").source == "a.txt"
    assert found(workshop, "red") == ["b.txt"]
    snapshot = IndexReader(workshop.home, workshop.catalog, collection).current()
    assert (len(snapshot.dense), len(snapshot.lexical)) == (1, 1)
    with pytest.raises(NotFoundError):
        remove(workshop.home, workshop.catalog, collection, "a.txt")


def test_a_removal_is_effective_while_an_ingest_runs(workshop: Workshop) -> None:
    workshop.write(a="red", b="red")
    workshop.ingest()
    collection = workshop.catalog.collection("default")
    with workshop.catalog.writer_lock(collection):
        remove(workshop.home, workshop.catalog, collection, "a.txt")
        assert found(workshop, "red") == ["b.txt"]
        with pytest.raises(CatalogError, match="another ingest is running"):
            workshop.ingest()
        with pytest.raises(CatalogError, match="another ingest is running"):
            delete_collection(workshop.home, workshop.catalog, "default")


def test_a_deleted_collection_takes_its_files_with_it(workshop: Workshop) -> None:
    workshop.write(a="red")
    workshop.ingest()
    workshop.ingest(name="other")
    collection = workshop.catalog.collection("default")
    delete_collection(workshop.home, workshop.catalog, "default")
    assert not collection_folder(workshop.home, collection.id).exists()
    assert found(workshop, "red", "other") == ["a.txt"]
    assert outcome(workshop.ingest()) == (1, 0, 0)


def test_progress_counts_up_to_the_end(workshop: Workshop) -> None:
    workshop.write(a="red\nblue", b="BROKEN", **{f"d{number}": f"line {number}" for number in range(40)})
    steps: list[IngestProgress] = []
    workshop.ingest(progress=steps)
    assert steps[-1].documents_done == steps[-1].documents_total == 42
    assert steps[-1].chunks == 42
    for before, after in pairwise(steps):
        assert before.documents_done <= after.documents_done
        assert before.chunks <= after.chunks
    assert {step.source for step in steps} >= {"a.txt", "b.txt", "d39.txt"}


def test_readers_see_parts_of_a_long_run(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag.ingestion._PUBLISH_EVERY_DOCUMENTS", 32)
    monkeypatch.setattr("rag.ingestion._PUBLISH_SHARE", 1e9)
    workshop.write(**{f"d{number:03}": f"line {number}" for number in range(300)})
    seen: list[int] = []

    def look(step: IngestProgress) -> None:
        seen.append(workshop.catalog.collection("default").published_seq)

    ingest(workshop.home, workshop.catalog, "default", [workshop.files], workshop.pipeline(), progress=look)
    assert sorted(set(seen)) == [0, 128, 256]
    assert len(found(workshop, "line")) == 100


def test_another_embedder_is_refused_before_any_work(workshop: Workshop) -> None:
    workshop.write(a="red")
    workshop.ingest()
    parsed = len(workshop.parsed)
    workshop.embedder = FakeEmbedder(dimension=8)
    workshop.embedder.fingerprint = "other-1"
    workshop.write(a="blue")
    with pytest.raises(IndexStateError, match=r"run `domainqa reindex` or set embedding\.model"):
        workshop.ingest()
    assert len(workshop.parsed) == parsed


@pytest.mark.parametrize(
    "broken", [np.full((1, 64), np.nan, np.float32), np.ones((1, 63), np.float32), np.ones((2, 64), np.float32)]
)
def test_an_embedder_that_gives_nonsense_is_stopped(workshop: Workshop, broken: np.ndarray) -> None:
    workshop.write(a="red")
    workshop.embedder.embed_documents = lambda texts: broken  # type: ignore[method-assign]
    with pytest.raises(ModelError, match="not numbers; 64 dimensions were expected"):
        workshop.ingest()
    assert workshop.catalog.documents(workshop.catalog.collection("default")) == []


def test_a_vector_that_goes_away_between_lookup_and_storing_is_made_again(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop.write(a="red")
    workshop.ingest(name="first")
    known_vectors = Catalog.known_vectors

    def lookup_then_lose(self: Catalog, *args: Any) -> set[bytes]:
        known = known_vectors(self, *args)
        if "first" in [collection.name for collection in self.collections()]:
            self.delete_collection("first")
        return known

    monkeypatch.setattr(Catalog, "known_vectors", lookup_then_lose)
    workshop.ingest(name="second")
    assert found(workshop, "red", "second") == ["a.txt"]


class Crash(Exception):
    pass


CRASHES: list[tuple[object, str]] = [
    (FakeEmbedder, "embed_documents"),
    (Catalog, "add_vectors"),
    (Catalog, "store"),
    (Catalog, "publish"),
    (Catalog, "sweep"),
    (DenseIndex, "save"),
    (LexicalIndex, "write"),
    (generations, "finish"),
    (generations, "switch"),
    (generations, "remove_old"),
]


CASES = [
    (*place, when, call)
    for place in CRASHES
    for when, call in (("before", 1), ("after", 1), ("before", 2))
    # An undisturbed run calls these once.
    if call == 1 or place[1] not in ("publish", "sweep")
]


@pytest.mark.parametrize(
    ("owner", "name", "when", "call"), CASES, ids=lambda value: str(getattr(value, "__name__", value))
)
def test_a_run_after_a_crash_ends_where_an_undisturbed_one_does(
    workshop: Workshop, tmp_path: Path, owner: Any, name: str, when: str, call: int
) -> None:
    (tmp_path / "calm").mkdir()
    calm = Workshop(tmp_path / "calm")
    for each in (workshop, calm):
        each.write(**{f"d{number:02}": f"red {number}\nsame line" for number in range(40)})
        each.ingest()
        each.write(**{f"d{number:02}": f"blue {number}\nfresh {number}" for number in range(0, 40, 2)}, new="blue")
        (each.files / "d01.txt").unlink()
    before = found(workshop, "red")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, _crashing(getattr(owner, name), when, call))
        with pytest.raises(Crash):
            workshop.ingest()
    # Whatever was on the way, readers find a whole state: the old one or the new one.
    assert found(workshop, "red") in (before, [f"d{number:02}.txt" for number in range(1, 40, 2)])

    workshop.ingest()
    calm.ingest()
    try:
        for query in ("red", "blue", "same", "line 7", "about d04.txt"):
            assert found(workshop, query) == found(calm, query)
        assert _content(workshop) == _content(calm)
        twice = len(workshop.embedder.embedded) - len(set(workshop.embedder.embedded))
        assert twice <= (32 if name in ("embed_documents", "add_vectors") else 0)
        assert workshop.catalog.damage() == []
    finally:
        calm.catalog.close()


def _crashing(method: Callable[..., Any], when: str, call: int) -> Callable[..., Any]:
    calls = 0

    def crash(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call and when == "before":
            raise Crash
        result = method(*args, **options)
        if calls == call:
            raise Crash
        return result

    return crash


def _content(workshop: Workshop) -> set[tuple[str, str, bytes]]:
    """Source, text and vector of everything in the index that readers see."""
    collection = workshop.catalog.collection("default")
    snapshot = IndexReader(workshop.home, workshop.catalog, collection, workshop.embedder).current()
    rows = snapshot.dense.rows.tolist()
    chunks = workshop.catalog.chunks(collection.id, rows, snapshot.seq)
    assert set(chunks) == set(rows)
    assert len(snapshot.lexical) == len(rows)
    return {(chunk.source, chunk.text, snapshot.dense.vector(row).tobytes()) for row, chunk in chunks.items()}
