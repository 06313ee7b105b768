"""Extracts are verbatim, the best first, each once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.citing import quote
from rag.extracting import extract
from rag.fakes import FakeEmbedder
from rag.matching import Similarity, pieces_of
from rag.types import Evidence, Page

DEAF = Similarity(FakeEmbedder(), ["none"])
MANUAL = "The oil is replaced each year. The seal is changed every month. Wear gloves."
TABLE = "| Model | Flow |\n| --- | --- |\n| ZP-40 | 40 l/min |\n| ZP-60 | 60 l/min |"


def passage(number: int, text: str, score: float = 1.0, title: str = "Manual", context: str = "") -> Evidence:
    source = f"{number}.md"
    return Evidence(number, source, "v", source, title, "en", 10, 10 + len(text), None, context, text, (), score)


def texts(question: str, evidence: list[Evidence], count: int = 2, similarity: Similarity = DEAF) -> list[str]:
    return [item.piece.readable for item in extract(question, evidence, similarity, max_sentences=count)]


def test_the_best_sentence_comes_first_and_weak_ones_are_left_out() -> None:
    assert texts("When is the seal changed?", [passage(1, MANUAL)]) == ["The seal is changed every month."]


def test_a_row_is_given_with_its_column_names() -> None:
    assert texts("flow of the ZP-60", [passage(1, TABLE)], 1) == ["Model: ZP-60; Flow: 60 l/min"]


def test_the_same_sentence_in_two_documents_is_said_once() -> None:
    evidence = [passage(1, MANUAL, 0.9), passage(2, MANUAL.replace("Wear", "Use"))]
    found = extract("When is the seal changed?", evidence, DEAF, max_sentences=3)
    assert [(item.piece.readable, item.piece.evidence.number) for item in found] == [
        ("The seal is changed every month.", 2)
    ]


def test_a_title_counts_less_than_the_sentence_itself() -> None:
    evidence = [passage(1, "Changed every year.", title="Gear oil"), passage(2, "Gear oil is changed daily.")]
    assert texts("When is gear oil changed?", evidence, 1) == ["Gear oil is changed daily."]
    assert texts("When is gear oil changed?", evidence[:1], 1) == ["Changed every year."]


def test_the_passages_score_decides_between_equals() -> None:
    evidence = [passage(1, "The oil is red.", 0.5), passage(2, "The oil is blue.", 1.0)]
    assert texts("What is the oil?", evidence, 1) == ["The oil is blue."]


def test_ties_go_to_the_earlier_passage_and_place() -> None:
    evidence = [passage(1, "Oil one. Oil two."), passage(2, "Oil three.")]
    assert texts("oil", evidence, 3) == ["Oil one.", "Oil two.", "Oil three."]


def test_no_evidence_or_nothing_but_headings_gives_nothing() -> None:
    assert texts("oil", []) == []
    assert texts("oil", [passage(1, "# Oil")]) == []


def test_a_whole_document_takes_a_bounded_number_of_embeddings() -> None:
    embedder = FakeEmbedder()
    text = " ".join(f"Line {number} is about oil." for number in range(2000))
    assert len(texts("What is line 77 about?", [passage(1, text)], 1, Similarity(embedder))) == 1
    assert len(embedder.embedded) <= 64


@given(
    st.lists(st.text(alphabet="ab. |\n-油。不", max_size=40), max_size=4),
    st.text(alphabet="ab油 ", max_size=10),
    st.integers(1, 4),
)
def test_every_extract_is_a_piece_of_the_evidence(bodies: list[str], question: str, count: int) -> None:
    evidence = [passage(number, body) for number, body in enumerate(bodies, start=1)]
    found = extract(question, evidence, DEAF, max_sentences=count)
    assert len(found) <= count
    assert [item.score for item in found] == sorted((item.score for item in found), reverse=True)
    pieces = [piece for item in evidence for piece in pieces_of(item)]
    assert all(item.piece in pieces for item in found)
    assert bool(found) == bool(pieces)
    text, cited = quote([item.piece for item in found], lambda *_: None)
    assert cited.supported is (True if found else None)
    for item, citation in zip(found, cited.citations, strict=True):
        assert citation.quote == item.piece.evidence.text[citation.start - 10 : citation.end - 10]
        assert text[citation.answer_start : citation.answer_end] == (
            f"{item.piece.readable} [{item.piece.evidence.number}]"
        )


def test_what_looks_like_a_marker_in_a_document_is_none() -> None:
    (found,) = extract("oil", [passage(1, "Oil is wet [7], as【8, 9】show.")], DEAF, max_sentences=1)
    text, cited = quote([found.piece], lambda *_: Page(3, 0, 40))
    assert text == "Oil is wet (7), as(8, 9)show. [1]"
    assert (cited.citations[0].quote, cited.citations[0].page) == ("Oil is wet [7], as【8, 9】show.", 3)


def test_terms_weigh_what_the_collection_says() -> None:
    evidence = [passage(1, "The oil is here. The pump is there.")]
    for weights, expected in (
        ({"oil": 9.0, "pump": 1.0}, "The oil is here."),
        ({"oil": 1.0, "pump": 9.0}, "The pump is there."),
    ):
        found = extract("oil pump", evidence, DEAF, max_sentences=1, term_weights=weights)
        assert found[0].piece.text == expected
        assert found[0].score == pytest.approx(0.85 * 0.9 + 0.15)
