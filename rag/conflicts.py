"""Where the sources of an answer don't agree: an edition that another one replaces, or two values for the same thing.

Without a model, by comparing the best sentences of each document. A false alarm costs trust, so a difference counts
only between sentences that say nearly the same of the same thing, and less is asked only of documents of which one says
that it replaces the other. Knows nothing of how answers are made.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rag.analysis import analyze
from rag.editions import Replacement, own_codes, replacement
from rag.interfaces import PageOf
from rag.languages import language_by_script
from rag.matching import Piece, identifiers, pieces_of
from rag.supporting.clauses import Reading, read
from rag.supporting.words import OPPOSED_BOUNDS
from rag.types import Citation, Conflict, Document, Evidence

Best = Callable[[Sequence[Evidence]], Sequence[tuple[Piece, float]]]
"""The sentences of some passages that answer the question best, best first, with their scores."""

_RELEVANT_SHARE = 0.7
"""A sentence that answers the question less than this share as well as the best one says nothing about it."""
_SAME_THING = 0.6
"""Share of the words of both sentences that are common; where one document replaces the other, of the shorter one's."""
_LEAST_SHARED = 3
_PRONOUN = re.compile(r"(?:it|its|they|their|this|these|он|она|оно|они|это|эти)\b|它|其|该", re.IGNORECASE)
_NO_SUBJECT = frozenset(("now", "new", "former", "current", "present", "longer", "still", "теперь", "нов", "прежн"))

_YEAR = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)")

_NOTES = {
    "en": {
        "superseded": 'Conflicting sources: {newer} replaces {older}, which says: "{text}"',
        "newer": 'Conflicting sources: {newer} is newer than {older}, which says: "{text}"',
        "undated": "Conflicting sources: {newer} and {older} differ, and neither tells which is newer; {mark} says: "
        '"{text}"',
    },
    "ru": {
        "superseded": "Источники расходятся: {newer} заменяет {older}, где сказано: «{text}»",
        "newer": "Источники расходятся: {newer} новее, чем {older}, где сказано: «{text}»",
        "undated": "Источники расходятся: {newer} и {older}, и неизвестно, что новее; в {mark} сказано: «{text}»",
    },
    "zh": {
        "superseded": "来源不一致：{newer} 取代了 {older}，后者写道：“{text}”",
        "newer": "来源不一致：{newer} 比 {older} 更新，后者写道：“{text}”",
        "undated": "来源不一致：{newer} 与 {older} 说法不同，无法判断哪个更新；{mark} 写道：“{text}”",
    },
}


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Two pieces that don't agree; where it is not known which is newer, ``newer`` is the one that answers better."""

    newer: Piece
    older: Piece
    newer_date: str | None
    older_date: str | None
    replaces: bool
    older_codes: frozenset[str] = frozenset()
    """What the older document calls itself."""

    @property
    def is_dated(self) -> bool:
        return self.replaces or (None not in (self.newer_date, self.older_date) and self.newer_date != self.older_date)


def disagreements(
    used: Sequence[Piece],
    passages: Sequence[Evidence],
    best: Best,
    document: Callable[[str, str], Document],
) -> list[Disagreement]:
    """What speaks against the pieces that an answer rests on, at most one for each other document.

    ``passages`` are those that the question found; ``document`` reads one by id and version.
    """
    by_document: dict[tuple[str, str], list[Evidence]] = {}
    for passage in passages:
        by_document.setdefault((passage.document_id, passage.version), []).append(passage)
    sentences = {key: best(own) for key, own in by_document.items()} if len(by_document) > 1 else {}
    top = max((score for found in sentences.values() for _, score in found), default=0.0)
    links: dict[tuple[tuple[str, str], tuple[str, str]], Replacement | None] = {}

    def link(newer: tuple[str, str], older: tuple[str, str]) -> Replacement | None:
        if (newer, older) not in links:
            links[newer, older] = replacement(document(*newer), document(*older))
        return links[newer, older]

    found: dict[tuple[str, str], Disagreement] = {}
    for piece in used:
        own = _key(piece)
        for other, candidates in sentences.items():
            if other == own or other in found or own in found:
                continue
            newer_is_own, newer_is_other = link(own, other), link(other, own)
            replaced = newer_is_own or newer_is_other
            if replaced is None:
                against = [candidate for candidate, score in candidates if score >= _RELEVANT_SHARE * top]
            else:
                # Whatever the newer edition says of the same thing counts, in whatever words the question was asked.
                against = [candidate for passage in by_document[other] for candidate in pieces_of(passage)]
            clash = next((each for each in against if _clash(piece, each, replaced=replaced is not None)), None)
            if clash is None or (newer_is_own and newer_is_other):
                continue
            one, two = (piece, clash) if newer_is_own else (clash, piece)
            if replaced is None:
                one, two = _by_date(piece, clash, document(*own).date, document(*other).date)
            elif replaced.keeps(two.evidence.context):
                continue
            dates = [document(*_key(each)).date for each in (one, two)]
            codes = own_codes(document(*_key(two)))
            found[other] = Disagreement(one, two, dates[0], dates[1], replaced is not None, codes)
    return list(found.values())


def conflict(item: Disagreement, question: str) -> Conflict:
    """The disagreement as an answer tells it."""
    newer, older = item.newer.evidence, item.older.evidence
    wording = _NOTES.get(language_by_script(question), _NOTES["en"])
    template = wording["superseded" if item.replaces else "newer" if item.is_dated else "undated"]
    note = template.format(
        newer=_named(newer, item.newer_date),
        older=_named(older, item.older_date),
        mark=f"[{older.number}]",
        text=_quotable(item.older.readable),
    )
    return Conflict(
        kind="superseded" if item.replaces else "values",
        newer=newer.number,
        older=older.number,
        newer_source=newer.source,
        older_source=older.source,
        newer_date=item.newer_date,
        older_date=item.older_date,
        newer_text=item.newer.text,
        older_text=item.older.text,
        note=note,
    )


def noted(text: str, items: Sequence[Disagreement], question: str, page_of: PageOf) -> tuple[str, tuple[Citation, ...]]:
    """The answer's text with a line for each disagreement, and the citations of those lines: both sources of each."""
    citations: list[Citation] = []
    for item in items:
        line = conflict(item, question).note
        start = len(text) + 1
        text = f"{text}\n{line}"
        citations += [_citation(piece, start, len(text), page_of) for piece in (item.newer, item.older)]
    return text, tuple(citations)


def preferring_newer(pieces: Sequence[Piece], items: Sequence[Disagreement], question: str) -> list[Piece]:
    """The answer's pieces, what is older replaced by what is newer; the note says the older.

    Who names the older document, or a year before the newer one's, asks for what held then.
    """
    instead = {
        _place(item.older): item.newer for item in items if item.is_dated and not _asks_for_older(item, question)
    }
    preferred = (instead.get(_place(piece), piece) for piece in pieces)
    return list({_place(piece): piece for piece in preferred}.values())


def _asks_for_older(item: Disagreement, question: str) -> bool:
    if item.older_codes & identifiers(question):
        return True
    years = [int(year) for year in _YEAR.findall(question)]
    return item.newer_date is not None and any(year < int(item.newer_date[:4]) for year in years)


def _clash(one: Piece, other: Piece, *, replaced: bool) -> bool:
    """Whether the two give different values to the same thing."""
    if one.evidence.language != other.evidence.language:
        return False
    language = one.evidence.language
    a, b = read(one.readable, language), read(other.readable, language)
    words_a, words_b = _subject(one, a), _subject(other, b)
    shared = len(words_a & words_b)
    if replaced:
        shorter = min(len(words_a), len(words_b))
        alike = shared >= max(2, min(_LEAST_SHARED, shorter), _SAME_THING * shorter)
        return alike and (_values_differ(a, b, strict=False) or _codes_differ(a, b))
    alike = shared >= _LEAST_SHARED and shared >= _SAME_THING * len(words_a | words_b)
    return alike and _same_product(one, other) and _values_differ(a, b, strict=True)


def _subject(piece: Piece, reading: Reading) -> frozenset[str]:
    """The words that say what a value is of; where the sentence begins with a pronoun, its heading's too."""
    terms = reading.terms - reading.anchors - _NO_SUBJECT
    if _PRONOUN.match(piece.readable):
        terms |= _words(_heading(piece), piece.evidence.language)
    return frozenset(term for term in terms if not any(sign.isdigit() for sign in term))


def _heading(piece: Piece) -> str:
    """The line that heads it in its passage, else the last one of the context."""
    passage = piece.evidence
    above = [line for line in passage.text[: piece.start - passage.start].splitlines() if line.startswith("#")]
    return above[-1] if above else passage.context.strip().rpartition("\n")[2].rpartition(" > ")[2]


def _words(text: str, language: str | None) -> frozenset[str]:
    return frozenset(term for term in analyze(text, language) if not any(sign.isdigit() for sign in term))


def _values_differ(a: Reading, b: Reading, *, strict: bool) -> bool:
    """Of one unit, no value of the one stands in the other; strictly, one value each, bounded alike."""
    for unit in {number.unit for number in a.numbers} & {number.unit for number in b.numbers}:
        if unit is None:
            continue
        ours = [number for number in a.numbers if number.unit == unit]
        theirs = [number for number in b.numbers if number.unit == unit]
        values, others = {number.value for number in ours}, {number.value for number in theirs}
        if values & others or (strict and (len(values) > 1 or len(others) > 1)):
            continue
        opposed = any({x, y} in OPPOSED_BOUNDS for n in ours for x in n.bounds for m in theirs for y in m.bounds)
        if not (strict and opposed):
            return True
    return False


def _codes_differ(a: Reading, b: Reading) -> bool:
    """Of one family (``OF`` of ``OF-210``), no code of the one stands in the other."""
    families = {_family(code) for code in a.codes} & {_family(code) for code in b.codes}
    return bool(families) and not a.codes & b.codes


def _family(code: str) -> str:
    return code.rstrip("0123456789-/._")


def _same_product(one: Piece, other: Piece) -> bool:
    """Both name the same codes, in the sentence or above it; without codes, their titles have a word in common."""
    near, far = _codes(one), _codes(other)
    said = identifiers(one.readable), identifiers(other.readable)
    if near or far:
        return bool(near & far) and said[0] <= far and said[1] <= near
    titles = [_words(piece.evidence.title, piece.evidence.language) for piece in (one, other)]
    return bool(titles[0] & titles[1])


def _codes(piece: Piece) -> set[str]:
    return identifiers(f"{piece.evidence.title}\n{piece.evidence.context}\n{piece.readable}")


def _by_date(piece: Piece, other: Piece, own: str | None, its: str | None) -> tuple[Piece, Piece]:
    return (other, piece) if own is not None and its is not None and own < its else (piece, other)


def _named(passage: Evidence, date: str | None) -> str:
    title = " ".join(passage.title.split())
    return f"[{passage.number}] ({title}, {date})" if date else f"[{passage.number}] ({title})"


_QUOTABLE = str.maketrans('[]"«»“”', "()'''''")


def _quotable(text: str) -> str:
    """Without what would read as a marker or end the quotation."""
    return text.translate(_QUOTABLE)


def _key(piece: Piece) -> tuple[str, str]:
    return piece.evidence.document_id, piece.evidence.version


def _place(piece: Piece) -> tuple[str, int, int]:
    return piece.evidence.document_id, piece.start, piece.end


def _citation(piece: Piece, start: int, end: int, page_of: PageOf) -> Citation:
    passage, page = piece.evidence, page_of(piece.evidence, piece.start)
    return Citation(
        marker=passage.number,
        document_id=passage.document_id,
        source=passage.source,
        title=passage.title,
        page=None if page is None else page.number,
        start=piece.start,
        end=piece.end,
        quote=piece.text,
        supported=True,
        attributed=False,
        answer_start=start,
        answer_end=end,
        recognised=page is not None and page.recognised,
    )
