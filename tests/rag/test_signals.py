"""Signals worked by hand: what stands together, about which name, with which quantity."""

import pytest

from rag.signals import DENSE_SIGNALS, LEXICAL_SIGNALS, read_signals
from rag.types import ChannelScore, Hit, StoredChunk


def hit(text: str, *, title: str = "T", context: str = "", lexical: float = 5.0, cosine: float | None = None) -> Hit:
    chunk = StoredChunk(1, "c", "d", "v", "d.md", title, "en", 0, len(text), None, (), context, text)
    channels = {"lexical": ChannelScore(1, lexical, 1.0)}
    if cosine is not None:
        channels["dense"] = ChannelScore(1, cosine, 1.0)
    return Hit(chunk, 1.0, channels)


def read(question: str, hits: list[Hit], weights: dict[str, float]) -> dict[str, float]:
    return read_signals(question, hits, weights)


def test_without_hits_every_signal_is_nought() -> None:
    assert read("gear oil?", [], {}) == dict.fromkeys(LEXICAL_SIGNALS, 0.0)


def test_dense_signals_are_there_only_where_the_embedder_had_a_say() -> None:
    assert set(read("gear oil?", [hit("gear oil")], {})) == set(LEXICAL_SIGNALS)
    assert set(read("gear oil?", [hit("gear oil", cosine=0.5)], {})) == {*LEXICAL_SIGNALS, *DENSE_SIGNALS}


def test_words_in_one_sentence_weigh_more_than_words_apart() -> None:
    weights = {"gear": 3.0, "oil": 1.0}
    together = read("gear oil", [hit("The gear oil is red.")], weights)
    apart = read("gear oil", [hit("The gear is old."), hit("The oil is red.")], weights)
    assert (together["context_coverage"], together["union_coverage"]) == (1.0, 1.0)
    assert (apart["context_coverage"], apart["union_coverage"]) == (0.75, 1.0)
    assert (together["rarest_missing"], apart["rarest_missing"]) == (0.0, pytest.approx(1 / 3))


def test_what_is_asked_counts_beside_the_name() -> None:
    weights = {"zp-40": 9.0, "zp": 9.0, "40": 9.0, "colour": 2.0}
    signals = read("Which colour does the ZP-40 have?", [hit("The ZP-40 weighs 8 kg.")], weights)
    assert signals["context_coverage"] == 0.0
    assert (
        read("Which colour does the ZP-40 have?", [hit("The ZP-40 has the colour red.")], weights)["named_coverage"]
        == 1
    )


def test_a_title_or_heading_speaks_for_its_sentences() -> None:
    signals = read("gear oil", [hit("Every year.", title="Gear oil")], {"gear": 1.0, "oil": 1.0})
    assert (signals["title_coverage"], signals["context_coverage"], signals["piece_coverage"]) == (1.0, 1.0, 0.0)


def test_the_first_passages_are_read_for_the_question_as_it_was_asked() -> None:
    weights = dict.fromkeys(("gear", "oil", "price"), 1.0)
    hits = [hit("Gear oil."), hit("The oil has a price."), hit("Nothing."), hit("The price.")]
    together = read_signals("gear oil price", hits, weights, "price")
    # Of the first three hits only the second says the price; with the talk before, their mean would be 4 of 9.
    assert together["first_coverage"] == pytest.approx(1 / 3)
    assert read("gear oil price", hits, weights)["first_coverage"] == pytest.approx(4 / 9)


TABLE = "| Part | Weight (kg) | Price (EUR) |\n| --- | --- | --- |\n| ZP-1 | 2 | 5 |\n| ZP-2 | 3 | 8 |"


@pytest.mark.parametrize(
    ("question", "text", "missing"),
    [
        ("What does the ZP-1 cost?", TABLE, 0.0),
        ("What does the ZP-1 cost?", TABLE.replace("Price (EUR)", "Length (mm)"), 1.0),
        ("What does the ZP-3 cost?", TABLE, 0.0),
        ("What does the ZP-1 cost?", "The ZP-1 is a kit. It is sold for 5 EUR.", 0.0),
        ("What does the ZP-1 cost?", "The ZP-1 is a kit. It weighs 5 kg.", 1.0),
        ("Which colour has the ZP-1?", "The ZP-1 is a kit.", 0.0),
        # The columns are not named, so the price may be among the numbers.
        ("What does the ZP-1 cost?", "| ZP-1 | 2 | 5 |\n| ZP-2 | 3 | 8 |", 0.0),
    ],
)
def test_a_quantity_is_missing_where_nothing_about_the_name_holds_it(question: str, text: str, missing: float) -> None:
    assert read(question, [hit(text)], {"cost": 1.0})["quantity_missing"] == missing


@pytest.mark.parametrize(
    ("question", "unknown"),
    [
        ("the ZP-40/2", 0),
        ("the zp40/2", 0),
        ("the ZP 40/2", 0),
        ("the ZP\u201140/2", 0),
        ("the ZP-40", 0),
        ("the ZP-4", 1),
        ("the ZP-41 and the ZP-40/2", 0.5),
        ("a 24-hour run at 5mm and 3 bar", 0),
    ],
)
def test_a_name_is_known_however_it_is_separated(question: str, unknown: float) -> None:
    assert read(question, [hit("about pumps"), hit("The ZP-40/2 pump.")], {})["names_unknown"] == unknown


def test_a_follow_up_is_read_by_itself_and_with_the_talk_before_it() -> None:
    weights = {"gear": 3.0, "oil": 1.0, "colour": 2.0}
    hits = [hit("The colour is red.")]
    assert read_signals("gear oil colour", hits, weights)["context_coverage"] == pytest.approx(1 / 3)
    assert read_signals("gear oil colour", hits, weights, "colour")["context_coverage"] == 1.0
    assert read_signals("gear oil", hits, weights, "gear oil") == read_signals("gear oil", hits, weights)


def test_scores_that_stand_out_have_a_drop() -> None:
    flat = read("oil", [hit("x", lexical=4.0) for _ in range(6)], {"oil": 2.0})
    steep = read("oil", [hit("x", lexical=4.0), *(hit("x", lexical=1.0) for _ in range(5))], {"oil": 2.0})
    assert (flat["lexical_drop"], steep["lexical_drop"]) == (0.0, 0.75)
    assert flat["lexical_best"] == pytest.approx(4 / 4.4)
