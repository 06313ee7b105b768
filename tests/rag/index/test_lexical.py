import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.analysis import analyze, query_terms
from rag.index.lexical import LexicalIndex

NONE = np.array([], np.int64)
TEXTS = [
    "The ZP-40/2 pump runs at 3.5 bar.",
    "The ZP-40/3 pump runs at 4 bar; its valve is the KX-75.2.",
    "Насос ZP-40/2 заменяют каждые 2000 часов",
    "ZP-40/2型泵的压力为3.5MPa",
    "Nothing of interest here, here and here.",
    "...",
]
LANGUAGES = ["en", "en", "ru", "zh", "en", None]


@pytest.fixture
def index(tmp_path: Path) -> LexicalIndex:
    made = LexicalIndex.create(tmp_path)
    made.write([(np.arange(10, 16), TEXTS, LANGUAGES)], NONE)
    return made


def _kept_length(length: int) -> int:
    """What one byte keeps of it in Lucene (SmallFloat.intToByte4) and Tantivy: above 24, four bits of the rest."""
    rest = length - 24
    dropped = max(0, rest.bit_length() - 4)
    return 24 + (rest >> dropped << dropped)


def _bm25(terms: list[str], limit: int) -> list[tuple[int, float]]:
    """Robertson's BM25 with Lucene's idf, k1 = 1.2, b = 0.75, every text 128 terms longer, written out."""
    counts = [Counter(analyze(text, language)) for text, language in zip(TEXTS, LANGUAGES, strict=True)]
    lengths = [sum(count.values()) + 128 for count in counts]
    average = sum(lengths) / len(lengths)
    scores: dict[int, float] = {}
    for term in terms:
        frequency = sum(term in count for count in counts)
        idf = math.log(1 + (len(counts) - frequency + 0.5) / (frequency + 0.5))
        for place, count in enumerate(counts):
            if count[term]:
                norm = 1.2 * (1 - 0.75 + 0.75 * _kept_length(lengths[place]) / average)
                scores[place + 10] = scores.get(place + 10, 0) + idf * 2.2 * count[term] / (count[term] + norm)
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:limit]


@pytest.mark.parametrize("query", ["ZP-40/2", "pump bar", "насосы", "泵的压力", "here", "KX-75.2 valves", "absent"])
def test_scores_are_bm25(index: LexicalIndex, query: str) -> None:
    terms = query_terms(query, set(LANGUAGES))
    expected = _bm25(terms, 5)
    found = index.search(terms, 5)
    assert [(hit.row, pytest.approx(hit.score, rel=1e-4)) for hit in found] == expected


@settings(deadline=None)
@given(st.lists(st.sampled_from(["pump", "zp-40/2", "bar", "here", "absent", "\ue000"])), st.sets(st.integers(8, 17)))
def test_given_rows_get_what_a_search_gives_them(terms: list[str], rows: set[int]) -> None:
    made = LexicalIndex.create(None)
    made.write([(np.arange(10, 16), TEXTS, LANGUAGES)], NONE)
    expected = {hit.row: hit.score for hit in made.search(terms, 20) if hit.row in rows}
    assert made.scores(terms, rows) == pytest.approx(expected)


def test_an_identifier_finds_its_own_line_first(index: LexicalIndex) -> None:
    assert index.search(query_terms("KX-75.2", {"en"}), 1)[0].row == 11
    assert {hit.row for hit in index.search(["zp-40/2"], 9)} == {10, 12, 13}


@settings(deadline=None)
@given(st.lists(st.text(max_size=30), max_size=20))
def test_no_term_means_anything_but_itself(terms: list[str]) -> None:
    folder_less = LexicalIndex.create(None)
    folder_less.write([(np.array([1]), ["plain words"], ["en"])], NONE)
    hits = folder_less.search([*terms, '"', "+plain", "text:plain", "*", "plain OR", "(", "\\"], 5)
    assert [hit.row for hit in hits] == ([1] if {"plain", "word"} & set(terms) else [])


def test_removed_rows_are_gone_and_the_rest_stays(index: LexicalIndex, tmp_path: Path) -> None:
    index.write([(np.array([99]), ["pump"], ["en"])], np.array([10, 11, 12345]))
    assert len(index) == 5
    assert [hit.row for hit in index.search(["pump"], 5)] == [99]
    assert [hit.row for hit in LexicalIndex.open(tmp_path).search(["pump"], 5)] == [99]


def test_equal_scores_come_by_row_across_segments(tmp_path: Path) -> None:
    index = LexicalIndex.create(tmp_path)
    for start in (40, 0, 20):
        rows = np.arange(start, start + 20)[::-1]
        index.write([(rows, ["same words"] * 20, ["en"] * 20)], NONE)
    assert [hit.row for hit in index.search(["same"], 30)] == list(range(30))


def test_an_open_searcher_keeps_its_state(index: LexicalIndex, tmp_path: Path) -> None:
    other = LexicalIndex.open(tmp_path)
    other.write([], np.array([10, 11]))
    assert len(index.search(["pump"], 5)) == 2
    assert other.search(["pump"], 5) == []


def test_a_folder_without_an_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="absent"):
        LexicalIndex.open(tmp_path / "absent")
    with pytest.raises(ValueError, match="meta"):
        LexicalIndex.open(tmp_path)
