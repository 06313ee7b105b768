"""Numbers with units, compared by what they amount to: 0.2 MPa is 2 bar."""

from collections.abc import Sequence
from dataclasses import dataclass

from rag.supporting.clauses import Number, read

_SAME = 1e-9
_FACTORS: dict[str, tuple[str, float]] = {
    "Pa": ("pressure", 1.0),
    "mbar": ("pressure", 1e2),
    "kPa": ("pressure", 1e3),
    "bar": ("pressure", 1e5),
    "MPa": ("pressure", 1e6),
    "mm": ("length", 1.0),
    "cm": ("length", 10.0),
    "m": ("length", 1e3),
    "km": ("length", 1e6),
    "ml": ("volume", 1.0),
    "l": ("volume", 1e3),
    "m3": ("volume", 1e6),
    "g": ("mass", 1.0),
    "kg": ("mass", 1e3),
    "t": ("mass", 1e6),
    "W": ("power", 1.0),
    "kW": ("power", 1e3),
    "mA": ("current", 1.0),
    "A": ("current", 1e3),
    "s": ("time", 1.0),
    "min": ("time", 60.0),
    "h": ("time", 3600.0),
    "d": ("time", 86400.0),
    "week": ("time", 604800.0),
}
"""A unit of which nothing is known here (a month, a psi, a euro) equals itself only."""


@dataclass(frozen=True, slots=True)
class Quantity:
    value: float
    unit: str | None


def quantities(text: str, language: str | None = None) -> list[Quantity]:
    """The numbers of a text in their order. What is no plain number (a date, a range of codes) is left out."""
    return [found for number in read(text, language).numbers if (found := _quantity(number)) is not None]


def numeric_match(prediction: str, answers: Sequence[str], language: str | None = None) -> float | None:
    """Whether the prediction gives every quantity of an accepted answer; ``None`` where no answer has one.

    A quantity without a unit in the answer matches its value with any unit.
    """
    given = quantities(prediction, language)
    asked = [wanted for answer in answers if (wanted := quantities(answer, language))]
    if not asked:
        return None
    return float(any(all(any(_equal(each, other) for other in given) for each in wanted) for wanted in asked))


def _quantity(number: Number) -> Quantity | None:
    try:
        return Quantity(float(number.value), number.unit)
    except ValueError:
        return None


def _equal(wanted: Quantity, given: Quantity) -> bool:
    if wanted.unit is None or wanted.unit == given.unit:
        return _close(wanted.value, given.value)
    one, other = _FACTORS.get(wanted.unit), _FACTORS.get(given.unit or "")
    return (
        one is not None
        and other is not None
        and one[0] == other[0]
        and _close(wanted.value * one[1], given.value * other[1])
    )


def _close(one: float, other: float) -> bool:
    return abs(one - other) <= _SAME * max(1.0, abs(one), abs(other))
