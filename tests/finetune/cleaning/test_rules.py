"""The rules one by one."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.cleaning.boilerplate import RepeatedSentences, boilerplate
from finetune.cleaning.normalising import normalise
from finetune.cleaning.personal import scrub
from finetune.cleaning.repetition import repetition


@given(st.text(max_size=200))
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    once.encode("utf-8")


def test_normalising_keeps_what_readers_see() -> None:
    assert normalise("cafe\u0301\u200b \u00a0m³/h\r\n\r\n\r\n\r\nend\x00 \u00ad") == "café  m³/h\n\nend"
    assert normalise("می\u200cخواهم") == "می\u200cخواهم"


def prose(words: int) -> str:
    return " ".join(random.Random(1).choices([f"word{number}" for number in range(2000)], k=words))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (prose(400), None),
        ("Yes.", None),
        ("the cat sat " * 9, "one run of words again and again"),
        ("\n".join(["Home", "News", "Home", "News", "Home", "News", "Home", "Contact"]), "5 of 8 lines are repeated"),
        (" ".join(f"{prose(10)} word{number}" for number in range(40)), "stands 40 times"),
        (prose(300) + " " + prose(300), "in repeated runs of 5 words"),
    ],
)
def test_repetition_is_named(text: str, told: str | None) -> None:
    found = repetition(text)
    assert (found is None) if told is None else told in (found or "")


def test_a_worked_sum_may_name_its_things_again() -> None:
    text = (
        "Ann has 4 pickle slices. Ben has twice as many pickle slices, so 4 * 2 = 8. Carl has 12 - 8 = 4 pickle slices."
    )
    assert repetition(f"{text}\n{text.replace('4', '6')}") is None


def test_known_phrases_are_boilerplate() -> None:
    assert boilerplate("I'm sorry, but as an AI language model I cannot.") == "as an AI language model"
    assert boilerplate("Please enable JavaScript to view this page.") == "enable JavaScript"
    assert boilerplate("The pump is made of steel.") is None


def test_sentences_that_a_source_repeats_are_taken_out() -> None:
    footer = "This page was last reviewed by the editors of the site."
    texts = [f"Fact number {number} stands here. {footer} Yes." for number in range(100)]
    repeated = RepeatedSentences(texts)
    assert repeated.without(texts[7]) == "Fact number 7 stands here. Yes."
    assert repeated.without("Nothing to take out.  Blanks stay.") == "Nothing to take out.  Blanks stay."
    assert RepeatedSentences(texts[:19]).without(texts[7]) == texts[7]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Write to jo.doe+x@mail.example.org.", "Write to [email]."),
        ("Call +44 20 7946 0958 now", "Call [phone] now"),
        ("Call (030) 901820 now", "Call [phone] now"),
        ("Pay to DE89 3704 0044 0532 0130 00", "Pay to [account]"),
        ("Card 4111 1111 1111 1111.", "Card [card]."),
        ("Host 192.168.0.17 is down", "Host [address] is down"),
        (
            "Part ZP-40/2-071B, 71-5002, DE12 3704 0044 0532 0130 00",
            "Part ZP-40/2-071B, 71-5002, DE12 3704 0044 0532 0130 00",
        ),
        ("Version 4.10.2 costs 1,200 EUR since 2024-05-01 at 4111 1111 1111 1112", None),
    ],
)
def test_personal_data_is_found_by_its_form(text: str, left: str | None) -> None:
    assert scrub(text) == (text if left is None else left)
