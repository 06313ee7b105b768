"""Gate A, worked by hand, and what an abstention says."""

import math
from dataclasses import replace

import pytest

from rag.abstaining import abstention_text, judge, nearest_documents, says_not_said
from rag.calibration import Calibration, LogisticModel, Weight, default_calibration
from rag.errors import CatalogError
from rag.prompting import NOT_SAID
from rag.types import ChannelScore, Collection, Hit, NearestDocument, StoredChunk

WEIGHTS = {"gear": 3.0, "oil": 1.0}


def hit(text: str, cosine: float | None = None, *, document: str = "d", title: str = "T", score: float = 1.0) -> Hit:
    chunk = StoredChunk(1, "c", document, "v", f"{document}.md", title, "en", 0, len(text), None, (), "", text)
    channels = {"lexical": ChannelScore(1, 5.0, 1.0)}
    if cosine is not None:
        channels["dense"] = ChannelScore(1, cosine, 1.0)
    return Hit(chunk, score, channels)


def collection(model: dict[str, float] | None = None, *, threshold: float = 0.5, embedder: str = "e") -> Collection:
    """Calibrated with plain weights; the words alone are judged by the covered share less a half, tenfold."""
    words = LogisticModel(intercept=-5, weights={"context_coverage": Weight(mean=0, scale=1, weight=10)})
    dense = None
    if model is not None:
        weights = {name: Weight(mean=0, scale=1, weight=weight) for name, weight in model.items()}
        dense = LogisticModel(intercept=0, weights=weights)
    own = Calibration(embedder="e", with_embedder=dense, by_words=words, threshold=threshold, target="", fitted_on="")
    return Collection(1, 1, "c", embedder, "m", 2, "a", 1, own.model_dump_json())


def test_the_probability_is_the_calibrations_and_its_parts_add_up() -> None:
    found = judge("gear oil", [hit("gear")], WEIGHTS, collection())
    assert found.parts == {"context_coverage": pytest.approx(7.5)}
    assert found.probability == pytest.approx(1 / (1 + math.exp(-(sum(found.parts.values()) - 5))))
    assert found.enough
    assert not judge("gear oil", [hit("oil")], WEIGHTS, collection()).enough


def test_the_threshold_is_the_calibrations_or_the_settings() -> None:
    hits = [hit("gear")]
    assert not judge("gear oil", hits, WEIGHTS, collection(threshold=0.95)).enough
    assert judge("gear oil", hits, WEIGHTS, collection(threshold=0.95), 0.9).enough
    assert judge("other", hits, WEIGHTS, collection(), 0.0).enough, "0 refuses nothing that has a passage"


def test_no_hits_are_no_evidence_whatever_the_threshold() -> None:
    assert not judge("gear oil", [], WEIGHTS, collection(), 0.0).enough


def test_cosines_are_weighed_only_with_the_embedder_that_was_calibrated_with() -> None:
    hits = [hit("nothing", 0.9)]
    model = {"dense_best": 5.0}
    assert judge("gear oil", hits, WEIGHTS, collection(model)).parts == {"dense_best": pytest.approx(4.5)}
    assert "dense_best" not in judge("gear oil", hits, WEIGHTS, collection(model, embedder="other")).parts
    assert "dense_best" not in judge("gear oil", [hit("nothing")], WEIGHTS, collection(model)).parts


def test_a_collection_without_a_calibration_takes_the_shipped_one() -> None:
    bare = Collection(1, 1, "c", "e", "m", 2, "a", 1)
    judgement = judge("gear oil", [hit("The gear oil is red.")], WEIGHTS, bare)
    assert judgement.threshold == default_calibration().threshold
    assert 0 < judgement.probability < 1


@pytest.mark.parametrize("text", ["", "{}", '{"threshold": 2}'])
def test_a_calibration_that_cannot_be_read_says_what_to_do(text: str) -> None:
    with pytest.raises(CatalogError, match=r"collection 'c' cannot be used: .*`domainqa eval calibrate`"):
        judge("gear oil", [hit("gear")], WEIGHTS, replace(collection(), calibration=text))


def test_a_calibration_of_unknown_signals_is_refused() -> None:
    text = collection({"dense_best": 1.0}).calibration
    assert text is not None
    with pytest.raises(CatalogError, match="knows no signal moon_phase"):
        judge(
            "gear oil",
            [hit("gear")],
            WEIGHTS,
            replace(collection(), calibration=text.replace("dense_best", "moon_phase")),
        )


def test_the_nearest_documents_are_the_first_three_each_once() -> None:
    hits = [hit("x", document=name, score=1.0 - place / 10) for place, name in enumerate("aabacd")]
    assert [(item.document_id, item.score) for item in nearest_documents(hits)] == [("a", 1.0), ("b", 0.8), ("c", 0.6)]
    assert [item.document_id for item in nearest_documents(hits[:2])] == ["a"]
    assert nearest_documents([]) == ()


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("What is it?", "The documents do not say. The nearest documents are:\n- Oil (oil.md)"),
        ("Что это?", "В документах этого нет. Ближайшие документы:\n- Oil (oil.md)"),
        ("这是什么？", "文档中没有说明。 最接近的文档：\n- Oil (oil.md)"),
        ("これは何ですか？", "The documents do not say. The nearest documents are:\n- Oil (oil.md)"),
    ],
)
def test_an_abstention_speaks_the_questions_language_or_english(question: str, expected: str) -> None:
    assert abstention_text(question, [NearestDocument("d", "oil.md", "Oil", 1.0)]) == expected


@pytest.mark.parametrize("language", sorted(NOT_SAID))
def test_what_the_model_was_told_to_say_is_recognised(language: str) -> None:
    said = NOT_SAID[language]
    for text in (said, said.upper(), f"  {said.rstrip('.。')}", f"[1] {said} [2]", f"{said} Ask the maker."):
        assert says_not_said(text)
    assert abstention_text("", ()) == NOT_SAID["en"]


@pytest.mark.parametrize("text", ["", "The documents say so.", "It does not say.", "文档中有说明。", "документах"])
def test_other_replies_are_answers(text: str) -> None:
    assert not says_not_said(text)
