"""Pieces are true spans; facts compare as people read them."""

import pytest

from rag.fakes import FakeEmbedder
from rag.matching import Similarity, TermMatcher, identifiers, inverse_document_frequency, pieces_of
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


def test_rows_without_a_header_are_rows() -> None:
    pieces = pieces_of(passage("| ZP-40/2 | 40 |\n| ZP-60/2 | 60 |"))
    assert [(piece.readable, piece.header) for piece in pieces] == [("ZP-40/2; 40", None), ("ZP-60/2; 60", None)]


def test_a_bar_inside_a_cell_is_no_border() -> None:
    (piece,) = pieces_of(passage("| Key | Use |\n| --- | --- |\n| Alt \\| Gr | a \\| b |"))
    assert piece.readable == "Key: Alt | Gr; Use: a | b"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ZP-40/2 (part ZP-1001)", {"zp-40/2", "zp-1001"}),
        ("ZP-40,ZP-60:K1", {"zp-40", "zp-60", "k1"}),
        ("the ZP\u201140 and the ZP\u221260", {"zp-40", "zp-60"}),
        ("泵ZP-40为40升", {"zp-40"}),
        ("насос НЦ-40", {"нц-40"}),
        ("a 24-hour, 3-phase 2nd run of 2.5 bar, 5mm, 40 m³/h on 2024-03-12", set()),
    ],
)
def test_identifiers_hold_a_letter_before_a_digit(text: str, expected: set[str]) -> None:
    assert identifiers(text) == expected


def test_rarity_stays_positive_when_an_index_still_counts_removed_texts() -> None:
    assert 0 < inverse_document_frequency(30, 2) < inverse_document_frequency(1, 2)


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
