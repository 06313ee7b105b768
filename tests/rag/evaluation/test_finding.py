"""Ranked and cited spans, each measure against a case worked by hand."""

from math import log2

import pytest

from rag.evaluation.finding import citation_precision, citation_recall, covers, ranked, recall
from rag.evaluation.records import SpanRecord


def span(start: int, end: int, document: str = "a") -> SpanRecord:
    return SpanRecord(document=document, start=start, end=end)


GOLD = [span(100, 120), span(300, 340)]


def test_a_span_covers_another_from_half_of_it_on_in_the_same_document() -> None:
    assert covers(span(110, 400), span(100, 120))
    assert not covers(span(111, 400), span(100, 120))
    assert not covers(span(0, 400, "b"), span(100, 120))


def test_recall_is_the_share_of_gold_that_is_covered_and_nothing_without_gold() -> None:
    assert recall([span(0, 200), span(90, 130)], GOLD) == 0.5
    assert recall([span(0, 400)], GOLD) == 1
    assert recall([], GOLD) == 0
    assert recall([span(0, 400)], []) is None


def test_rank_and_gain_as_worked_by_hand() -> None:
    hits = [span(500, 600), span(90, 130), span(95, 125), span(290, 350)]
    (found,) = ranked([hits], [GOLD])
    # Relevant at ranks 2 and 4; the third hit repeats the second one.
    assert found["mrr"] == pytest.approx(1 / 2)
    assert found["ndcg"] == pytest.approx((1 / log2(3) + 1 / log2(5)) / (1 + 1 / log2(3)))


def test_a_question_whose_gold_is_not_found_has_zero_and_an_empty_result_too() -> None:
    assert ranked([[span(500, 600)], []], [GOLD, GOLD]) == [{"mrr": 0.0, "ndcg": 0.0}] * 2


def test_a_hit_that_covers_all_gold_first_is_perfect() -> None:
    assert ranked([[span(0, 400), span(500, 600)]], [GOLD]) == [{"mrr": 1.0, "ndcg": 1.0}]


def test_citations_are_judged_by_the_gold_they_touch() -> None:
    cited = [span(100, 120), span(102, 110), span(700, 720)]
    assert citation_precision(cited, GOLD) == pytest.approx(2 / 3)
    assert citation_recall(cited, GOLD) == 0.5
    assert citation_precision([], GOLD) is None
    assert citation_recall([], GOLD) == 0
