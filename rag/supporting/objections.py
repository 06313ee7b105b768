"""A claim and a piece of the evidence to what speaks against it.

A claim is objected to when it says a number that the piece doesn't, with another unit, under another bound or of
another thing; when it names a code or a name that isn't meant there; when one of the two is negated; or when it has a
word where the piece has its opposite. No objection is not yet support: how much is covered is judged by the caller.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

from rag.analysis import analyze
from rag.matching import Piece, ordered_identifiers
from rag.supporting.alignment import changes
from rag.supporting.clauses import NOT, Clause, Reading, read
from rag.supporting.words import OPPOSED_BOUNDS, OPPOSITES

_CHARACTERS_BEFORE = 20_000
_WORDS_OF_A_SUBJECT = 3


def objection(claim: str, piece: Piece) -> str | None:
    """Why the piece, in its place, cannot support the claim; ``None`` where nothing speaks against it."""
    passage = piece.evidence
    said, given = read(claim, passage.language), read(piece.readable, passage.language)
    if _same(said.text) == _same(given.text):
        return None
    context = read(f"{passage.title}\n{passage.context}", passage.language)
    return (
        _number_objection(said, given, context)
        or _code_objection(said, given, context, piece)
        or _name_objection(said, piece, passage.language)
        or _subject_objection(said, given)
        or _placing_objection(said, given)
        or _negation_objection(said, given, context)
        or _opposite_objection(said, given)
        or _exchange_objection(said, given)
    )


def _same(text: str) -> str:
    return " ".join(text.split()).rstrip(".。!！ ")


def _number_objection(said: Reading, given: Reading, context: Reading) -> str | None:
    units = given.units | context.units
    for number in said.numbers:
        alike = [other for other in (*given.numbers, *context.numbers) if other.value == number.value]
        if not alike:
            return f"the number {number.value} is not there"
        alike = [other for other in alike if _units_agree(number.unit, other.unit, units)]
        if not alike:
            return f"the number {number.value} has another unit than {number.unit}"
        if all(_bounds_differ(number.bounds, other.bounds) for other in alike):
            return f"the number {number.value} is bounded otherwise"
    return None


def _units_agree(said: str | None, given: str | None, elsewhere: frozenset[str]) -> bool:
    if said is None or said == given:
        return True
    if given is None:
        return said in elsewhere
    return "deg" in (said, given) and said.startswith("deg") and given.startswith("deg")


def _bounds_differ(said: frozenset[str], given: frozenset[str]) -> bool:
    return not said & given and any({one, other} in OPPOSED_BOUNDS for one in said for other in given)


def _code_objection(said: Reading, given: Reading, context: Reading, piece: Piece) -> str | None:
    """A code that isn't in the piece must be the one of its family (``ZP`` of ``ZP-40``) that was named last before."""
    for code in said.codes - given.codes:
        family = _family(code)
        if any(_family(other) == family for other in given.codes):
            return f"another code than {code} is meant"
        end = piece.start - piece.evidence.start
        before = piece.evidence.text[max(0, end - _CHARACTERS_BEFORE) : end]
        earlier = [other for other in ordered_identifiers(before) if _family(other) == family]
        if not (earlier[-1] == code if earlier else code in context.codes):
            return f"the code {code} is not meant there"
    return None


def _family(code: str) -> str:
    return re.split(r"[\d\W_]", code, maxsplit=1)[0]


def _name_objection(said: Reading, piece: Piece, language: str | None) -> str | None:
    if not said.names:
        return None
    passage = piece.evidence
    unknown = said.names - _stems(f"{passage.title}\n{passage.context}\n{passage.text}", language)
    return f"the name {min(unknown)} is not there" if unknown else None


@lru_cache(maxsize=32)
def _stems(text: str, language: str | None) -> frozenset[str]:
    return frozenset(analyze(text, language))


def _subject_objection(said: Reading, given: Reading) -> str | None:
    """A number or code is all that the two have in common, though the piece says at some length what it is said of."""
    shared = said.terms & given.terms
    if len(shared) == 1 and shared <= given.anchors and len(given.terms - shared) >= _WORDS_OF_A_SUBJECT:
        return f"{min(shared)} is said of something else"
    return None


def _placing_objection(said: Reading, given: Reading) -> str | None:
    """A number, code or name whose words in the claim stand beside another one in the piece."""
    for own_parts, parts, kind in (
        (said.segments, given.segments, "number"),
        (said.segments, given.segments, "code"),
        (said.clauses, given.clauses, "name"),
    ):
        bearing = [part for part in own_parts if _labels(part, kind)]
        for part in bearing:
            words = part.terms if len(bearing) > 1 else frozenset().union(*(other.terms for other in own_parts))
            for label, family in _labels(part, kind):
                own = [other for other in parts if (label, family) in _labels(other, kind)]
                others = [
                    other
                    for other in parts
                    if other not in own
                    and any(family == theirs for _, theirs in _labels(other, kind))
                    # A claim that says both together can't be told apart.
                    and not _labels(other, kind) <= _labels(part, kind)
                ]
                if own and any(
                    all(_fits_better(words, other, mine, label, family, kind) for mine in own) for other in others
                ):
                    return f"{label} is said of something else"
    return None


def _labels(part: Clause, kind: str) -> set[tuple[str, str]]:
    """Numbers, codes or names of a part, each with the family within which it could be mistaken."""
    if kind == "number":
        return {(number.value, "") for number in part.numbers}
    return {(code, _family(code)) for code in part.codes} if kind == "code" else {(name, "") for name in part.names}


def _fits_better(words: frozenset[str], other: Clause, own: Clause, label: str, family: str, kind: str) -> bool:
    """Whether more of what tells the other part from the own one stands among the words.

    What stands behind the numbers tells, where there is something behind both: "14 Nm for this, 22 Nm for that".
    """
    # What stands in the label's own place is no sign of what it is said of. A part with two numbers may be told by one.
    rivals = {name for name, its_family in _labels(other, kind) if its_family == family}
    if kind == "number" and len(other.anchors) > 1:
        rivals = set()
    equals = own.names if kind == "name" else {label}
    theirs, mine = (other.behind - own.behind) - rivals, (own.behind - other.behind) - equals
    if not theirs or not mine or not words & (theirs | mine):
        theirs, mine = (other.terms - own.terms) - rivals, (own.terms - other.terms) - equals
    return len(words & theirs) * max(1, len(mine)) > len(words & mine) * max(1, len(theirs))


def _negation_objection(said: Reading, given: Reading, context: Reading) -> str | None:
    """A word that one of the two negates, and that the clause of the other that is most alike has without negation."""
    for kind in ("verb", "noun", "any"):
        negated = {term for clause in given.clauses for term in clause.negated.get(kind, ())}
        for clause in said.clauses:
            heads = clause.negated.get(kind, frozenset())
            for term in heads | (negated & clause.terms):
                alike = _most_alike(clause, [other for other in given.clauses if term in other.terms])
                if alike and all(other.is_negated(kind) != clause.is_negated(kind) for other in alike):
                    return f"{term} is negated in one of the two only"
            if heads and not any(part.negated for part in (*given.clauses, *context.clauses)):
                return "the claim alone is negated"
    return None


def _most_alike(clause: Clause, others: Sequence[Clause]) -> list[Clause]:
    """Those that share the most terms with the clause, if any."""
    most = max((len(clause.terms & other.terms) for other in others), default=0)
    return [other for other in others if len(clause.terms & other.terms) == most > 0]


def _opposite_objection(said: Reading, given: Reading) -> str | None:
    """In the whole, or in the clauses that are most alike: the one may stand elsewhere in the piece."""
    pairs = [(said.text, [given.text])]
    pairs += [(clause.text, [other.text for other in _most_alike(clause, given.clauses)]) for clause in said.clauses]
    for text, others in pairs:
        for one, other in (*OPPOSITES, *((other, one) for one, other in OPPOSITES)):
            if others and all(_has_only(one, other, text) and _has_only(other, one, theirs) for theirs in others):
                return "the opposite is there"
    return None


def _exchange_objection(said: Reading, given: Reading) -> str | None:
    """Other words, or another order of names, where nearly all the rest was copied."""
    found = changes(given.sequence, said.sequence)
    names = said.names | given.names
    for change in found:
        if NOT in change.new and NOT not in change.old:
            return "the claim alone is negated"
        if NOT in change.old and NOT not in change.new and (change.new or len(change.old) == 1):
            return "the claim leaves a negation out"
        named = not names.isdisjoint((*change.old, *change.new))
        if change.new and change.old and (named or len(change.new) == len(change.old)):
            return f"{change.new[0]} stands in place of {change.old[0]}"
    moved = {term for change in found for term in change.old} & {term for change in found for term in change.new}
    return f"{min(moved & names)} has another place" if moved & names else None


def _has_only(one: re.Pattern[str], other: re.Pattern[str], text: str) -> bool:
    return one.search(text) is not None and other.search(text) is None
