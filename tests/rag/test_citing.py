"""Markers, attribution and support: nothing comes out that has no source."""

import itertools
import random
import re
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from rag.citing import Cited, MarkerFilter, Renumbering, cite, numbers_for_readers
from rag.fakes import FakeEmbedder
from rag.matching import Similarity, pieces_of
from rag.types import Evidence, Page

OIL = "The gear oil of the ZP-40/2 is changed every 2,000 operating hours. Never mix oils."
SEAL = "The seal kit is ZP-1001. It costs 12.50 EUR."


def passage(number: int, text: str, start: int = 100) -> Evidence:
    return Evidence(
        number,
        f"d{number}",
        "v",
        f"{number}.md",
        "Manual",
        "en",
        start,
        start + len(text),
        None,
        "Manual",
        text,
        (),
        1.0,
    )


NO_EMBEDDER = Similarity(FakeEmbedder(), ["none"])
EVIDENCE = [passage(1, OIL), passage(2, SEAL, 7)]


ASKED = "What does the seal kit cost, and may oils be mixed?"


def cited(text: str) -> Cited:
    return cite(text, EVIDENCE, Similarity(FakeEmbedder()), lambda evidence, offset: Page(4, 0, 100), question=ASKED)


def filtered(pieces: list[str], valid: list[int]) -> str:
    markers = MarkerFilter(valid)
    return "".join([*(markers.feed(piece) for piece in pieces), markers.flush()])


@given(st.lists(st.text(alphabet="ab []【】0123,; ", max_size=6), max_size=12), st.sets(st.integers(0, 40)))
def test_no_marker_without_a_source_comes_out_and_pieces_do_not_matter(pieces: list[str], valid: set[int]) -> None:
    streamed = filtered(pieces, sorted(valid))
    assert streamed == filtered(["".join(pieces)], sorted(valid))
    found = re.findall(r"[\[【]\s*(\d{1,4}(?:\s*[,;]\s*\d{1,4})*)\s*[\]】]", streamed)
    assert {int(n) for group in found for n in group.replace(";", ",").split(",")} <= valid


def test_half_a_marker_is_never_shown() -> None:
    markers = MarkerFilter([1])
    assert markers.feed("Yes [") == "Yes "
    assert markers.feed("1") == ""
    assert markers.feed("].") == "[1]."
    assert markers.feed(" No [1") == " No "
    assert markers.flush() == ""


def test_lists_and_other_brackets() -> None:
    assert filtered(["a [1, 2; 9] b [see] c [12a]"], [1, 2]) == "a [1][2] b [see] c [12a]"


def test_a_marked_sentence_is_tied_to_the_best_sentence_of_its_passage() -> None:
    result = cited("The oil of the ZP-40/2 is changed every 2000 operating hours [1].")
    (citation,) = result.citations
    assert result.supported is True
    assert (citation.marker, citation.attributed, citation.supported, citation.page) == (1, False, True, 4)
    assert citation.quote == "The gear oil of the ZP-40/2 is changed every 2,000 operating hours."
    assert OIL[citation.start - 100 : citation.end - 100] == citation.quote


def test_a_wrong_number_or_identifier_is_not_supported() -> None:
    assert cited("The gear oil of the ZP-40/2 is changed every 3,000 operating hours [1].").supported is False
    assert cited("The gear oil of the ZP-41/2 is changed every 2,000 operating hours [1].").supported is False
    assert cited("The seal kit costs 12.50 EUR [1].").supported is False


def test_an_answer_without_markers_is_attributed_afterwards() -> None:
    text = "The seal kit costs 12.50 EUR."
    (citation,) = cited(text).citations
    assert (citation.marker, citation.attributed, citation.supported) == (2, True, True)
    assert text[citation.answer_start : citation.answer_end] == text


def test_one_unsupported_sentence_spoils_the_answer_and_is_marked() -> None:
    result = cited("The seal kit costs 12.50 EUR [2]. It ships on Mondays to Kenya [2].")
    assert result.supported is False
    assert [citation.supported for citation in result.citations] == [True, False]


def test_a_marker_behind_the_full_stop_belongs_to_the_sentence_before() -> None:
    text = "The seal kit costs 12.50 EUR. [2] Never mix oils. [1]"
    result = cited(text)
    assert [(text[c.answer_start : c.answer_end], c.marker) for c in result.citations] == [
        ("The seal kit costs 12.50 EUR. [2]", 2),
        ("Never mix oils. [1]", 1),
    ]


def test_a_text_without_sentences_has_no_verdict() -> None:
    assert cited("") == cited(" [1] ") == Cited((), None)


def test_an_unmarked_sentence_beside_marked_ones_is_attributed_if_it_is_supported() -> None:
    result = cited("Never mix oils. The seal kit costs 12.50 EUR [2].")
    assert result.supported is True
    assert [(citation.marker, citation.attributed) for citation in result.citations] == [(1, True), (2, False)]
    result = cited("Oil is sold on Mondays in Kenya. The seal kit costs 12.50 EUR [2].")
    assert result.supported is False
    assert [citation.marker for citation in result.citations] == [2]


def test_a_line_ends_a_sentence() -> None:
    text = "The seal kit costs 12.50 EUR [2]\nNever mix oils [1]"
    result = cited(text)
    assert [(text[c.answer_start : c.answer_end], c.marker, c.supported) for c in result.citations] == [
        ("The seal kit costs 12.50 EUR [2]", 2, True),
        ("Never mix oils [1]", 1, True),
    ]


def test_a_marker_of_no_passage_names_nothing() -> None:
    (citation,) = cited("The seal kit costs 12.50 EUR [9].").citations
    assert (citation.marker, citation.attributed) == (2, False)


def test_russian_and_chinese_answers_are_cut_by_their_own_rules() -> None:
    for language, text in (
        ("ru", "Насос выпускают с 2024 г. в Омске, т. е. на новом заводе. Масло меняют раз в год."),
        ("zh", "水泵的机油每2000小时更换一次。滤网每月清洗。"),
    ):
        evidence = replace(passage(1, text), language=language)
        sentences = [piece.text for piece in pieces_of(evidence)]
        answer = " ".join(f"{sentence} [1]" for sentence in sentences)
        result = cite(answer, [evidence], Similarity(FakeEmbedder()), lambda *_: None)
        assert result.supported is True
        assert [citation.quote for citation in result.citations] == sentences


def test_a_heading_alone_supports_nothing() -> None:
    """What a heading says is no part of the quote: it neither counts for the claim nor against it."""
    evidence = replace(passage(1, "The labour is that of one trained fitter."), context="KX-37 screw compressor")
    for answer, supported in (
        ("The KX-37 screw compressor has the highest value of labour [1].", False),
        ("The labour for the KX-37 screw compressor is that of one fitter [1].", True),
    ):
        assert cite(answer, [evidence], NO_EMBEDDER, lambda *_: None).supported is supported


def test_a_whole_document_takes_a_bounded_number_of_embeddings() -> None:
    embedder = FakeEmbedder()
    evidence = passage(1, " ".join(f"Line {number} is about oil." for number in range(2000)))
    result = cite("Line 77 is about oil [1].", [evidence], Similarity(embedder), lambda *_: None)
    assert [citation.quote for citation in result.citations] == ["Line 77 is about oil."]
    assert len(embedder.embedded) <= 40


def test_terms_weigh_what_the_collection_says() -> None:
    for weight, supported in ((9.0, False), (0.1, True)):
        weights = {"oil": 1.0, "is": 1.0, "sealant": weight}
        result = cite("Sealant is oil [1].", [passage(1, "Oil is wet.")], NO_EMBEDDER, lambda *_: None, weights)
        assert result.supported is supported


def test_markers_in_other_digits_and_marks_inside_marks() -> None:
    assert filtered(["a [１] [[1]] [1 [1]"], [1]) == "a [1] [1]] 1 [1]"
    assert filtered(["[" + " " * 60 + "1]"], [1]) == " " * 60 + "1]"
    assert filtered(["[1,]", "[,1]", "[]"], [1]) == "[1,][,1][]"
    assert filtered(["[", "7", ",", "1", "]", "["], [1]) == "[1]["


def test_ten_thousand_texts_full_of_markers_stream_as_they_come_whole() -> None:
    draw = random.Random(11)
    parts = ["[", "]", "【", "】", "1", "2", "12", "007", "99999", ",", ";", " ", "\n", "a", "泵"]
    parts += ["[1]", "[2, 9]", "【3】", "[[4]]"]
    loose = re.compile(r"[\[【]\s*(\d+(?:\s*[,;]\s*\d+)*)\s*[\]】]")
    for _ in range(10_000):
        text = "".join(draw.choices(parts, k=draw.randrange(40)))
        valid = draw.sample(range(1, 15), draw.randrange(6))
        cuts = sorted(draw.randrange(len(text) + 1) for _ in range(draw.randrange(8)))
        pieces = [text[start:end] for start, end in itertools.pairwise([0, *cuts, len(text)])]
        markers, shown, read = MarkerFilter(valid), "", Renumbering()
        renumbered = ""
        for piece in pieces:
            shown += (delta := markers.feed(piece))
            renumbered += read.text(delta)
            # Whatever a reader sees at any moment has no marker without a source.
            named = [int(n) for group in loose.findall(shown) for n in re.findall(r"\d+", group)]
            assert set(named) <= set(valid), (text, shown)
            assert re.search(r"[\[【][\d\s,;]*$", shown) is None, (text, shown)
        end = markers.flush()
        shown, renumbered = shown + end, renumbered + read.text(end)
        assert shown == filtered([text], valid)
        assert renumbered == Renumbering().text(shown)
        numbers = [int(n) for n in re.findall(r"\[(\d+)\]", renumbered)]
        assert list(dict.fromkeys(numbers)) == list(range(1, len(set(numbers)) + 1))


def test_readers_see_numbers_by_first_use_and_sources_found_afterwards_come_last() -> None:
    text = "The seal kit is ZP-1001 [2]. Never mix oils [1]. The seal kit costs 12.50 EUR [2]."
    assert numbers_for_readers(text, cited(text).citations) == {2: 1, 1: 2}
    assert Renumbering().text(text) == text.replace("[2]", "[#]").replace("[1]", "[2]").replace("[#]", "[1]")
    text = "Never mix oils. The seal kit is ZP-1001 [2]."
    assert numbers_for_readers(text, cited(text).citations) == {2: 1, 1: 2}


def test_what_an_answer_adds_to_its_question_must_stand_in_the_quote() -> None:
    question = "Which oil of the ZP-40/2 is changed every 2,000 operating hours?"
    right = "The gear oil of the ZP-40/2 is changed every 2,000 operating hours [1]."
    wrong = "The motor grease of the ZP-40/2 is changed every 2,000 operating hours [1]."
    for text, expected in ((right, True), (wrong, False)):
        found = cite(text, EVIDENCE, NO_EMBEDDER, lambda *_: None, question=question)
        assert found.supported is expected


class Sceptic:
    """Believes only what it was told to believe, and remembers what it was asked."""

    def __init__(self, believed: str) -> None:
        self.believed = believed
        self.asked: list[str] = []

    def entails(self, premises: Sequence[str], claim: str) -> list[bool]:
        self.asked += premises
        return [premise == self.believed for premise in premises]


def test_a_model_of_entailment_has_the_last_word_but_is_not_asked_what_words_rule_out() -> None:
    text = "Never mix the oils [1]."
    for believed, expected in (("Never mix oils.", True), ("", False)):
        model = Sceptic(believed)
        assert cite(text, EVIDENCE, NO_EMBEDDER, lambda *_: None, entailment=model).supported is expected
        assert "Never mix oils." in model.asked
    model = Sceptic("It costs 12.50 EUR.")
    assert cite("It costs 13.50 EUR [2].", EVIDENCE, NO_EMBEDDER, lambda *_: None, entailment=model).supported is False
    assert model.asked == []
