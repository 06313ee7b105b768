"""What a question asks for, told by its own words."""

import pytest

from rag.asking import content, holds_quantity, quantity_asked


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("What does the seal kit cost?", "money"),
        ("What is the price of the ZP-40?", "money"),
        ("Which price group has the highest discount?", None),
        ("How often is the minimum pressure valve serviced?", "time"),
        ("How long may the cable be?", "length or time"),
        ("How loud is the fan at one metre?", "sound"),
        ("What is the highest set pressure of the RV-32?", "pressure"),
        ("At what speed do the pumps run when the controller has lost its pressure sensor?", None),
        ("How many people work there?", "number"),
        ("Who runs the centre?", None),
        ("Сколько стоит комплект?", "money"),
        ("Сколько часов работает батарея?", "time"),
        ("Какова масса насоса?", "mass"),
        ("这个泵多少钱？", "money"),
        ("机油多久更换一次？", "time"),
    ],
)
def test_the_kind_of_quantity_is_what_the_question_says(question: str, kind: str | None) -> None:
    assert quantity_asked(question) == kind


@pytest.mark.parametrize(
    ("kind", "text", "holds"),
    [
        ("money", "The kit costs 12.50 EUR.", True),
        ("money", "€ 5 a piece", True),
        ("money", "Part: ZP-1; Price (EUR): 7.50", True),
        ("money", "Part: ZP-1; Weight (kg): 7.50", False),
        ("mass", "Part: ZP-1; Weight (kg): 7.50", True),
        ("mass", "5 kgf", False),
        ("time", "every 2,000 operating hours", True),
        ("time", "within four weeks", True),
        ("time", "Fridays only until 12:00", True),
        ("time", "每2000小时更换一次", True),
        ("number", "seven", False),
        ("number", "7 bays", True),
    ],
)
def test_a_quantity_is_a_number_with_a_unit_of_its_kind(kind: str, text: str, holds: bool) -> None:
    assert holds_quantity(kind, text) is holds


def test_the_content_is_what_does_not_only_ask() -> None:
    assert content("What is the gear oil of the pump?").split() == ["gear", "oil", "pump?"]
    assert content("Who is it?") == "Who is it?", "nothing else is left, so all of it counts"
