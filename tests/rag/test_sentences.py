"""Sentence spans cover the text, never overlap, and leave table rows, items and headings alone."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.sentences import is_table_row, sentence_spans, table_cells

PDF_PAGE = """ZP-40 Pump manual
1 Operation
The pump must be primed before the first start, with clean water at a temperature of at
most 40 °C. It is then started.
Model Flow (l/min)
ZP-40/2 40
"""


def sentences(text: str, language: str = "en") -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text, language)]


@given(
    st.text(alphabet=st.sampled_from("aбю泵. \n|-#1!?。😀\r\t"), max_size=120),
    st.sampled_from(["en", "ru", "zh", "xx", None]),
)
def test_spans_are_ordered_trimmed_and_cover_all_but_table_rules(text: str, language: str | None) -> None:
    spans = sentence_spans(text, language)
    at = 0
    for start, end in spans:
        assert at <= start < end <= len(text)
        assert text[start:end] == text[start:end].strip()
        skipped = text[at:start]
        assert not skipped.strip() or re.search(r"-{2,}", skipped)
        at = end


def test_wrapped_lines_are_one_sentence_and_headings_and_rows_stand_alone() -> None:
    assert sentences(PDF_PAGE) == [
        "ZP-40 Pump manual",
        "1 Operation",
        "The pump must be primed before the first start, with clean water at a temperature of at\nmost 40 °C.",
        "It is then started.",
        "Model Flow (l/min)",
        "ZP-40/2 40",
    ]


def test_table_rows_and_rule() -> None:
    assert sentences("| a | b |\n| --- | --- |\n| 1 | 2 |\n") == ["| a | b |", "| 1 | 2 |"]
    assert is_table_row("| 1 | 2 |")
    assert table_cells("| 1 | 2. x |") == ["1", "2. x"]


def test_russian_and_chinese() -> None:
    assert sentences("Масло меняют каждые 2000 часов. Фильтр моют.", "ru") == [
        "Масло меняют каждые 2000 часов.",
        "Фильтр моют.",
    ]
    assert sentences("每2000小时更换机油。清洗滤网！", "zh") == ["每2000小时更换机油。", "清洗滤网！"]


def test_a_decimal_point_ends_nothing() -> None:
    assert sentences("It runs at 2.5 bar. Then it stops.") == ["It runs at 2.5 bar.", "Then it stops."]


def test_cells_may_be_empty_or_hold_a_bar() -> None:
    assert table_cells("|| b |") == ["", "b"]
    assert table_cells("| a | |") == ["a", ""]
    assert table_cells(r"| a \| b | c |") == ["a | b", "c"]
    assert table_cells("| a") == ["a"]


@pytest.mark.parametrize(
    "text",
    [
        "x" * 100_000,
        " " * 100_000 + "x",
        "\r" * 100_000,
        "-" * 100_000 + "x",
        "泵。" * 50_000,
        "| " * 50_000,
        '."' * 50_000,
    ],
)
def test_hostile_text_takes_no_time(text: str) -> None:
    start = time.perf_counter()
    spans = sentence_spans(text)
    assert time.perf_counter() - start < 10
    assert "".join(text[a:b] for a, b in spans).replace(" ", "") == text.replace(" ", "").replace("\r", "")


def test_long_prose_is_split_as_short_prose_is() -> None:
    sentence = "The pump must be stopped, e.g. by key 3, before the seal is changed.\n"
    assert sentences(sentence * 200) == [sentence.strip()] * 200
    assert sentences("泵停。" * 2000, "zh") == ["泵停。"] * 2000


def test_half_a_character_keeps_its_place() -> None:
    assert sentences("One \ud800. Two.") == ["One \ud800.", "Two."]
