"""Pieces are true spans; facts compare as people read them."""

import pytest

from rag.fakes import FakeEmbedder
from rag.matching import Similarity, TermMatcher, facts, numbers, pieces_of
from rag.types import Evidence

TABLE = """## Limits

Values at 20 °C.

| Model | Flow (l/min) |
| --- | --- |
| ZP-40/2 | 40 |
| ZP-60/2 | 60 |

See below."""


def passage(text: str, context: str = "") -> Evidence:
    return Evidence(1, "d", "v", "m.md", "M", "en", 50, 50 + len(text), None, context, text, (), 1.0)


def test_pieces_are_spans_without_headings_and_header_rows() -> None:
    pieces = pieces_of(passage(TABLE))
    assert [piece.text for piece in pieces] == [
        "Values at 20 °C.",
        "| ZP-40/2 | 40 |",
        "| ZP-60/2 | 60 |",
        "See below.",
    ]
    for piece in pieces:
        assert TABLE[piece.start - 50 : piece.end - 50] == piece.text


def test_a_row_reads_with_its_column_names() -> None:
    assert pieces_of(passage(TABLE))[1].readable == "Model: ZP-40/2; Flow (l/min): 40"


def test_a_row_of_a_split_table_takes_its_header_from_the_context() -> None:
    (piece,) = pieces_of(passage("| ZP-60/2 | 60 |", "M > Limits\n| Model | Flow (l/min) |"))
    assert piece.readable == "Model: ZP-60/2; Flow (l/min): 60"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("every 2,000 hours", {"2000"}),
        ("2.5 bar and 2,5 бар.", {"2.5", "2,5"}),
        ("ZP-40/2 (part ZP-1001)", {"zp-40/2", "zp-1001"}),
        ("on 12 March 2024.", {"12", "2024"}),
        ("泵ZP-40为40升", {"zp-40", "40"}),
    ],
)
def test_facts(text: str, expected: set[str]) -> None:
    assert facts(text) == expected


def test_numbers_are_facts_without_letters() -> None:
    assert numbers("ZP-40/2 runs at 2.5 bar, 1,200 rpm") == {"2.5", "1200"}


def test_coverage_is_the_weighted_share_of_words() -> None:
    matcher = TermMatcher("oil pressure", ["the oil", "the pressure of oil", "water"], ["en", "en", "en"])
    assert matcher.coverage(1) == 1.0
    assert 0 < matcher.coverage(0) < 0.5
    assert matcher.coverage(2) == 0.0
    assert matcher.coverage(2, {"oil", "pressur"}, 0.5) == pytest.approx(0.5)


def test_an_embedder_has_no_say_in_a_language_it_does_not_know() -> None:
    similarity = Similarity(FakeEmbedder(), ["en"])
    assert similarity.cosines("Когда меняют масло?", ["Масло меняют."], is_question=True) is None
    cosines = similarity.cosines("change oil", ["change oil", "water"], is_question=False)
    assert cosines is not None
    assert cosines[0] == pytest.approx(1.0)


def test_a_sentence_is_embedded_once() -> None:
    embedder = FakeEmbedder()
    similarity = Similarity(embedder)
    for _ in range(3):
        similarity.cosines("a b", ["c d", "e f"], is_question=True)
    assert sorted(embedder.embedded) == ["c d", "e f"]
