"""Editions and values that disagree are told, newer first; what only looks alike is left alone."""

from collections.abc import Sequence

import pytest

from rag.conflicts import Disagreement, conflict, disagreements, noted, preferring_newer
from rag.dating import stated_date
from rag.editions import own_codes, replacement
from rag.matching import Piece, pieces_of
from rag.types import Document, Evidence


def document(name: str, text: str, title: str | None = None, date: str | None = None) -> Document:
    title = title or text.splitlines()[0].lstrip("# ")
    return Document(f"{name}.md", title, text, "text/markdown", name, "en", date or stated_date(text))


OLD = document(
    "old",
    "# Lending rules for tools\n\nDocument LB-07, revision 2, 4 March 2018.\n\n"
    "## 2 Period\n\nA tool can be borrowed for 10 days at most.\n\n## 5 Keys\n\nA cabinet key costs 15 EUR.\n",
)
NEW = document(
    "new",
    "# Lending of tools, new rules\n\nDocument LB-19, revision 1, 8 June 2022.\n\n"
    "This document supersedes LB-07. Section 5 of LB-07 on keys remains in force.\n\n"
    "## 2 Period\n\nA tool may now be borrowed for 21 days.\n\n## 5 Keys\n\nA cabinet key costs 20 EUR in the shop.\n",
)
OTHER = document("other", "# Canteen\n\nDocument LB-30, revision 1, 8 June 2022.\n\nLunch can be had for 21 days.\n")


def passages(*documents: Document) -> list[Evidence]:
    return [
        Evidence(
            n, d.version, d.version, d.source, d.title, d.language, 0, len(d.text), None, "", d.text, (d.version,), 1.0
        )
        for n, d in enumerate(documents, start=1)
    ]


def piece(passage: Evidence, words: str) -> Piece:
    return next(each for each in pieces_of(passage) if words in each.text)


def found(used: Piece, evidence: Sequence[Evidence], *documents: Document) -> list[Disagreement]:
    by_version = {each.version: each for each in documents}
    return disagreements(
        [used],
        evidence,
        lambda own: [(each, 1.0) for passage in own for each in pieces_of(passage)],
        lambda _, version: by_version[version],
    )


def test_what_a_document_calls_itself_and_replaces() -> None:
    assert own_codes(NEW) == {"lb-19"}
    link = replacement(NEW, OLD)
    assert link is not None
    assert link.keeps("Lending rules\n5 Keys")
    assert not link.keeps("Lending rules\n2 Period")
    assert not link.keeps("15 Keys")
    assert replacement(OLD, NEW) is None
    assert replacement(NEW, OTHER) is None


@pytest.mark.parametrize(
    "sentence",
    [
        "This bulletin adds to the rules LB-07, which stay in force.",
        "The gasket LB-19 replaces the gasket LB-07.",
        "See LB-07 for the period.",
        "Tools replaced by the store are listed in document LB-07.",
    ],
)
def test_what_is_no_replacement(sentence: str) -> None:
    assert replacement(document("n", f"# N\n\nDocument LB-19, revision 1.\n\n{sentence}\n"), OLD) is None


@pytest.mark.parametrize(
    "sentence",
    [
        "This edition takes the place of LB-07, revision 2.",
        "Настоящий документ заменяет LB-07.",
        "本规定取代 LB-07。",
    ],
)
def test_a_replacement_in_any_of_the_languages(sentence: str) -> None:
    assert replacement(document("n", f"# N\n\nDocument LB-19, revision 1.\n\n{sentence}\n"), OLD) is not None


def test_an_earlier_edition_without_a_code_needs_the_same_product_and_an_earlier_date() -> None:
    old = document("a", "# GP-7 manual\n\nRevision 1, 4 March 2018.\n")
    text = "# GP-7 manual\n\nRevision 2, 8 June 2022.\n\nThis manual replaces all earlier editions.\n"
    assert replacement(document("b", text), old) is not None
    assert replacement(document("b", text.replace("GP-7", "GP-8")), old) is None
    assert replacement(document("b", text.replace("2022", "2016")), old) is None


@pytest.mark.parametrize("used", ["old", "new"])
def test_the_newer_edition_is_given_first_and_the_older_one_said(used: str) -> None:
    evidence = passages(OLD, NEW)
    own = piece(evidence[0 if used == "old" else 1], "borrowed")
    (item,) = found(own, evidence, OLD, NEW)
    assert (item.newer.evidence.number, item.older.evidence.number) == (2, 1)
    (first,) = preferring_newer([own], [item], "How long can a tool be borrowed?")
    assert "21 days" in first.text
    told = conflict(item, "How long can a tool be borrowed?")
    assert (told.kind, told.newer_date, told.older_date) == ("superseded", "2022-06-08", "2018-03-04")
    text, citations = noted("A. [2]", [item], "How long can a tool be borrowed?", lambda *_: None)
    assert text == f"A. [2]\n{told.note}"
    assert [citation.marker for citation in citations] == [2, 1]
    for citation, source in zip(citations, (NEW, OLD), strict=True):
        assert text[citation.answer_start : citation.answer_end] == told.note
        assert source.text[citation.start : citation.end] == citation.quote
        assert f"[{citation.marker}]" in told.note


@pytest.mark.parametrize("question", ["How long could LB-07 lend a tool?", "How long was a tool lent in 2019?"])
def test_who_asks_for_the_older_one_gets_it_first(question: str) -> None:
    evidence = passages(OLD, NEW)
    own = piece(evidence[0], "borrowed")
    assert preferring_newer([own], found(own, evidence, OLD, NEW), question) == [own]


def test_the_note_is_in_the_questions_language() -> None:
    evidence = passages(OLD, NEW)
    (item,) = found(piece(evidence[0], "borrowed"), evidence, OLD, NEW)
    assert conflict(item, "На сколько дней можно взять инструмент?").note.startswith("Источники расходятся")
    assert conflict(item, "工具可以借多久？").note.startswith("来源不一致")


def test_a_section_left_in_force_is_no_conflict() -> None:
    evidence = [
        Evidence(1, "old", "old", "old.md", OLD.title, "en", 0, len(OLD.text), None, "5 Keys", OLD.text, ("o",), 1.0),
        passages(OTHER, NEW)[1],
    ]
    assert found(piece(evidence[0], "key costs"), evidence, OLD, NEW) == []


STRANGERS = "The seal kit of the {} pump costs {} in every shop."


def test_two_values_for_the_same_thing_without_a_word_of_replacement() -> None:
    one = document("one", STRANGERS.format("ZP-40", "12 EUR"), "Prices", "2021-01-01")
    two = document("two", STRANGERS.format("ZP-40", "14 EUR"), "Price list", "2023-01-01")
    evidence = passages(one, two)
    (item,) = found(piece(evidence[0], "seal"), evidence, one, two)
    assert (item.replaces, item.is_dated) == (False, True)
    assert item.newer.evidence.number == 2


def test_without_dates_neither_is_preferred() -> None:
    one = document("one", STRANGERS.format("ZP-40", "12 EUR"), "Prices")
    two = document("two", STRANGERS.format("ZP-40", "14 EUR"), "Price list")
    evidence = passages(one, two)
    own = piece(evidence[0], "seal")
    items = found(own, evidence, one, two)
    assert preferring_newer([own], items, "What does it cost?") == [own]
    assert "neither tells which is newer" in conflict(items[0], "What does it cost?").note


@pytest.mark.parametrize(
    ("product", "value"), [("ZP-60", "14 EUR"), ("ZP-40", "12 EUR"), ("ZP-40", "14 kg"), ("ZP-40", "little")]
)
def test_another_product_unit_or_no_other_value_is_no_conflict(product: str, value: str) -> None:
    one = document("one", STRANGERS.format("ZP-40", "12 EUR"), "Prices", "2021-01-01")
    two = document("two", STRANGERS.format(product, value), "Price list", "2023-01-01")
    evidence = passages(one, two)
    assert found(piece(evidence[0], "seal"), evidence, one, two) == []
