"""Makes the general probe, ``probe.jsonl``: multiple choice that a language model answers by likelihood.

    python data/general/build.py [--check]

Everything comes from lists written for it in ``knowledge.py`` and from a seeded generator: no third party's questions,
none of the domain. An item is {id, family, group, prompt, options, answer}: of the options exactly one continues the
prompt rightly. Items of a group were made alike and are not independent of each other.
"""

import argparse
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from knowledge import FACTS, KINDS, NAMES, NOUNS, OPPOSITES, PASTS, PLURALS, SYNONYMS, pairs

PROBE = Path(__file__).with_name("probe.jsonl")
SEED = 20_24
OPTIONS = 4


@dataclass(frozen=True)
class Item:
    id: str
    family: str
    group: str
    prompt: str
    options: tuple[str, ...]
    answer: int


class Maker:
    """Numbers the items, and puts the right option at a drawn place."""

    def __init__(self) -> None:
        self.draw = random.Random(SEED)
        self.items: list[Item] = []
        self._seen: set[str] = set()

    def add(self, family: str, kind: str, prompt: str, right: str, wrong: Sequence[str]) -> bool:
        if prompt in self._seen or right in wrong:
            return False
        self._seen.add(prompt)
        options = [right, *wrong]
        self.draw.shuffle(options)
        number = sum(item.group == f"{family}/{kind}" for item in self.items) + 1
        self.items.append(
            Item(
                f"{family}-{kind}-{number:03}", family, f"{family}/{kind}", prompt, tuple(options), options.index(right)
            )
        )
        return True

    def others(self, right: str, among: Sequence[str], count: int = OPTIONS - 1) -> list[str]:
        return self.draw.sample(sorted({each for each in among if each != right}), count)


def facts(maker: Maker) -> None:
    for relation, (sentence, text) in FACTS.items():
        found = pairs(text)
        answers = [right for _, right in found]
        for left, right in found:
            maker.add("facts", relation, sentence.format(left), right, maker.others(right, answers))


def _near(maker: Maker, right: int) -> list[str]:
    """Three other numbers that a slip would give."""
    steps = [-20, -11, -10, -9, -2, -1, 1, 2, 9, 10, 11, 20]
    return [str(each) for each in maker.draw.sample([right + step for step in steps if right + step >= 0], 3)]


def arithmetic(maker: Maker) -> None:
    for kind, count, low, high, said, compute in ARITHMETIC:
        made = 0
        while made < count:
            a, b = maker.draw.randint(low, high), maker.draw.randint(low, high)
            if kind.startswith("minus"):
                a, b = max(a, b), min(a, b)
            right = compute(a, b)
            made += maker.add("arithmetic", kind, said.format(a, b), str(right), _near(maker, right))


ARITHMETIC: tuple[tuple[str, int, int, int, str, Callable[[int, int], int]], ...] = (
    ("plus-small", 25, 1, 9, "{} + {} =", lambda a, b: a + b),
    ("plus", 30, 11, 60, "{} + {} =", lambda a, b: a + b),
    (
        "plus-words",
        20,
        2,
        30,
        "If you have {} coins and get {} more, the number of coins you have is",
        lambda a, b: a + b,
    ),
    ("minus-small", 20, 1, 15, "{} - {} =", lambda a, b: a - b),
    ("minus", 25, 11, 90, "{} - {} =", lambda a, b: a - b),
    ("minus-words", 20, 2, 30, "There were {} birds and {} flew away, so the number left is", lambda a, b: a - b),
    ("times", 35, 2, 9, "{} x {} =", lambda a, b: a * b),
    ("times-words", 15, 2, 9, "{} boxes with {} eggs each hold this many eggs:", lambda a, b: a * b),
)

UNITS = (
    ("minutes", "hours", 60), ("seconds", "minutes", 60), ("hours", "days", 24), ("days", "weeks", 7),
    ("months", "years", 12), ("centimetres", "metres", 100), ("metres", "kilometres", 1000),
    ("grams", "kilograms", 1000), ("cents", "dollars", 100), ("inches", "feet", 12), ("millimetres", "centimetres", 10),
    ("years", "centuries", 100), ("years", "decades", 10), ("millilitres", "litres", 1000),
)  # fmt: skip
FITTING = (
    "the_distance_between_two_cities:kilometres the_weight_of_an_apple:grams the_length_of_a_pencil:centimetres "
    "the_time_to_boil_an_egg:minutes the_weight_of_a_truck:tonnes the_height_of_a_house:metres "
    "the_age_of_a_baby:months the_temperature_of_a_room:degrees the_content_of_a_bucket:litres "
    "the_price_of_a_car:dollars the_age_of_a_grown_person:years the_power_of_a_lamp:watts "
    "the_weight_of_a_person:kilograms the_time_of_a_short_race:seconds the_voltage_of_a_battery:volts "
    "the_length_of_a_film:hours the_speed_of_a_car:kilometres_per_hour the_length_of_an_insect:millimetres "
    "the_energy_of_food:calories the_loudness_of_a_sound:decibels the_size_of_a_computer_file:bytes"
)


def units(maker: Maker) -> None:
    for small, large, factor in UNITS:
        for count in (2, 3, 4, 5, 6, 8):
            right = count * factor
            wrong = {count * other for _, _, other in UNITS if other != factor} | {right + factor, right - factor}
            among = [str(each) for each in wrong if each != right and each > 0]
            maker.add(
                "units", f"{large}-{small}", f"The number of {small} in {count} {large} is", str(right),
                maker.others(str(right), among),
            )  # fmt: skip
    found = pairs(FITTING)
    among = [unit for _, unit in found]
    for what, unit in found:
        maker.add("units", "fitting", f"People give {what} in", unit, maker.others(unit, among))


DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()  # noqa: SIM905
MONTHS = "January February March April May June July August September October November December".split()  # noqa: SIM905
NUMBERS = "one two three four five six seven eight nine ten eleven twelve".split()  # noqa: SIM905
SIZES = "an ant:a mouse:a cat:a sheep:a horse:an elephant:a whale".split(":")  # noqa: SIM905
AGES = "a baby:a schoolchild:a student:a parent:a grandparent".split(":")  # noqa: SIM905


def order(maker: Maker) -> None:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    for kind, row in (("day", DAYS), ("month", MONTHS), ("number", NUMBERS), ("letter", list(letters))):
        for at, each in enumerate(row):
            if at + 1 < len(row):
                maker.add("order", f"{kind}-after", f"The {kind} that comes right after {each} is", row[at + 1],
                          maker.others(row[at + 1], [x for x in row if x != each]))  # fmt: skip
            if at and kind != "letter":
                maker.add("order", f"{kind}-before", f"The {kind} that comes right before {each} is", row[at - 1],
                          maker.others(row[at - 1], [x for x in row if x != each]))  # fmt: skip
    for start in range(1, 13):
        for step in (2, 3, 5, 10):
            row = [start + step * place for place in range(5)]
            maker.add(
                "order", f"count-by-{step}", ", ".join(map(str, row[:4])) + ",", str(row[4]), _near(maker, row[4])
            )
    made = 0
    while made < 40:
        numbers = maker.draw.sample(range(1, 100), 4)
        right = max(numbers)
        prompt = f"Of the numbers {', '.join(map(str, numbers[:3]))} and {numbers[3]}, the largest is"
        made += maker.add("order", "largest", prompt, str(right), [str(each) for each in numbers if each != right])
    for kind, row, said in (("size", SIZES, "The largest of {} is"), ("age", AGES, "The oldest of {} is")):
        for _ in range(24):
            some = maker.draw.sample(row, 4)
            right = max(some, key=row.index)
            listed = f"{', '.join(some[:3])} and {some[3]}"
            maker.add("order", kind, said.format(listed), right, [each for each in some if each != right])


def grammar(maker: Maker) -> None:
    places = ("in the garden", "near the river", "at home", "behind the house", "on the hill", "by the window")
    for at, noun in enumerate(NOUNS):
        place = places[at % len(places)]
        other = NOUNS[(at + 3) % len(NOUNS)]
        maker.add("grammar", "is", f"The {noun} {place}", "is hungry", ["are hungry", "am hungry", "be hungry"])
        maker.add("grammar", "are", f"The {noun}s {place}", "are hungry", ["is hungry", "am hungry", "be hungry"])
        maker.add(
            "grammar", "attraction", f"The {noun} that the {other}s know", "is here", ["are here", "am here", "be here"]
        )
        maker.add(
            "grammar",
            "attracted-plural",
            f"The {noun}s that the {other} knows",
            "are here",
            ["is here", "am here", "be here"],
        )
        maker.add(
            "grammar",
            "does",
            f"Every {noun}",
            "sleeps at night",
            ["sleep at night", "sleeping at night", "to sleep at night"],
        )
        maker.add("grammar", "infinitive", f"The {noun} wanted", "to leave", ["leaving to", "left", "leaves"])
        maker.add("grammar", "perfect", f"The {noun} has never", "been there", ["be there", "being there", "was there"])
        maker.add(
            "grammar",
            "comparative",
            f"The {noun} is",
            f"older than the {other}",
            [f"more old than the {other}", f"oldest than the {other}", f"old than the {other}"],
        )
        maker.add(
            "grammar",
            "reflexive",
            f"The {noun}s could see",
            "themselves in the mirror",
            ["itself in the mirror", "himself in the mirror", "herself in the mirror"],
        )
    for singular, plural, *wrong in pairs(PLURALS):
        maker.add("grammar", "plural", f"One {singular}, two", plural, [*wrong, singular])
    for verb, past, *wrong in pairs(PASTS):
        maker.add("grammar", "past", f"Today I {verb}; yesterday I", past, [*wrong, f"{verb}s"])


def relations(maker: Maker) -> None:
    for kind, said, text in (
        ("opposite", 'The opposite of "{}" is', OPPOSITES),
        ("synonym", 'A word that means nearly the same as "{}" is', SYNONYMS),
        ("kind", "A word for what kind of thing this is: {} is a kind of", KINDS),
    ):
        found = pairs(text)
        among = [right for _, right in found]
        for left, right in found:
            maker.add("relations", kind, said.format(left), right, maker.others(right, [x for x in among if x != left]))
    # By analogy: the pair in front shows the relation.
    opposites = pairs(OPPOSITES)
    for at, (left, right) in enumerate(opposites):
        one, other = opposites[(at + 7) % len(opposites)]
        among = [x for _, x in opposites if x not in (left, other)]
        maker.add("relations", "analogy", f"{one} is to {other} as {left} is to", right, maker.others(right, among))


THINGS = "bag:hat:car:book:coat:bicycle:cup:pen".split(":")  # noqa: SIM905
COLOURS = "red:blue:green:yellow:black:white:brown:orange".split(":")  # noqa: SIM905
PLACES = "the kitchen:the garden:the library:the station:the park:the office:the school:the market".split(":")  # noqa: SIM905
FOODS = "rice:soup:bread:cheese:fish:cake:pasta:salad".split(":")  # noqa: SIM905


def reading(maker: Maker) -> None:
    for kind, values, told, asked in (
        ("colour", COLOURS, "{name} has a {value} {thing}.", "The colour of the {thing} that belongs to {name} is"),
        ("place", PLACES, "{name} is in {value}.", "The place where {name} is now is"),
        ("food", FOODS, "{name} eats {value} for dinner.", "What {name} eats for dinner is"),
        (
            "age",
            [str(each) for each in range(20, 60, 5)],
            "{name} is {value} years old.",
            "In years, the age of {name} is",
        ),
        ("day", DAYS, "{name} will arrive on {value}.", "The day on which {name} arrives is"),
    ):
        for _ in range(30):
            names, chosen = maker.draw.sample(NAMES, 4), maker.draw.sample(values, 4)
            thing = maker.draw.choice(THINGS)
            text = " ".join(
                told.format(name=name, value=value, thing=thing) for name, value in zip(names, chosen, strict=True)
            )
            at = maker.draw.randrange(4)
            prompt = f"{text} {asked.format(name=names[at], thing=thing)}"
            maker.add("reading", kind, prompt, chosen[at], [x for x in chosen if x != chosen[at]])


def lines() -> Iterator[str]:
    maker = Maker()
    for family in (facts, arithmetic, units, order, grammar, relations, reading):
        family(maker)
    for item in maker.items:
        yield json.dumps(asdict(item), ensure_ascii=False)


def main() -> None:
    parser = argparse.ArgumentParser(description="Make data/general/probe.jsonl.")
    parser.add_argument("--check", action="store_true", help="only say whether the file is up to date")
    check = parser.parse_args().check
    text = "".join(f"{line}\n" for line in lines())
    if check:
        if PROBE.read_text("utf-8") != text:
            raise SystemExit(f"{PROBE} is not what this program makes; run it")
        return
    PROBE.write_text(text, "utf-8")
    print(f"{text.count(chr(10))} items in {PROBE}")


if __name__ == "__main__":
    main()
