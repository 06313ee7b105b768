"""Statuses and metrics of single answers, against cases worked by hand."""

import pytest

from rag.evaluation.costs import money
from rag.evaluation.questions import EvaluationQuestion
from rag.evaluation.records import AnswerRecord, CitationRecord, EvidenceRecord, Prices, SpanRecord, TokensRecord
from rag.evaluation.scoring import Scorer

KNOWN = EvaluationQuestion(id="k", question="How often?", answers=("every 200 hours",))
UNKNOWN = EvaluationQuestion(id="u", question="Who?", answerable=False)
BLANK = AnswerRecord(run="r", question="k", group="g", arm="rag", strategy="rag", status="ok")
PRICES = Prices(prompt_per_million=2.0, cached_per_million=1.0, output_per_million=4.0, per_hour=3.6)


def scored(**changes: object) -> dict[str, float | None]:
    (score,) = Scorer({"k": KNOWN, "u": UNKNOWN}, PRICES).scores([BLANK.model_copy(update=changes)])
    return dict(score.metrics)


def test_an_answer_is_correct_where_an_accepted_one_stands_in_it() -> None:
    metrics = scored(output="It is changed every 200 hours [1].")
    assert (metrics["correct"], metrics["contains"], metrics["exact_match"]) == (1, 1, 0)
    assert metrics["token_f1"] == pytest.approx(2 * 3 / (6 + 3))
    assert scored(output="Change it after 200 h.")["correct"] == 1  # its quantity
    assert scored(output="Change it after 300 h.")["correct"] == 0


@pytest.mark.parametrize("status", ["empty", "truncated", "does_not_fit"])
def test_what_nobody_can_use_scores_nothing(status: str) -> None:
    metrics = scored(status=status, output="every 200 hours")
    assert (metrics["correct"], metrics["token_f1"], metrics["abstained"]) == (0, 0, 0)


def test_abstaining_is_right_only_where_nothing_answers() -> None:
    assert scored(status="abstained", output="every 200 hours")["correct"] == 0
    assert scored(question="u", status="abstained")["correct"] == 1
    assert scored(question="u", output="Leonidas")["correct"] == 0


def test_an_engine_fault_has_no_score_at_all() -> None:
    assert set(scored(status="engine_fault").values()) == {None}


def test_a_closed_book_has_no_retrieval_and_a_timing_among_others_is_no_latency() -> None:
    metrics = scored(output="every 200 hours", timings={"total": 2.0, "first_token": 0.5})
    assert metrics["recall@5"] is metrics["context_recall"] is metrics["faithfulness"] is metrics["latency"] is None
    alone = scored(output="every 200 hours", timings={"total": 2.0, "first_token": 0.5}, alone=True)
    assert (alone["latency"], alone["first_token"]) == (2.0, 0.5)


def test_evidence_and_citations_are_measured_apart() -> None:
    gold = SpanRecord(document="a", start=10, end=30)
    text = "Every 200 hours [1]. It is red [2]."
    citation = CitationRecord(
        document="a",
        start=10,
        end=30,
        marker=1,
        quote="Every 200 hours.",
        supported=True,
        attributed=False,
        answer_start=0,
        answer_end=20,
    )
    other = citation.model_copy(
        update={"document": "b", "marker": 2, "supported": False, "answer_start": 21, "answer_end": len(text)}
    )
    passage = EvidenceRecord(document="a", start=0, end=50, number=1, document_id="d", version="v", title="A", text="")
    metrics = scored(
        output=text, search_query="q", gold=(gold,), evidence=(passage,), citations=(citation, other), retrieved=()
    )
    assert (metrics["context_recall"], metrics["recall@10"], metrics["mrr"]) == (1, 0, 0)
    assert (metrics["citation_precision"], metrics["citation_recall"], metrics["faithfulness"]) == (0.5, 1, 0.5)


def test_money_counts_cached_tokens_at_their_own_price_and_the_machine_by_the_hour() -> None:
    record = BLANK.model_copy(update={"tokens": TokensRecord(prompt=1000, cached=400, output=50), "machine_s": 10.0})
    assert money(record, PRICES) == pytest.approx((600 * 2 + 400 * 1 + 50 * 4) / 1e6 + 0.01)
    untold = record.model_copy(update={"tokens": TokensRecord(prompt=1000, output=50), "machine_s": 0.0})
    assert money(untold, PRICES) == pytest.approx((1000 * 2 + 50 * 4) / 1e6)
