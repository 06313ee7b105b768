"""A repetition is dropped; a number, a code, a negation or another product makes it news."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.duplicates import NEAR, Seen
from rag.types import Evidence

RULE = (
    "Unused goods can be returned within 30 days of the delivery date. The goods must be in their original packing "
    "with the label unbroken, and the sender pays the freight unless another rule says otherwise in writing."
)


def passage(text: str, title: str = "Returns", name: str = "c1") -> Evidence:
    return Evidence(1, name, "v", f"{name}.md", title, "en", 0, len(text), None, "", text, (name,), 1.0)


def test_a_few_other_words_are_no_news() -> None:
    alike = Seen([passage(RULE)]).nearest(passage(RULE.replace("freight", "carriage"), name="c2"))
    assert alike is not None
    assert (alike.chunk_id, alike.is_same) == ("c1", False)
    assert NEAR <= alike.similarity < 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("30 days", "45 days"),
        ("can be returned", "can not be returned"),
        ("unless another rule", "unless CO-025"),
        ("original packing", "original packing of 8 mm board"),
    ],
)
def test_what_changes_the_sense_is_news(old: str, new: str) -> None:
    assert old in RULE
    assert Seen([passage(RULE)]).nearest(passage(RULE.replace(old, new))) is None


def test_values_that_changed_places_are_news() -> None:
    one = "The supply line takes 10 bar and the return line takes 8 bar under all conditions of service named here."
    other = one.replace("10 bar", "x").replace("8 bar", "10 bar").replace("x", "8 bar")
    assert Seen([passage(one)]).nearest(passage(other)) is None


def test_the_same_words_about_another_product_are_news() -> None:
    seen = Seen([passage(RULE, "ZP-60 manual")])
    assert seen.nearest(passage(RULE, "ZP-40 manual")) is None
    same = seen.nearest(passage(RULE, "ZP-60 manual"))
    assert same is not None
    assert same.is_same


@given(st.lists(st.sampled_from(["oil", "seal", "pump", "valve", "filter", "motor"]), max_size=40))
def test_every_text_repeats_itself_and_what_holds_it(words: list[str]) -> None:
    text = " ".join(words)
    for holder in (text, f"{RULE} {text}"):
        alike = Seen([passage(holder)]).nearest(passage(text))
        assert alike is not None or len(words) < 3


def test_half_of_it_is_not_nearly_all() -> None:
    half = RULE[: len(RULE) // 2]
    assert Seen([passage(half)]).nearest(passage(RULE)) is None
    assert Seen([passage(RULE)]).nearest(passage(half.rpartition(" ")[0])) is not None
