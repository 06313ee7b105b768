"""A follow-up takes with it what it refers to, and nothing more."""

from rag.rewriting import standalone
from rag.types import Message, Turn

ZP = "What oil does the ZP-40/2 take?"


def test_a_question_without_history_stays_as_it_is() -> None:
    assert standalone("And its weight?", []) == "And its weight?"


def test_a_follow_up_is_asked_together_with_the_question_before() -> None:
    history = [Message("user", ZP), Message("assistant", "OF-220.")]
    assert standalone("How much of it?", history) == f"{ZP} How much of it?"


def test_a_question_that_names_something_itself_stands_alone() -> None:
    assert standalone("What oil does the CP-80 take?", [Message("user", ZP)]) == "What oil does the CP-80 take?"


def test_it_goes_back_to_the_last_question_that_names_something_and_no_further() -> None:
    history = [
        Message("user", "What is the mass of the KX-15?"),
        Turn(ZP, f"<passage>...</passage> {ZP}", "OF-220."),
        Message("user", "How much of it?"),
        Message("assistant", "0.45 litres."),
    ]
    assert standalone("How often?", history) == f"{ZP} How much of it? How often?"


def test_where_nothing_is_named_the_question_before_is_enough() -> None:
    history = [Message("user", f"{word}?") for word in ("one", "two", "three", "four")]
    assert standalone("five?", history) == "four? five?"


def test_a_name_is_looked_for_at_most_three_questions_back() -> None:
    history = [Message("user", f"{word}?") for word in (ZP, "one", "two")]
    assert standalone("three?", history) == f"{ZP}? one? two? three?"
    assert standalone("four?", [*history, Message("user", "three?")]) == "three? four?"
