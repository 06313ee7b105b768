"""Fusion equals naive versions, and what retrieval promises holds for random corpora over the real indexes."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag.config import RetrievalSettings
from rag.errors import UsageError
from rag.fakes import FakeEmbedder
from rag.index.snapshot import IndexReader
from rag.interfaces import Vectors
from rag.retrieval import Channel, HybridRetriever, fuse, reciprocal_rank_parts, sum_parts
from rag.types import Hit, ScoredRow
from tests.rag.workshop import Workshop

WORDS = ["oil", "seal", "pump", "valve", "filter", "motor", "ZP-40"]


def ranked(scores: Mapping[int, float]) -> list[ScoredRow]:
    return [ScoredRow(row, score) for row, score in sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))]


def channels_of(dense: Mapping[int, float], lexical: Mapping[int, float], limit: int) -> dict[str, Channel]:
    """As a retriever would find them, where these are all the scores there are."""
    rankings = {"dense": ranked(dense)[:limit], "lexical": ranked(lexical)[:limit]}
    rows = {item.row for ranking in rankings.values() for item in ranking}
    return {
        name: Channel(rankings[name], {row: found[row] for row in rows & set(found)})
        for name, found in (("dense", dense), ("lexical", lexical))
    }


SCORES = st.dictionaries(st.integers(0, 12), st.integers(-20, 20).map(float), max_size=13)


def retriever(
    workshop: Workshop, config: RetrievalSettings | None = None, languages: Sequence[str] = (), name: str = "default"
) -> HybridRetriever:
    collection = workshop.catalog.collection(name)
    reader = IndexReader(workshop.home, workshop.catalog, collection, workshop.embedder)
    return HybridRetriever(
        workshop.catalog, collection.id, reader, workshop.embedder, config or RetrievalSettings(), languages
    )


# --- fusion ---------------------------------------------------------------------------------------


def test_sum_by_hand() -> None:
    found = {
        "dense": Channel([ScoredRow(1, 0.75), ScoredRow(2, 0.5)], {3: 0.25}),
        "lexical": Channel([ScoredRow(3, 8.0), ScoredRow(1, 4.0)], {}),
    }
    parts = sum_parts(found, 16.0)
    assert parts == {"dense": {1: 0.75, 2: 0.5, 3: 0.25}, "lexical": {3: 0.5, 1: 0.25}}
    assert fuse(parts) == {1: 1.0, 2: 0.5, 3: 0.75}


def test_reciprocal_rank_by_hand() -> None:
    found = {
        "dense": Channel([ScoredRow(0, 0.9), ScoredRow(1, 0.5)], {2: 0.1}),
        "lexical": Channel([ScoredRow(1, 7.0), ScoredRow(2, 7.0)], {}),
    }
    fused = fuse(reciprocal_rank_parts(found, 60))
    assert fused == pytest.approx({0: 1 / 61, 1: 1 / 62 + 1 / 61, 2: 1 / 62})


@given(SCORES, SCORES, st.integers(1, 100))
def test_fusion_equals_the_naive_version(dense: dict[int, float], lexical: dict[int, float], k: int) -> None:
    found = channels_of(dense, lexical, 5)
    reciprocal = fuse(reciprocal_rank_parts(found, k))
    total = fuse(sum_parts(found, 4.0))
    first = {name: [item.row for item in channel.ranking] for name, channel in found.items()}
    assert set(reciprocal) == set(total) == {row for rows in first.values() for row in rows}
    for row, score in total.items():
        assert score == pytest.approx(dense.get(row, 0.0) + lexical.get(row, 0.0) / 4.0)
        expected = sum(1 / (k + rows.index(row) + 1) for rows in first.values() if row in rows)
        assert reciprocal[row] == pytest.approx(expected)


@given(SCORES, SCORES, st.integers(1, 6), st.integers(0, 6))
def test_more_candidates_change_no_score(
    dense: dict[int, float], lexical: dict[int, float], limit: int, more: int
) -> None:
    few = fuse(sum_parts(channels_of(dense, lexical, limit), 4.0))
    many = fuse(sum_parts(channels_of(dense, lexical, limit + more), 4.0))
    assert {row: many[row] for row in few} == few


@given(SCORES, st.floats(-1, 1))
def test_a_channel_whose_scores_are_all_alike_has_no_say(lexical: dict[int, float], flat: float) -> None:
    found = channels_of(dict.fromkeys(range(13), flat), lexical, 13)
    fused = fuse(sum_parts(found, 4.0))
    for one, other in itertools.combinations(range(13), 2):
        difference = (lexical.get(one, 0.0) - lexical.get(other, 0.0)) / 4.0
        assert fused[one] - fused[other] == pytest.approx(difference)


# --- over a real catalog and real indexes ---------------------------------------------------------

TEXTS = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(" ".join), min_size=1, max_size=25)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXTS, st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join), st.sampled_from(["sum", "rrf"]))
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
        assert hit.score == pytest.approx(sum(place.normalised for place in hit.channels.values()))
        assert any(place.rank is not None for place in hit.channels.values())


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
    hits = searched.retrieve("Какое масло?", 5)
    assert sources(hits) == ["ru.txt"]
    assert set(hits[0].channels) == {"lexical"}
    with pytest.raises(AssertionError, match="asked to embed"):
        searched.retrieve("the oil", 5)


@pytest.mark.parametrize(
    ("known", "query", "expected"),
    [
        ([], "Какое масло?", True),
        (["en"], "Which oil?", True),
        (["en"], "ZP-40", True),
        (["en"], "Какое масло нужно этому насосу?", False),
        (["en"], "泵用什么油？", False),
        (["en", "zh"], "泵用什么油？", True),
        (["de"], "Welches Öl braucht die Pumpe, und wie oft muss es gewechselt werden?", True),
        (["de"], "Which oil does the pump need, and how often must somebody change it?", False),
        (["de"], "ZP-40", True),
        (["de"], "油", False),
    ],
)
def test_what_an_embedder_reads(workshop: Workshop, known: list[str], query: str, expected: bool) -> None:
    workshop.collection()
    assert retriever(workshop, languages=known).reads(query) is expected


@pytest.mark.parametrize("channel", ["dense", "lexical"])
def test_one_channel_alone(workshop: Workshop, channel: str) -> None:
    workshop.write(one="oil of the pump")
    workshop.ingest()
    (hit,) = retriever(workshop, RetrievalSettings.model_validate({"fusion": channel})).retrieve("oil", 5)
    assert set(hit.channels) == {channel}


def test_a_question_that_the_embedder_cannot_read_is_searched_by_words_in_any_case(workshop: Workshop) -> None:
    workshop.write(ru="Масло насоса", en="the oil")
    workshop.ingest()
    searched = retriever(workshop, RetrievalSettings(fusion="dense"), languages=["en"])
    assert sources(searched.retrieve("Какое масло?", 5)) == ["ru.txt"]


def test_what_one_channel_found_is_scored_by_the_other(workshop: Workshop) -> None:
    # More oil in more else: BM25 counts the words, the cosine the share of them.
    texts = {f"t{n}": " ".join([*["oil"] * (n + 1), *(f"w{n}x{place}" for place in range(3 * n))]) for n in range(12)}
    workshop.write(**texts, other="the pump")
    workshop.ingest()
    collection = workshop.catalog.collection("default")
    snapshot = IndexReader(workshop.home, workshop.catalog, collection, workshop.embedder).current()
    few, all_of_them = (
        retriever(workshop, RetrievalSettings(candidates=candidates)).search("oil", snapshot) for candidates in (3, 100)
    )
    rows = {item.row for channel in few.values() for item in channel.ranking}
    assert len(rows) > 3, "the channels must disagree for this to test anything"
    for name, channel in few.items():
        assert channel.others
        expected = {row: score for row, score in all_of_them[name].scores().items() if row in rows}
        assert channel.scores() == pytest.approx(expected)


def test_rows_in_another_language_without_a_term_get_the_mean_of_those_in_the_questions(workshop: Workshop) -> None:
    collection = workshop.collection()
    for source, text, language in [
        ("two", "the oil of the pump", "en"),
        ("one", "the seal of the valve", "en"),
        ("none", "seal, valve, motor", "en"),
        ("part", "масло ZP-40 насос", "ru"),
        ("other", "масло насос", "ru"),
    ]:
        workshop.put(collection, source, text, language)
    workshop.ingest()  # of nothing more, so that what was stored is published
    snapshot = IndexReader(workshop.home, workshop.catalog, collection, workshop.embedder).current()
    searched = retriever(workshop, languages=["en"])
    channels = searched.search("what is the oil of the pump ZP-40", snapshot)
    chunks = workshop.catalog.chunks(collection.id, channels["lexical"].scores(), snapshot.seq)
    scores = {chunks[row].source: score for row, score in channels["lexical"].scores().items()}
    assert set(scores) == {"two", "one", "part", "other"}
    assert scores["other"] == pytest.approx((scores["two"] + scores["one"] + 0) / 3)
    only = {item.row for item in channels["lexical"].ranking}
    assert {chunks[row].source for row in only} == {"two", "one", "part"}


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
    found = {"lexical": Channel([ScoredRow(rows[0], 1.0)], {})}
    (hit,) = searched.fused_hits(found, 5, first)
    assert hit.chunk.text == "oil"
    assert searched.fused_hits(found, 5, first + 1) == []


def test_hidden_candidates_leave_no_gap(workshop: Workshop) -> None:
    texts = {f"t{number:02}": "oil of the pump" for number in range(30)}
    workshop.write(**texts)
    workshop.ingest()
    searched = retriever(workshop, RetrievalSettings(fusion="lexical"))
    collection = workshop.catalog.collection("default")
    first = [hit.chunk.source for hit in searched.retrieve("oil", 30)]
    for source in first[:25]:
        workshop.catalog.remove_document(collection, source)
    assert sources(searched.retrieve("oil", 3)) == first[25:28]
