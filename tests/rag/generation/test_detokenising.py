"""Whole characters only, and nothing from a stop string on."""

from hypothesis import given
from hypothesis import strategies as st

from rag.generation.detokenising import Detokeniser

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd"), max_size=40)
SHORT = st.lists(st.text("abc北🐱", min_size=1, max_size=3), max_size=3)


def decode(ids):
    """Every byte is a token, as in the worst case of a byte-level tokenizer."""
    return bytes(ids).decode("utf-8", "replace")


def pieces(data: bytes, stop=()):
    detokeniser = Detokeniser(decode, stop)
    given = []
    for token in data:
        given.append(detokeniser.push(token))
        if detokeniser.stopped:
            break
    given.append(detokeniser.finish())
    return given


def cut(text: str, stop) -> str:
    """Before the stop string that is the first to end, the longest where two end together."""
    ends = [(text.find(each) + len(each), text.find(each)) for each in stop if each in text]
    return text[: min(ends)[1]] if ends else text


@given(TEXTS)
def test_the_pieces_are_the_text_and_each_is_whole_characters(text):
    given_pieces = pieces(text.encode())
    assert "".join(given_pieces) == text
    assert [piece for piece in given_pieces if piece] == list(text)


@given(st.binary(max_size=30))
def test_broken_bytes_never_show(data):
    assert "\ufffd" not in "".join(pieces(data))


def test_an_unfinished_character_at_the_end_is_left_out():
    assert "".join(pieces("wet 北".encode()[:-1])) == "wet "


@given(st.text("abc北🐱", max_size=20), SHORT)
def test_nothing_is_given_from_a_stop_string_on(text, stop):
    assert "".join(pieces(text.encode(), stop)) == cut(text, stop)


def test_what_only_begins_a_stop_string_is_given_in_the_end():
    assert "".join(pieces(b"one EN", ["END"])) == "one EN"


def test_text_that_may_begin_a_stop_string_is_held_back():
    detokeniser = Detokeniser(decode, ["END"])
    assert [detokeniser.push(token) for token in b"aENb"] == ["a", "", "", "ENb"]
