import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.cli.snippets import query_words, snippet


def found(text: str, query: str, language: str | None = "en") -> list[str]:
    return [text[start:end] for start, end in query_words(text, query, language)]


def test_inflected_words_are_found() -> None:
    assert found("The bearings were lubricated.", "lubricating a bearing") == ["bearings", "lubricated"]


def test_identifiers_are_found_whole_and_words_of_three_letters_are_not() -> None:
    assert found("The ZP-40/2 has the seal kit.", "what is the ZP-40/2 for") == ["ZP-40/2"]


def test_text_without_spaces_is_searched_by_pairs() -> None:
    assert "".join(found("泵的密封件需要更换", "密封", "zh")) == "密封"


def test_the_stretch_with_most_query_words_is_shown() -> None:
    text = "pump " + "filler " * 100 + "the pump seal torque is 12 Nm " + "filler " * 100
    start, end = snippet(text, query_words(text, "pump seal torque", "en"), 200)
    assert "pump seal torque is 12 Nm" in text[start:end]


@given(st.text(max_size=600), st.integers(80, 400), st.text(max_size=30))
def test_a_snippet_is_a_span_of_at_most_the_given_length(text: str, limit: int, query: str) -> None:
    start, end = snippet(text, query_words(text, query, None), limit)
    assert 0 <= start <= end <= len(text)
    assert end - start <= limit
    assert end - start >= min(len(text), limit // 2) - 1


@pytest.mark.parametrize("query", ["", "?!", "\x00"])
def test_a_query_without_words_marks_nothing(query: str) -> None:
    assert query_words("some text", query, None) == []
