"""Which document replaces which, as the documents themselves say it. Knows nothing of questions or passages.

"This edition takes the place of CO-021", where another document's head calls itself CO-021. What one part or product
replaces is no edition: the sentence must speak of a document. Said too rarely rather than wrongly.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rag.matching import identifiers, ordered_identifiers
from rag.types import Document

_READ_CHARACTERS = 12_000
_HEAD_CHARACTERS = 500
_SENTENCE_END = re.compile(r"(?<=[.!?。！？])\s+|(?<=[。！？])|\n{2,}|\n(?=[#|*-])")
_DOCUMENT_WORD = (
    r"\b(?:edition|revision|version|issue|documents?|polic(?:y|ies)|manuals?|bulletins?|procedures?|instructions?|terms"
    r"|rules|regulations?|guidelines?)\b|редакци|издани|документ|руководств|инструкци|правил|бюллетен"
    r"|版|文件|手册|说明书|规定|规程"
)
_SPEAKS_OF_DOCUMENT = re.compile(_DOCUMENT_WORD, re.IGNORECASE)
_REPLACES = re.compile(
    r"\b(?:replac(?:es|ing)|supersed(?:es|ing)|takes? the place of|in place of|cancels|withdraws)\b"
    r"|\b(?:заменяет|взамен|отменяет)\b|取代|代替|替代|废止",
    re.IGNORECASE,
)
_IS_REPLACED = re.compile(
    r"\b(?:replaced|superseded)\s+by\b|\b(?:заменен\w?|заменён\w?|отменен\w?|отменён\w?)\b|被.{0,20}(?:取代|代替|替代)",
    re.IGNORECASE,
)
_EARLIER = re.compile(
    r"\b(?:earlier|previous|former|older|all prior)\b|\b(?:edition|version|revision) (?:of|from) |прежн|предыдущ"
    r"|旧版|之前的版本|以前的版本|上一版",
    re.IGNORECASE,
)
_OWN_CODE = re.compile(
    r"(?:\b(?:document|procedure|policy|instruction|regulation)(?: (?:no|number|code)\.?)?|документ|文件(?:编号)?)"
    r"\s*[:№#]?\s*(?P<after>[^\s,，。;]+)"
    r"|(?P<before>[^\s,，。;]+)[,，]\s*(?:rev(?:ision|\.)|edition|version|issue|редакци|издани|第)",
    re.IGNORECASE,
)
_STAYS = re.compile(
    r"\b(?:stays?|remains?|continues?)\b.{0,30}\b(?:force|valid|effect|apply)|остаётся|остается|сохраня|继续有效|仍然有效",
    re.IGNORECASE,
)
_SECTION = re.compile(r"(?:\b(?:section|chapter|clause)|раздел\w*|第)\s*(?P<number>\d+(?:\.\d+)*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Replacement:
    """That a document replaces another one, but for the sections that it leaves in force."""

    kept_sections: frozenset[str]

    def keeps(self, context: str) -> bool:
        """Whether the heading path that a passage stands under is one of a section that stays in force."""
        lines = context.replace(" > ", "\n").splitlines()
        return any(re.match(rf"{re.escape(number)}(?![\d])", line) for line in lines for number in self.kept_sections)


def replacement(newer: Document, older: Document) -> Replacement | None:
    """Whether one of the two says that ``newer`` stands in for ``older``; ``None`` where neither does."""
    named = own_codes(older)
    said = _sentences(newer)
    if not (
        any(_replaces(sentence, named, newer, older) for sentence in said)
        or any(_is_replaced(sentence, own_codes(newer)) for sentence in _sentences(older))
    ):
        return None
    kept = {
        match["number"]
        for sentence in said
        if _STAYS.search(sentence) and named & identifiers(sentence)
        for match in _SECTION.finditer(sentence)
    }
    return Replacement(frozenset(kept))


def own_codes(document: Document) -> frozenset[str]:
    """What the document calls itself in its head: ``co-021`` of "Document CO-021, revision 4"."""
    head = f"{document.title}\n{document.text[:_HEAD_CHARACTERS]}"
    named = (match["after"] or match["before"] for match in _OWN_CODE.finditer(head))
    return frozenset(code for word in named for code in identifiers(word))


def _sentences(document: Document) -> Sequence[str]:
    return _SENTENCE_END.split(document.text[:_READ_CHARACTERS])


def _replaces(sentence: str, named: frozenset[str], newer: Document, older: Document) -> bool:
    verb = _REPLACES.search(sentence)
    if verb is None or not _SPEAKS_OF_DOCUMENT.search(sentence):
        return False
    behind = set(ordered_identifiers(sentence[verb.end() :]))
    if behind & named:
        return True
    return not behind and _EARLIER.search(sentence, verb.end()) is not None and _is_earlier_edition(older, newer)


def _is_earlier_edition(older: Document, newer: Document) -> bool:
    about = identifiers(older.title)
    one, other = older.date, newer.date
    return bool(about) and about == identifiers(newer.title) and one is not None and other is not None and one < other


def _is_replaced(sentence: str, by: frozenset[str]) -> bool:
    verb = _IS_REPLACED.search(sentence)
    if verb is None or not _SPEAKS_OF_DOCUMENT.search(sentence[: verb.start()]):
        return False
    return bool(by & identifiers(sentence[verb.start() :]))
