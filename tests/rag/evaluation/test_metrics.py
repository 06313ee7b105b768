"""Every metric against cases worked by hand."""

import pytest

from rag.evaluation.metrics import answer_tokens, contains, evidence_rank, exact_match, token_f1
from rag.types import Hit, StoredChunk


@pytest.mark.parametrize(
    ("prediction", "answers", "expected"),
    [
        ("The 2,000 hours.", ["2000 hours"], 1.0),
        ("2.5 bar", ["25 bar"], 0.0),
        ("zp-40/2", ["ZP-40/2"], 1.0),
        ("Every 2000 hours [3]", ["every 2000 hours"], 1.0),
        ("", ["x"], 0.0),
    ],
)
def test_exact_match(prediction: str, answers: list[str], expected: float) -> None:
    assert exact_match(prediction, answers) == expected


def test_f1_is_the_harmonic_mean_of_token_precision_and_recall() -> None:
    # "change oil every 2000 hours" shares 2 of its 5 tokens with the 2 of the answer: P = 2/5, R = 1.
    assert token_f1("Change the oil every 2000 hours", ["2000 hours"]) == pytest.approx(2 * 0.4 / 1.4)


def test_f1_counts_repeated_tokens_once_per_occurrence() -> None:
    # P = 1/2, R = 1/1.
    assert token_f1("red red", ["red"]) == pytest.approx(2 / 3)


def test_f1_takes_the_best_accepted_answer() -> None:
    assert token_f1("blue", ["red", "blue"]) == 1.0


def test_chinese_is_compared_by_character() -> None:
    assert answer_tokens("每2000小时。") == ["每", "2000", "小", "时"]
    # "小时" has 2 of the 3 tokens "2000 小 时": P = 1, R = 2/3.
    assert token_f1("小时", ["2000小时"]) == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("prediction", "answer", "expected"),
    [
        ("It is changed every 2,000 hours of use.", "2000 hours", 1.0),
        ("It is changed every 12000 hours.", "2000 hours", 0.0),
        ("hours 2000", "2000 hours", 0.0),
        ("油每2000小时更换", "2000小时", 1.0),
    ],
)
def test_contains_wants_whole_tokens_in_a_row(prediction: str, answer: str, expected: float) -> None:
    assert contains(prediction, [answer]) == expected


def test_nothing_is_close_to_no_answer() -> None:
    assert exact_match("x", []) == token_f1("x", []) == contains("x", []) == 0.0


def test_evidence_counts_when_half_of_it_is_inside() -> None:
    chunk = StoredChunk(1, "c", "d", "v", "a.md", "A", "en", 100, 200, None, (), "", "x" * 100)
    hits = [Hit(chunk, 1.0, {})]
    assert evidence_rank(hits, "a.md", 190, 210) == 1
    assert evidence_rank(hits, "a.md", 191, 211) is None
    assert evidence_rank(hits, "b.md", 100, 200) is None
