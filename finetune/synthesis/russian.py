"""Russian sentences turned into questions, by patterns that leave every word in its case."""

import re

from finetune.synthesis.found import Asked, inside_sentence

_SUBJECT = r"(?P<s>[А-ЯЁ][^,;:()«»]{3,80}?)"
_VALUE = (
    r"(?P<v>(?:не более |не менее |около |плюс-минус )?[-+]?\d[\d \u00a0]*(?:,\d+)?"
    r"(?:[ \u00a0]?[^\d\s.,;:]+(?: (?:работы|Цельсия|тока))?)?)"
)
_END = r"(?P<rest>[.;,](?!\d).*| (?:и|в|во|при|на|для|с|после|до|от|за|под)\s.*)?$"
_LONGEST_SUBJECT = 9
_UNSURE = re.compile(
    r"(?:в|во|на|при|для|если|после|до|перед|от|за|под|над|с|со|из|к|по|через|без|это|он|она|оно|они|его|её|их|этот|эта"
    r"|эти|такой|там|тогда|затем|когда|не|каждый|каждая|каждые|все|вторая|первая|другой|обе|оба|один|одна|но|а|и)\b",
    re.IGNORECASE,
)
_PATTERNS = (
    (re.compile(rf"{_SUBJECT} составляет {_VALUE}{_END}"), "Сколько составляет {s}?"),
    (re.compile(rf"{_SUBJECT} рав(?:ен|на|но|ны) {_VALUE}{_END}"), "Какое значение имеет {s}?"),
    (re.compile(rf"{_SUBJECT} не долж(?:ен|на|но|ны) превышать {_VALUE}{_END}"), "Какой предел установлен: {s}?"),
    (re.compile(rf"{_SUBJECT} служ[иа]т {_VALUE}{_END}"), "Сколько служит {s}?"),
    (re.compile(rf"{_SUBJECT} весит {_VALUE}{_END}"), "Сколько весит {s}?"),
    (re.compile(rf"{_SUBJECT} стоит {_VALUE}{_END}"), "Сколько стоит {s}?"),
    (re.compile(rf"{_SUBJECT} длится {_VALUE}{_END}"), "Сколько длится {s}?"),
    (
        re.compile(
            rf"{_SUBJECT} (?P<p>\w+ют|\w+ят|\w+ут|\w+ется|\w+ются) (?P<v>кажд(?:ые|ый|ую|ое) (?:\d[\d \u00a0]* ?)?"
            r"[^\W\d]+(?: работы)?)(?P<rest>\W.*)?$"
        ),
        "Как часто {p} {s}?",
    ),
)
_DEFINED = re.compile(r"(?P<s>[А-ЯЁ][^,;:()]{2,60}?) — это (?P<v>[^;:()]{8,110}?)[.;]")


def unsure(words: str) -> bool:
    return _UNSURE.match(words) is not None


def ask(sentence: str, names: frozenset[str]) -> Asked | None:
    if unsure(sentence):
        return None
    for pattern, template in _PATTERNS:
        match = pattern.match(sentence)
        if match is not None:
            if len(match["s"].split()) > _LONGEST_SUBJECT or match["s"].endswith(" и"):
                return None
            subject = inside_sentence(match["s"], names)
            question = template.format(s=subject, p=match.groupdict().get("p") or "")
            return Asked("statement", question, match["v"].strip(" .,"), f"{subject}/{template}")
    return None


def define(sentence: str, names: frozenset[str]) -> Asked | None:
    match = _DEFINED.match(sentence)
    if match is None or unsure(match["s"]):
        return None
    return Asked("definition", f"Что такое {inside_sentence(match['s'], names)}?", match["v"], match["s"])
