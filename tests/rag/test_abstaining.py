"""Gate A, worked by hand, and what an abstention says."""

import pytest

from rag.abstaining import (
    abstention_text,
    evidence_scores,
    has_evidence,
    nearest_documents,
    says_not_said,
    unknown_identifiers,
)
from rag.config import AnsweringSettings
from rag.prompting import NOT_SAID
from rag.types import ChannelScore, Hit, NearestDocument, StoredChunk

WEIGHTS = {"gear": 3.0, "oil": 1.0}


def hit(text: str, cosine: float | None = None, *, document: str = "d", title: str = "T", score: float = 1.0) -> Hit:
    chunk = StoredChunk(1, "c", document, "v", f"{document}.md", title, "en", 0, len(text), None, (), "", text)
    channels = {"lexical": ChannelScore(1, 5.0, 1.0)}
    if cosine is not None:
        channels["dense"] = ChannelScore(1, cosine, 1.0)
    return Hit(chunk, score, channels)


def test_the_score_is_the_covered_weight_or_its_mean_with_the_cosine() -> None:
    hits = [hit("gear"), hit("gear", 0.25), hit("oil", -0.5)]
    assert evidence_scores("gear oil", hits, WEIGHTS) == pytest.approx([0.75, 0.5, 0.125])


def test_only_the_first_hits_are_judged() -> None:
    assert len(evidence_scores("gear oil", [hit("gear")] * 9, WEIGHTS)) == 3
    config = AnsweringSettings(min_evidence_lexical=0.5)
    assert not has_evidence("gear oil", [*[hit("x")] * 3, hit("gear oil")], WEIGHTS, config)


@pytest.mark.parametrize(
    ("cosine", "dense_threshold", "lexical_threshold", "expected"),
    [
        (None, 1.0, 0.75, True),
        (None, 0.0, 0.76, False),
        (0.25, 0.5, 1.0, True),
        (0.25, 0.51, 0.0, False),
    ],
)
def test_each_kind_of_hit_has_its_threshold(
    cosine: float | None, dense_threshold: float, lexical_threshold: float, expected: bool
) -> None:
    config = AnsweringSettings(min_evidence=dense_threshold, min_evidence_lexical=lexical_threshold)
    assert has_evidence("gear oil", [hit("gear", cosine)], WEIGHTS, config) is expected


def test_no_hits_are_no_evidence() -> None:
    assert not has_evidence("gear oil", [], WEIGHTS, AnsweringSettings(min_evidence=0, min_evidence_lexical=0))


def test_a_heading_or_title_counts_as_evidence() -> None:
    assert evidence_scores("gear oil", [hit("Every year.", title="Gear oil")], WEIGHTS) == [1.0]


@pytest.mark.parametrize(
    ("question", "unknown"),
    [
        ("the ZP-40/2", set()),
        ("the zp40/2", set()),
        ("the ZP 40/2", set()),
        ("the ZP\u201140/2", set()),
        ("the ZP-40", set()),
        ("the ZP-41 and the ZP-40/2", {"zp-41"}),
        ("a 24-hour run at 5mm and 3 bar", set()),
    ],
)
def test_an_identifier_is_known_however_it_is_separated(question: str, unknown: set[str]) -> None:
    assert unknown_identifiers(question, [hit("about pumps"), hit("The ZP-40/2 pump.")]) == unknown


def test_an_unknown_identifier_is_no_evidence_however_well_the_rest_fits() -> None:
    config = AnsweringSettings(min_evidence=0, min_evidence_lexical=0)
    assert has_evidence("gear oil of the ZP-40", [hit("gear oil of the ZP-40", 1.0)], WEIGHTS, config)
    assert not has_evidence("gear oil of the ZP-41", [hit("gear oil of the ZP-40", 1.0)], WEIGHTS, config)


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
