"""Numbers with units, against cases worked by hand."""

import pytest

from rag.evaluation.quantities import numeric_match


@pytest.mark.parametrize(
    ("prediction", "answers", "language", "expected"),
    [
        ("The limit is 2 bar.", ["2 bar"], "en", 1),
        ("The limit is 0.2 MPa.", ["2 bar"], "en", 1),
        ("The limit is 2 MPa.", ["2 bar"], "en", 0),
        ("The limit is 2.5 bar.", ["25 bar"], "en", 0),
        ("Every 2,000 operating hours.", ["2000 hours"], "en", 1),
        ("After 90 minutes.", ["1.5 h"], "en", 1),
        ("After 12 months.", ["12"], "en", 1),
        ("Between 5 and 7 bar.", ["5 to 7 bar"], "en", 1),
        ("At 5 bar.", ["5 to 7 bar"], "en", 0),
        ("Каждые 10 лет.", ["10 years"], "ru", 1),
        ("保存 16 年。", ["16 年"], "zh", 1),
        ("It costs a lot.", ["12 EUR"], "en", 0),
        ("It is red.", ["red"], "en", None),
    ],
)
def test_a_quantity_is_matched_by_what_it_amounts_to(
    prediction: str, answers: list[str], language: str, expected: float | None
) -> None:
    assert numeric_match(prediction, answers, language) == expected
