"""Text to clauses: which numbers, units, bounds, codes and names stand together, and what is negated.

Nothing is parsed: clauses are what stands between commas and conjunctions. Works on normalised text (NFKC), so nothing
here has offsets. Knows nothing of claims and evidence.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby

from rag.analysis import analyze
from rag.supporting.words import (
    ALLOWING,
    BETWEEN,
    BOUNDS,
    BOUNDS_BEHIND,
    CHINESE_BOUND,
    CHINESE_DIGITS,
    CHINESE_FUNCTION,
    CHINESE_NOT,
    CHINESE_NUMBER,
    COMPARING,
    FORBIDDING,
    FUNCTION_WORDS,
    JOINING,
    NEGATIONS,
    ORDER_WORDS,
    PER,
    RANGE,
    SPELLED,
    TIMES,
    UNITS,
)

_L = "A-Za-z\u00c0-\u024f\u0370-\u03ff\u0400-\u04ff"
_TOKEN = re.compile(
    r"(?P<number>(?:(?<!\w)(?<!\d )[-−–])?(?:(?<![\d.,])\d{1,3}(?: \d{3})+(?!\d)|\d+(?:[.,:/]\d+)*))"
    rf"|(?P<word>[{_L}][{_L}\d]*(?:[-/._·'][{_L}\d]+)*)"
    r"|(?P<signs>[\u3400-\u9fff]+)|(?P<word_or_mark>°[CFС]?|[^\W\d_]+|[^\w\s]|\n)"
)
NOT = "¬"
"""Stands for every negation in a sequence: which word negates makes no difference."""
_LONGEST_TEXT = 4000
_LIST_MARK = re.compile(r"(?:[-*+•–]|\d{1,3}[.)])\s+")
_CHINESE_PART = re.compile(
    rf"(?P<number>{CHINESE_NUMBER})|(?P<weak>[和及与或而但])|(?P<signs>.+?(?={CHINESE_NUMBER}|[和及与或而但]|$))"
)


@dataclass(slots=True)
class _Token:
    kind: str
    """``number``, ``code``, ``word``, ``signs`` (Chinese), ``unit``, ``strong`` and ``weak`` (breaks)."""
    text: str
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Number:
    value: str
    unit: str | None
    bounds: frozenset[str]


@dataclass(frozen=True, slots=True)
class Clause:
    """What stands between two breaks; ``group`` counts the strong ones before it."""

    group: int
    numbers: tuple[Number, ...]
    codes: frozenset[str]
    terms: frozenset[str]
    """Stems, numbers and codes."""
    behind: frozenset[str]
    """Those behind the last number."""
    names: frozenset[str]
    """Stems of words written like names or abbreviations."""
    negated: Mapping[str, frozenset[str]]
    """``verb`` (not), ``noun`` (without) or ``any`` (no) to the terms that are negated."""
    text: str
    """Casefolded."""

    def is_negated(self, kind: str) -> bool:
        return bool(self.negated) if kind == "any" else kind in self.negated or "any" in self.negated

    @property
    def anchors(self) -> frozenset[str]:
        return self.codes.union(number.value for number in self.numbers)


@dataclass(frozen=True, slots=True)
class Reading:
    text: str
    clauses: tuple[Clause, ...]
    segments: tuple[Clause, ...]
    """Clauses joined so that each holds a number or a code, where its sentence has one."""
    units: frozenset[str]
    numbers: tuple[Number, ...]
    codes: frozenset[str]
    names: frozenset[str]
    sequence: tuple[str, ...]
    """Stems, numbers, codes, units and negations in order, with repeats."""

    @property
    def anchors(self) -> frozenset[str]:
        return self.codes.union(number.value for number in self.numbers)

    @property
    def terms(self) -> frozenset[str]:
        return frozenset().union(*(clause.terms for clause in self.clauses))


@lru_cache(maxsize=2048)
def read(text: str, language: str | None) -> Reading:
    """Of a text longer than any sentence only the beginning is read: time grows with the square of its clauses."""
    text = text[:_LONGEST_TEXT]
    text = unicodedata.normalize("NFKC", text).replace("’", "'").strip()
    if mark := _LIST_MARK.match(text):
        text = text[mark.end() :]
    tokens = _cut_at_units(_tokens(text))
    _find_units(tokens)
    names = _names(tokens) if language != "de" else set()
    clauses: list[Clause] = []
    group, start = 0, 0
    for at, token in enumerate([*tokens, _Token("strong", "")]):
        joins_numbers = token.kind == "weak" and _is_number(tokens, at - 1) and _is_number(tokens, at + 1)
        if token.kind in ("strong", "weak") and not joins_numbers:
            if at > start:
                clauses.append(_clause(tokens[start:at], group, language, names))
            group += token.kind == "strong"
            start = at + 1
    return Reading(
        text.casefold(),
        tuple(clauses),
        tuple(_segments(clauses)),
        frozenset(unit for token in tokens if (unit := token.unit or _unit_of(token.text))),
        tuple(number for clause in clauses for number in clause.numbers),
        frozenset().union(*(clause.codes for clause in clauses)),
        frozenset().union(*(clause.names for clause in clauses)),
        tuple(_sequence(tokens, language)),
    )


def content_terms(text: str, language: str | None) -> frozenset[str]:
    """The terms that say what a text is about: no function words, units or negations, which are compared otherwise."""
    return frozenset(read(text, language).sequence)


def _sequence(tokens: Iterable[_Token], language: str | None) -> Iterator[str]:
    for token in tokens:
        if token.kind in ("number", "code"):
            yield token.text
        elif token.kind == "unit":
            yield _unit_of(token.text) or token.text
        elif token.kind == "signs":
            marked = CHINESE_NOT.sub(NOT, CHINESE_BOUND.sub(lambda bound: bound[0].replace("不", "非"), token.text))
            for part in re.split(f"({NOT})", marked):
                pairs = [NOT] if part == NOT else analyze(part, language)
                yield from (pair for pair in pairs if not CHINESE_FUNCTION.search(pair))
        elif token.kind == "word":
            word = token.text.casefold()
            if word in NEGATIONS or word.endswith("n't") or FORBIDDING.match(word):
                yield NOT
            elif word not in BETWEEN and word not in FUNCTION_WORDS - ORDER_WORDS:
                yield from analyze(token.text, language)


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    for match in _TOKEN.finditer(text):
        kind, found = match.lastgroup, match.group()
        folded = found.casefold()
        ends = found == "." and text[match.end() : match.end() + 1].isspace() and tokens and len(tokens[-1].text) > 3
        if kind == "number":
            tokens.append(_Token("number", _value(found)))
        elif kind == "signs":
            for part in _CHINESE_PART.finditer(found):
                is_number = part.lastgroup == "number"
                tokens.append(_Token(str(part.lastgroup), _chinese_value(part[0]) if is_number else part[0]))
        elif folded in SPELLED:
            tokens.append(_Token("number", SPELLED[folded]))
        elif any(sign.isdigit() for sign in found) and _unit_of(found) is None:
            tokens.append(_Token("code", folded))
        elif ends or found in ";。!?|\n":
            tokens.append(_Token("strong", found))
        else:
            tokens.append(_Token("weak" if found in ",、" or folded in JOINING else "word", found))
    return tokens


def _value(number: str) -> str:
    """``2,000`` and ``2 000`` are ``2000``; a decimal comma is a point."""
    number = re.sub(r"^[−–]", "-", number).replace(" ", "")
    if re.fullmatch(r"-?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?", number):
        number = number.replace(",", "")
    return number.replace(",", ".")


def _chinese_value(number: str) -> str:
    tens, ten, ones = number.replace("两", "二").rpartition("十")
    if not ten:
        return "".join(str(CHINESE_DIGITS.index(sign)) for sign in ones)
    return str(10 * (CHINESE_DIGITS.index(tens) if tens else 1) + (CHINESE_DIGITS.index(ones) if ones else 0))


def _is_number(tokens: Sequence[_Token], at: int) -> bool:
    return 0 <= at < len(tokens) and tokens[at].kind == "number"


def _unit_of(form: str) -> str | None:
    """Units are case-sensitive (mPa, MPa), words are not; ``l/min`` is made of two."""
    unit = UNITS.get(form) or (UNITS.get(form.casefold()) if len(form) > 2 else None)
    if unit is None and "/" in form:
        above, _, below = form.partition("/")
        return f"{UNITS[above]}/{UNITS[below]}" if above in UNITS and below in UNITS else None
    return unit


def _cut_at_units(tokens: Iterable[_Token]) -> list[_Token]:
    """Chinese signs behind a number, cut behind the unit that they begin with."""
    cut: list[_Token] = []
    for token in tokens:
        behind = cut and (cut[-1].kind == "number" or cut[-1].text == "/")
        length = next((n for n in (3, 2, 1) if token.text[:n] in UNITS), 0) if token.kind == "signs" and behind else 0
        cut += (
            [_Token("signs", text) for text in (token.text[:length], token.text[length:]) if text]
            if length
            else [token]
        )
    return cut


def _find_units(tokens: Sequence[_Token]) -> None:
    """Give each number its unit, and mark the tokens that name it; from the back, so that a range's first has one."""
    for at in reversed(range(len(tokens))):
        if tokens[at].kind == "number":
            tokens[at].unit = _unit_behind(tokens, at) or _unit_ahead(tokens, at)


def _unit_behind(tokens: Sequence[_Token], at: int) -> str | None:
    texts = [token.text for token in tokens[at + 1 : at + 6]] + [""] * 5
    if texts[0] in RANGE and _is_number(tokens, at + 2):
        return tokens[at + 2].unit
    first = 1 if texts[0] == "-" else 0
    unit = _unit_of(texts[first])
    if unit is None and len(texts[first + 1]) > 2 and tokens[at + first + 1].kind == "word":
        # "2,000 operating hours"
        tokens[at + first + 1].kind = "unit" if _unit_of(texts[first + 1]) else "word"
        first += 1
        unit = _unit_of(texts[first])
    if unit is None:
        return None
    tokens[at + first + 1].kind = "unit"
    for place in (first + 2, first + 3):
        # "litres per minute", "litres per operating hour"
        below = _unit_of(texts[place])
        if texts[first + 1] in PER and below in TIMES:
            tokens[at + place + 1].kind = "unit"
            return f"{unit}/{below}"
    each = re.search(r"每(分钟|小时|秒|天|日)$", tokens[at - 1].text) if at else None
    return f"{unit}/{UNITS[each[1]]}" if each else unit


def _unit_ahead(tokens: Sequence[_Token], at: int) -> str | None:
    """``€ 12``, or the unit in a label: ``Flow (l/min): 40``."""
    if at and tokens[at - 1].text in "€$£¥₽":
        return _unit_of(tokens[at - 1].text)
    if at and tokens[at - 1].text == ":":
        label = tokens[max(0, at - 8) : at - 1]
        start = max((n + 1 for n, token in enumerate(label) if token.kind == "strong"), default=0)
        return next((unit for token in reversed(label[start:]) if (unit := _unit_of(token.text))), None)
    return None


def _names(tokens: Sequence[_Token]) -> set[str]:
    """Capital letters that no sentence's beginning explains; none where every word has them."""
    words = [at for at, token in enumerate(tokens) if token.kind == "word" and token.text[:1].isalpha()]
    found = {
        tokens[at].text
        for at in words
        if (tokens[at].text.isupper() and len(tokens[at].text) > 1)
        or (tokens[at].text[:1].isupper() and len(tokens[at].text) > 1 and _is_inside(tokens, at))
    }
    capital = sum(tokens[at].text[:1].isupper() for at in words)
    return found if 2 * capital <= len(words) + 1 else set()


def _is_inside(tokens: Sequence[_Token], at: int) -> bool:
    return (
        at > 0
        and tokens[at - 1].kind in ("word", "weak", "number", "code", "unit")
        and tokens[at - 1].text not in ":(\"'"
    )


def _clause(tokens: Sequence[_Token], group: int, language: str | None, names: set[str]) -> Clause:
    numbers: list[Number] = []
    last = 0
    for at, token in enumerate(tokens):
        if token.kind == "number":
            behind = [other.text for other in tokens[at + 1 : at + 6] if other.kind != "unit"]
            ahead = " ".join(other.text for other in tokens[last:at])
            numbers.append(Number(token.text, token.unit, _bounds(ahead, " ".join(behind))))
            last = at + 1
    return Clause(
        group,
        tuple(numbers),
        frozenset(token.text for token in tokens if token.kind == "code"),
        _terms(tokens, language),
        _terms(tokens[last:], language) if numbers else frozenset(),
        frozenset(stem for token in tokens if token.text in names for stem in analyze(token.text, language)),
        _negations(tokens, language),
        " ".join(token.text for token in tokens).casefold(),
    )


def _terms(tokens: Iterable[_Token], language: str | None) -> frozenset[str]:
    terms: set[str] = set()
    for token in tokens:
        if token.kind in ("number", "code"):
            terms.add(token.text)
        elif token.kind in ("word", "signs") and token.text.casefold() not in FUNCTION_WORDS:
            terms.update(analyze(token.text, language))
    return frozenset(terms)


def _bounds(ahead: str, behind: str) -> frozenset[str]:
    found = set()
    ahead, behind = ahead.casefold(), behind.casefold()
    for bound, pattern in BOUNDS:
        ahead, count = pattern.subn("#", ahead)
        if count:
            found.add(bound)
    return frozenset(found.union(bound for bound, pattern in BOUNDS_BEHIND if pattern.search(behind)))


def _negations(tokens: Sequence[_Token], language: str | None) -> dict[str, frozenset[str]]:
    negated: dict[str, frozenset[str]] = {}

    def add(kind: str, terms: Iterable[str]) -> None:
        negated[kind] = negated.get(kind, frozenset()).union(terms)

    for at, token in enumerate(tokens):
        word = token.text.casefold()
        if token.kind == "signs":
            for match in CHINESE_NOT.finditer(CHINESE_BOUND.sub("#", word)):
                add(match.lastgroup or "verb", [match.string[match.end() : match.end() + 2]])
        elif FORBIDDING.match(word):
            add("verb", _terms(tokens, language))
        elif kind := "verb" if word.endswith("n't") else NEGATIONS.get(word):
            following = [other for other in tokens[at + 1 :] if other.text.casefold() not in BETWEEN]
            if following and (following[0].text.casefold() in COMPARING or following[0].kind == "number"):
                continue
            all_of_it = following and ALLOWING.match(following[0].text.casefold())
            add(kind, _terms(tokens if all_of_it else following[:1], language))
    return negated


def _segments(clauses: Iterable[Clause]) -> Iterator[Clause]:
    """A clause without number or code goes with the next one of its sentence that has some, else with the last."""
    for _, group in groupby(clauses, key=lambda clause: clause.group):
        segments: list[Clause] = []
        waiting: list[Clause] = []
        for clause in group:
            waiting.append(clause)
            if clause.anchors:
                segments.append(_joined(waiting, clause.behind))
                waiting = []
        if waiting and segments:
            last = segments.pop()
            segments.append(_joined([last, *waiting], last.behind.union(*(clause.terms for clause in waiting))))
        elif waiting:
            segments.append(_joined(waiting, frozenset()))
        yield from segments


def _joined(clauses: Sequence[Clause], behind: frozenset[str]) -> Clause:
    return replace(
        clauses[0],
        numbers=tuple(number for clause in clauses for number in clause.numbers),
        codes=frozenset().union(*(clause.codes for clause in clauses)),
        terms=frozenset().union(*(clause.terms for clause in clauses)),
        behind=behind,
    )
