"""Fusion equals naive versions, and what retrieval promises holds for random corpora over the real indexes."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag.config import RetrievalSettings
from rag.errors import UsageError
from rag.fakes import FakeEmbedder
from rag.index.snapshot import IndexReader
from rag.interfaces import Vectors
from rag.retrieval import HybridRetriever, fuse_convex, fuse_reciprocal_rank, normalised
from rag.types import Hit, ScoredRow
from tests.rag.workshop import Workshop

WORDS = ["oil", "seal", "pump", "valve", "filter", "motor", "ZP-40"]


def ranking(*scores: float, first: int = 0) -> list[ScoredRow]:
    return [ScoredRow(first + place, score) for place, score in enumerate(sorted(scores, reverse=True))]


def rankings() -> st.SearchStrategy[dict[str, list[ScoredRow]]]:
    scores = st.dictionaries(st.integers(0, 12), st.integers(-20, 20).map(float), max_size=8)
    ranked = scores.map(lambda found: [ScoredRow(*pair) for pair in sorted(found.items(), key=lambda p: (-p[1], p[0]))])
    return st.fixed_dictionaries({"dense": ranked, "lexical": ranked})


def retriever(
    workshop: Workshop, config: RetrievalSettings | None = None, languages: Sequence[str] = (), name: str = "default"
) -> HybridRetriever:
    collection = workshop.catalog.collection(name)
    reader = IndexReader(workshop.home, workshop.catalog, collection, workshop.embedder)
    return HybridRetriever(
        workshop.catalog, collection.id, reader, workshop.embedder, config or RetrievalSettings(), languages
    )


# --- fusion ---------------------------------------------------------------------------------------


def test_convex_by_hand() -> None:
    dense = [ScoredRow(1, 0.9), ScoredRow(2, 0.5), ScoredRow(3, 0.1)]
    lexical = [ScoredRow(3, 8.0), ScoredRow(4, 4.0)]
    fused = fuse_convex({"dense": dense, "lexical": lexical}, {"dense": 0.25, "lexical": 0.75})
    assert fused == pytest.approx({1: 0.25, 2: 0.125, 3: 0.75, 4: 0.0})


def test_reciprocal_rank_by_hand() -> None:
    fused = fuse_reciprocal_rank(
        {"dense": ranking(0.9, 0.5), "lexical": ranking(7.0, first=1)}, {"dense": 0.4, "lexical": 0.6}, k=60
    )
    assert fused == pytest.approx({0: 1 / 61, 1: 1 / 62 + 1 / 61})


def test_a_channel_of_weight_nought_has_no_say_in_reciprocal_rank() -> None:
    fused = fuse_reciprocal_rank(
        {"dense": ranking(1.0), "lexical": ranking(1.0, first=5)}, {"dense": 0, "lexical": 1}, 9
    )
    assert fused == {5: 0.1}


@given(rankings(), st.floats(0, 1), st.integers(1, 100))
def test_fusion_equals_the_naive_version(found: dict[str, list[ScoredRow]], weight: float, k: int) -> None:
    weights = {"dense": weight, "lexical": 1 - weight}
    rows = {item.row for channel in found.values() for item in channel}
    convex, reciprocal = fuse_convex(found, weights), fuse_reciprocal_rank(found, weights, k)
    for row in rows:
        expected_convex = expected_rank = 0.0
        for channel, ranked in found.items():
            scores = [item.score for item in ranked]
            for place, item in enumerate(ranked):
                if item.row == row:
                    span = max(scores) - min(scores)
                    expected_convex += weights[channel] * ((item.score - min(scores)) / span if span else 1.0)
                    expected_rank += 1 / (k + 1 + place) if weights[channel] else 0.0
        assert convex[row] == pytest.approx(expected_convex)
        assert reciprocal.get(row, 0.0) == pytest.approx(expected_rank)
    assert set(convex) == rows


def test_equal_scores_and_a_single_candidate_all_count_fully() -> None:
    assert normalised([]) == {}
    assert normalised(ranking(0.3)) == {0: 1.0}
    assert normalised(ranking(2.0, 2.0)) == {0: 1.0, 1: 1.0}
    assert normalised(ranking(4.0, 3.0, 2.0)) == {0: 1.0, 1: 0.5, 2: 0.0}


# --- over a real catalog and real indexes ---------------------------------------------------------

TEXTS = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(" ".join), min_size=1, max_size=25)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    TEXTS, st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join), st.sampled_from(["convex", "rrf"])
)
def test_asking_for_more_never_reorders_the_first_ones(
    workshop: Workshop, texts: list[str], query: str, fusion: str
) -> None:
    name = f"c{next(_NUMBERS)}"
    folder = workshop.files / name
    folder.mkdir()
    for number, text in enumerate(texts):
        (folder / f"{number}.txt").write_text(text)
    workshop.ingest(folder, name=name)
    config = RetrievalSettings.model_validate({"fusion": fusion, "candidates": 10})
    searched = retriever(workshop, config, name=name)
    twenty = searched.retrieve(query, 20)
    assert searched.retrieve(query, 5) == twenty[:5]
    assert [(-hit.score, hit.chunk.row) for hit in twenty] == sorted((-hit.score, hit.chunk.row) for hit in twenty)
    collection = workshop.catalog.collection(name)
    rows = [hit.chunk.row for hit in twenty]
    assert len(set(rows)) == len(rows)
    stored = workshop.catalog.chunks(collection.id, rows, collection.published_seq)
    assert [stored[row] for row in rows] == [hit.chunk for hit in twenty]
    for hit in twenty:
        assert hit.channels, "a hit says where it comes from"
        assert all(0 <= place.normalised <= 1 and place.rank >= 1 for place in hit.channels.values())


_NUMBERS = itertools.count()


def sources(hits: Sequence[Hit]) -> list[str]:
    return [hit.chunk.source for hit in hits]


def test_a_removed_or_changed_document_is_never_returned(workshop: Workshop) -> None:
    workshop.write(one="oil of the pump", two="oil of the motor")
    workshop.ingest()
    searched = retriever(workshop)
    assert set(sources(searched.retrieve("oil", 5))) == {"one.txt", "two.txt"}
    workshop.catalog.remove_document(workshop.catalog.collection("default"), "one.txt")
    assert sources(searched.retrieve("oil", 5)) == ["two.txt"], "at once, before any index is written"
    (workshop.files / "one.txt").unlink()
    workshop.write(two="seal of the motor")
    workshop.ingest()
    assert [hit.chunk.text for hit in searched.retrieve("oil seal", 5)] == ["seal of the motor"]


def test_an_empty_collection_gives_no_hits(workshop: Workshop) -> None:
    workshop.collection()
    searched = retriever(workshop)
    assert searched.retrieve("oil", 5) == []
    assert searched.term_weights("oil") == {"oil": pytest.approx(0.693, abs=0.001)}


@pytest.mark.parametrize("query", ["?!", "", "unheardof"])
def test_a_query_without_known_terms_gives_only_dense_hits(workshop: Workshop, query: str) -> None:
    workshop.write(one="oil of the pump")
    workshop.ingest()
    for hit in retriever(workshop).retrieve(query, 5):
        assert set(hit.channels) == {"dense"}


def test_half_a_character_is_no_query(workshop: Workshop) -> None:
    workshop.collection()
    with pytest.raises(UsageError, match="not valid Unicode"):
        retriever(workshop).retrieve("oil \ud800", 5)


class Deaf(FakeEmbedder):
    """Must not be asked."""

    def embed_query(self, text: str) -> Vectors:
        raise AssertionError(f"asked to embed {text!r}")


def test_an_embedder_that_does_not_know_the_language_has_no_say(workshop: Workshop) -> None:
    workshop.embedder = Deaf()
    workshop.write(ru="Масло насоса", en="the oil")
    workshop.ingest()
    searched = retriever(workshop, languages=["en"])
    assert searched.weights("масло") == {"dense": 0.0, "lexical": 1.0}
    hits = searched.retrieve("Какое масло?", 5)
    assert sources(hits) == ["ru.txt"]
    assert set(hits[0].channels) == {"lexical"}
    with pytest.raises(AssertionError, match="asked to embed"):
        searched.retrieve("the oil", 5)


@pytest.mark.parametrize(("dense_weight", "channel"), [(1.0, "dense"), (0.0, "lexical")])
def test_a_channel_of_weight_nought_is_not_searched(workshop: Workshop, dense_weight: float, channel: str) -> None:
    workshop.write(one="oil of the pump")
    workshop.ingest()
    (hit,) = retriever(workshop, RetrievalSettings(dense_weight=dense_weight)).retrieve("oil", 5)
    assert set(hit.channels) == {channel}
    assert hit.score == 1.0


def test_rare_terms_weigh_more(workshop: Workshop) -> None:
    workshop.write(a="oil pump", b="oil pump", c="oil seal")
    workshop.ingest()
    weights = retriever(workshop).term_weights("oil pump seal nothing")
    assert weights["oil"] < weights["pump"] < weights["seal"] < weights["noth"]


def test_hits_at_an_older_number_stay_as_they_were(workshop: Workshop) -> None:
    collection = workshop.collection()
    first = workshop.put(collection, "one.txt", "oil")
    workshop.put(collection, "one.txt", "seal")
    searched = retriever(workshop)
    rows = np.asarray(workshop.catalog.rows_for_index(collection.id, [first]), np.int64).tolist()
    (hit,) = searched.fused_hits({"lexical": [ScoredRow(rows[0], 1.0)]}, {"lexical": 1.0}, 5, first)
    assert hit.chunk.text == "oil"
    assert searched.fused_hits({"lexical": [ScoredRow(rows[0], 1.0)]}, {"lexical": 1.0}, 5, first + 1) == []
