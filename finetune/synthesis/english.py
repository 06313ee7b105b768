"""English sentences turned into questions, by patterns that need no guess at grammar."""

import re
from collections.abc import Callable, Sequence

from finetune.synthesis.found import Asked, inside_sentence

_UNIT = r"(?:°[CF]|[a-zA-Zµμ%°€$Ω][\w·/²³°%]*(?: (?:hours|days|of \w+|per \w+|cent))?)"
_NUMBER = r"[-+±]?\d[\d.,]*(?:[ \u00a0]\d{3})*(?: to \d[\d.,]*)?"
_VALUE = rf"(?P<v>(?:(?:about|at least|at most|up to|minus|plus) )?{_NUMBER}(?: ?{_UNIT})?)"
_JOINT = "and|or|but|if|when|before|after|in|at|for|on|with|from|by|until|where|while|unless|because|of|against|under"
_END = rf"(?P<rest>[.;,:](?!\d).*| (?:{_JOINT})\b.*)?$"
_SUBJECT = r"(?P<s>[A-Z][^,;:()\"“”]{0,80}?)"
_IRREGULAR = (
    "held|sold|kept|put|cut|set|shut|built|made|done|bought|paid|found|sent|left|bent|hung|bound|ground|laid|run"
)
_PARTICIPLE = (
    rf"(?P<p>(?:(?:not|only|always|normally|usually|never) )?(?:\w+(?:ed|en)|{_IRREGULAR})"
    r"(?: (?!(?:and|or|but|if|when|which|that)\b)[a-z-]+){0,5}?)"
)
_VERB = r"(?P<p>(?:not )?[a-z]{2,})"
_MANY = "has|have|holds|hold|contains|contain|needs|need|carries|carry|uses|use|requires|require|takes|take|gives|give"
_BE = "is|are|was|were"
_MODAL = "must|may|should|can|shall|will"

_UNSURE = re.compile(
    r"(?:it|they|this|these|that|those|he|she|there|both|one|if|when|after|before|for|in|on|at|with|without|by|from|to"
    r"|since|until|during|while|as|wait|please|then|only|not|never|no|do|i|we|you|its|their|his|her|our|my|your|here"
    r"|what|which|who|unless|under|over|above|below|between|where|use|set|check|make|so|but|and|or|once|see|now|for"
    r"|another|other|others|such|more|most|less|either|neither|none|some)\b",
    re.IGNORECASE,
)
_CLAUSE = re.compile(rf"\b(?:{_BE}|{_MODAL}|which|that|who|what|if|when|has|have|because|so|but)\b")
_LONGEST_SUBJECT = 11

_QUANTITIES = (
    (r"°[CF]$|degrees", "temperature"),
    (r"\b(?:m?bar|k?Pa|MPa)\b", "pressure"),
    (r"\bN·?m\b", "torque"),
    (r"\brpm\b|\w/(?:s|h|min)\b", "rate"),
    (r"\b(?:EUR|USD|euros?|dollars)\b|[€$]", "price"),
    (r"\b(?:hours?|minutes?|seconds?|days?|weeks?|months?|years?|h|s|min)$", "time"),
    (r"\b(?:mm|cm|km|metres?|meters?|m|µm)$", "distance"),
    (r"%|percent|per cent", "share"),
    (r"\b[kM]?V$|volts?$", "voltage"),
)


def unsure(words: str) -> bool:
    """They lean on what was said before, or begin a clause that is not a plain subject."""
    return _UNSURE.match(words) is not None


def ask(sentence: str, names: frozenset[str]) -> Asked | None:
    """The first pattern that fits decides; ``None`` where none does."""
    if unsure(sentence):
        return None
    for pattern, question_of in _PATTERNS:
        match = pattern.match(sentence)
        if match is not None:
            subject = match["s"]
            if len(subject.split()) > _LONGEST_SUBJECT or _CLAUSE.search(subject):
                return None
            question = question_of(match, inside_sentence(subject, names))
            if question is None:
                return None
            return Asked("statement", question, _answer(match), f"{subject}/{question_of.__name__.strip('_')}")
    return None


def _answer(match: re.Match[str]) -> str:
    value = match["v"].strip(" .,")
    value = value[0].lower() + value[1:] if value.startswith("Every ") else value
    return f"{value} {match['n']}" if "n" in match.re.groupindex else value


def _quantity(value: str) -> str:
    return next((name for pattern, name in _QUANTITIES if re.search(pattern, value)), "value")


def _do(verb: str) -> str:
    return "does" if verb.endswith("s") else "do"


def _base(verb: str) -> str:
    irregular = {"has": "have", "carries": "carry"}.get(verb)
    return irregular or re.sub(r"(?<=ss|sh|ch)es$|(?<=x)es$|(?<!s)s$", "", verb)


def _often(match: re.Match[str], subject: str) -> str:
    return f"How often {match['b']} {subject} {match['p']}?"


def _often_does(match: re.Match[str], subject: str) -> str:
    return f"How often does {subject} {_base(match['b'])}?"


def _often_must(match: re.Match[str], subject: str) -> str:
    return f"How often {match['b']} {subject} be {match['p']}?"


def _limit(match: re.Match[str], subject: str) -> str:
    quantity = _quantity(match["v"])
    asked = "What" if quantity in subject else f"What {quantity}"
    return f"{asked} {match['b'].removesuffix(' not').removesuffix('not')} {subject} not exceed?"


def _how_much(match: re.Match[str], subject: str) -> str:
    return f"How much {_do(match['b'])} {subject} {_base(match['b'])}?"


def _how_long(match: re.Match[str], subject: str) -> str | None:
    return f"How long {_do(match['b'])} {subject} {_base(match['b'])}?" if _quantity(match["v"]) == "time" else None


def _to_what(match: re.Match[str], subject: str) -> str:
    quantity = _quantity(match["v"])
    if match["prep"] == "for" and quantity == "time":
        return f"For how long {match['b']} {subject} {match['p']}?"
    return f"{match['prep'].capitalize()} what {quantity} {match['b']} {subject} {match['p']}?"


def _to_what_must(match: re.Match[str], subject: str) -> str:
    return f"{match['prep'].capitalize()} what {_quantity(match['v'])} {match['b']} {subject} be {match['p']}?"


def _to_what_may(match: re.Match[str], subject: str) -> str:
    return f"{match['prep'].capitalize()} what {_quantity(match['v'])} {match['b']} {subject} {match['p']}?"


def _what_is(match: re.Match[str], subject: str) -> str:
    return f"What {match['b']} {subject}?"


def _what_must(match: re.Match[str], subject: str) -> str:
    return f"What {match['b']} {subject} be?"


def _how_many(match: re.Match[str], subject: str) -> str:
    return f"How many {match['n']} {_do(match['b'])} {subject} {_base(match['b'])}?"


_PREPOSITION = r"(?P<prep>to|at|for|within|after|with|by|in(?! at\b)|from|above|below|against)"
_TO = rf"{_PREPOSITION} (?:an? (?:\w+ )?(?:of|torque of) )?{_VALUE}{_END}"
_EVERY = r"(?:at least )?(?:once )?(?P<v>every (?:\d[\d ,.]* )?\w+(?: of \w+)?)"
_PATTERNS: Sequence[tuple[re.Pattern[str], Callable[[re.Match[str], str], str | None]]] = (
    (re.compile(rf"{_SUBJECT} (?P<b>{_BE}) {_PARTICIPLE} {_EVERY}{_END}"), _often),
    (re.compile(rf"{_SUBJECT} (?P<b>{_MODAL}) be {_PARTICIPLE} {_EVERY}{_END}"), _often_must),
    (re.compile(rf"{_SUBJECT} (?P<b>(?:{_MODAL}) not|cannot) exceed {_VALUE}{_END}"), _limit),
    (re.compile(rf"{_SUBJECT} (?P<b>weighs?|costs?) {_VALUE}{_END}"), _how_much),
    (re.compile(rf"{_SUBJECT} (?P<b>lasts?|takes?) {_VALUE}{_END}"), _how_long),
    (re.compile(rf"{_SUBJECT} (?P<b>{_BE}) {_PARTICIPLE} {_TO}"), _to_what),
    (re.compile(rf"{_SUBJECT} (?P<b>{_MODAL}) be {_PARTICIPLE} {_TO}"), _to_what_must),
    (re.compile(rf"{_SUBJECT} (?P<b>{_MODAL}) {_VERB} {_TO}"), _to_what_may),
    (re.compile(rf"(?P<v>Every \d[\d ,.]* [a-z]+) (?P<s>the [^,;:()]+?) (?P<b>{_BE}) {_PARTICIPLE}{_END}"), _often),
    (re.compile(rf"{_SUBJECT} (?P<b>[a-z]{{3,}}s) {_EVERY}{_END}"), _often_does),
    (re.compile(rf"{_SUBJECT} (?P<b>{_BE}) {_VALUE}{_END}"), _what_is),
    (re.compile(rf"{_SUBJECT} (?P<b>{_MODAL}) be {_VALUE}{_END}"), _what_must),
    (re.compile(rf"{_SUBJECT} (?P<b>{_MANY}) (?P<v>\d[\d,.]*) (?P<n>[a-z][a-z-]+s)\b{_END}"), _how_many),
    (re.compile(rf"{_SUBJECT} (?P<b>holds?|contains?|needs?|draws?|requires?|delivers?) {_VALUE}{_END}"), _how_much),
)  # fmt: skip
_DEFINED = re.compile(r"(?P<s>[A-Z][^,;:()]{1,50}?) is (?P<v>an? [a-z][^;:()]{8,110}?)[.;]")


def define(sentence: str, names: frozenset[str]) -> Asked | None:
    """What a thing is, where a sentence begins by saying so."""
    match = _DEFINED.match(sentence)
    if match is None or len(match["s"].split()) > 5 or unsure(match["s"]) or _CLAUSE.search(match["s"]):
        return None
    return Asked("definition", f"What is {inside_sentence(match['s'], names)}?", match["v"], match["s"])
