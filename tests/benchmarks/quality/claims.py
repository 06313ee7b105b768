"""Claims with passages that do and don't support them, made of texts and questions by rule, with a seed.

A claim that holds is a sentence of the passage, a shortened one, or a question with its answer in place of the question
word. A claim that doesn't is one of these with a number, unit, name, negation, direction or answer changed, or with the
passage of something else.
"""

import itertools
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rag.sentences import sentence_spans


@dataclass(frozen=True, slots=True)
class Claim:
    """``gold`` is the span of the passage's text that the claim is about, ``None`` where no span supports it."""

    kind: str
    text: str
    passage: str
    """The key of the passage that it names as its source."""
    cluster: str
    gold: tuple[int, int] | None
    question: str

    @property
    def holds(self) -> bool:
        return self.gold is not None


@dataclass(frozen=True, slots=True)
class Fact:
    """A question, its answer, and the sentence of a passage that tells it."""

    question: str
    answer: str
    passage: str
    cluster: str
    sentence: str
    span: tuple[int, int]


_NUMBER = re.compile(
    r"(?<![\w.,-])\d+(?:[.,]\d+)*(?![\w-]|[.,]\d)|(?<=[\u4e00-\u9fff（(])\d+(?:[.,]\d+)*(?=[\u4e00-\u9fff ）)])"
)
_NAMES = {
    "en": re.compile(r"(?<=[a-z,] )[A-Z][\w'’]+(?: [A-Z][\w'’]+)*"),
    "ru": re.compile(r"(?<=[а-яё,] )[А-ЯЁ][а-яё]+(?: [А-ЯЁ][а-яё]+)*"),
    "zh": re.compile(r"[\u4e00-\u9fff]{1,6}·[\u4e00-\u9fff]{1,6}"),
}
_UNITS: dict[str, list[tuple[str, str]]] = {
    "en": [
        (r"(?<=\d )years?\b", "months"), (r"(?<=\d )days?\b", "weeks"), (r"(?<=\d )hours?\b", "minutes"),
        (r"(?<=\d )minutes?\b", "hours"), (r"(?<=\d )km\b", "m"), (r"(?<=\d )mm\b", "cm"), (r"(?<=\d )bar\b", "mbar"),
        (r"(?<=\d )million\b", "billion"), (r"(?<=\d )billion\b", "million"), (r"(?<=\d )(?:percent|%)", "per mille"),
        (r"(?<=\d )Nm\b", "N"), (r"(?<=\d )l\b", "ml"), (r"(?<=\d )kg\b", "g"), (r"(?<=\d )(?:miles|mi)\b", "feet"),
        (r"(?<=\d )°C", "°F"), (r"(?<=\d )EUR\b", "USD"), (r"(?<=\d )(?:feet|ft)\b", "miles"),
        (r"(?<=\d )kilomet(?:er|re)s\b", "metres"),
    ],
    "ru": [
        (r"(?<=\d )(?:лет|года?)\b", "месяцев"), (r"(?<=\d )(?:день|дней|дня)\b", "недель"),
        (r"(?<=\d )час(?:а|ов)?\b", "минут"), (r"(?<=\d )минут[ы]?\b", "часов"), (r"(?<=\d )км\b", "м"),
        (r"(?<=\d )мм\b", "см"), (r"(?<=\d )бар\b", "мбар"), (r"(?<=\d )миллион(?:а|ов)?\b", "миллиардов"),
        (r"(?<=\d )миллиард(?:а|ов)?\b", "миллионов"), (r"(?<=\d )кг\b", "г"), (r"(?<=\d )л\b", "мл"),
        (r"(?<=\d )процент(?:а|ов)?\b", "промилле"), (r"(?<=\d )мил(?:ь|и)\b", "футов"),
    ],
    "zh": [
        (r"(?<=\d)( ?)(?:小时)", r"\1分钟"), (r"(?<=\d)( ?)分钟", r"\1小时"), (r"(?<=\d)( ?)天", r"\1周"),
        (r"(?<=\d)( ?)毫米", r"\1厘米"), (r"(?<=\d)( ?)公里", r"\1米"), (r"(?<=\d)( ?)万", r"\1亿"),
        (r"(?<=\d)( ?)亿", r"\1万"), (r"(?<=\d)( ?)年(?!代)", r"\1个月"), (r"(?<=\d)( ?)mm", r"\1cm"),
        (r"(?<=\d)( ?)bar", r"\1mbar"), (r"(?<=\d)( ?)英里", r"\1英尺"),
    ],
}  # fmt: skip
_NEGATIONS: dict[str, list[tuple[str, str]]] = {
    "en": [
        (r"\b(is|was|are|were|has|had|can|could|may|must|shall|should|will|would)\b(?! not|n't)", r"\1 not"),
    ],
    "ru": [(r"\b(был[аои]?|является|являются|имеет|может|могут|стал[аои]?|должен|должна|должны)\b", r"не \1")],
    "zh": [(r"(?<!不)(是|会|能|可以|需要)(?!否)", r"不\1"), (r"(?<![没未])有", "没有")],
}
_OPPOSITES: dict[str, list[tuple[str, str]]] = {
    "en": [
        ("before", "after"), ("increase", "decrease"), ("increased", "decreased"), ("above", "below"),
        ("first", "last"), ("largest", "smallest"), ("highest", "lowest"), ("more", "fewer"), ("north", "south"),
        ("northern", "southern"), ("east", "west"), ("eastern", "western"), ("won", "lost"), ("open", "close"),
        ("maximum", "minimum"), ("most", "least"), ("early", "late"),
    ],
    "ru": [
        ("перед", "после"), ("до", "после"), ("больше", "меньше"), ("первый", "последний"), ("выше", "ниже"),
        ("более", "менее"), ("север", "юг"), ("северной", "южной"), ("восточной", "западной"),
        ("увеличение", "уменьшение"),
    ],
    "zh": [
        ("之前", "之后"), ("增加", "减少"), ("最大", "最小"), ("最高", "最低"), ("上升", "下降"), ("北部", "南部"),
        ("东部", "西部"), ("第一", "最后"), ("以上", "以下"), ("高于", "低于"),
    ],
}  # fmt: skip
_QUESTION_WORDS = {
    "en": re.compile(
        r"\b(?:how (?:many|much|long|old|far|often)|(?:in |on |at )?(?:what|which) (?:year|date|day|month|century|city|"
        r"country|state|person|percentage|percent)|who|whom|where|when|what|which)\b", re.IGNORECASE
    ),
    "ru": re.compile(
        r"\b(?:в как\w+ год[уа]|сколько|скольки|кто|кого|кому|кем|где|куда|когда|что|чего|чем|как\w+|чей|чья)\b",
        re.IGNORECASE,
    ),
    "zh": re.compile(r"多少|哪一?年|哪里|何时|什么时候|什么|谁|哪(?:个|些|座|位|家|种|支)?|几"),
}  # fmt: skip
_APART = re.compile("[^,;、]{13,}")
_END = {"en": ".", "ru": ".", "zh": "。"}


def facts(questions: Sequence[tuple[str, str, str, str, int]], passages: dict[str, str], language: str) -> list[Fact]:
    """Of (question, answer, passage, cluster, the answer's place); those whose place is in no sentence are left out."""
    spans = {key: sentence_spans(text, language) for key, text in passages.items()}
    found = []
    for question, answer, passage, cluster, place in questions:
        span = next((span for span in spans[passage] if span[0] <= place < span[1]), None)
        if span is not None:
            found.append(Fact(question, answer, passage, cluster, passages[passage][span[0] : span[1]], span))
    return found


def claims(known: Sequence[Fact], language: str, seed: int) -> list[Claim]:
    """All claims that the rules make of the facts; each kind of change draws from a generator of its own."""
    made: list[Claim] = []
    sentences = list({(fact.passage, fact.span): fact for fact in known}.values())
    for fact in sentences:
        made.append(Claim("copied", fact.sentence, fact.passage, fact.cluster, fact.span, fact.question))
        if (short := _shortened(fact.sentence)) is not None:
            made.append(Claim("shortened", short, fact.passage, fact.cluster, fact.span, fact.question))
    changes: dict[str, Callable[[str, random.Random], str | None]] = {
        "number changed": _other_number,
        "unit changed": lambda text, draw: _replaced(text, _UNITS[language], draw),
        "negation added": lambda text, draw: _replaced(text, _NEGATIONS[language], draw),
        "opposite": lambda text, draw: _turned(text, language, draw),
        "names exchanged": lambda text, draw: _exchanged(text, language, draw),
    }
    for kind, change in changes.items():
        draw = random.Random(f"{seed}/{kind}")
        for fact in sentences:
            changed = change(fact.sentence, draw)
            if changed is not None and changed != fact.sentence:
                made.append(Claim(kind, changed, fact.passage, fact.cluster, None, fact.question))
    made += _other_names(sentences, language, random.Random(f"{seed}/names"))
    draw = random.Random(f"{seed}/passages")
    for fact in sentences:
        others = [other for other in sentences if other.passage != fact.passage and other.cluster == fact.cluster]
        if others:
            made.append(
                Claim("other passage", fact.sentence, draw.choice(others).passage, fact.cluster, None, fact.question)
            )
    return [*made, *_answered(known, language, random.Random(f"{seed}/answers"))]


def _answered(known: Sequence[Fact], language: str, draw: random.Random) -> Iterator[Claim]:
    """Questions with their own answer, and with one to another question about the same passage, alike in form."""
    for fact in known:
        if (text := _statement(fact.question, fact.answer, language)) is None:
            continue
        yield Claim("answer", text, fact.passage, fact.cluster, fact.span, fact.question)
        rivals = [
            other.answer
            for other in known
            if other.passage == fact.passage
            and _is_numeric(other.answer) == _is_numeric(fact.answer)
            and not _overlap(other.answer, fact.answer)
            and other.answer.casefold() not in fact.question.casefold()
        ]
        if rivals:
            wrong = _statement(fact.question, draw.choice(rivals), language)
            assert wrong is not None
            yield Claim("answer exchanged", wrong, fact.passage, fact.cluster, None, fact.question)


def _statement(question: str, answer: str, language: str) -> str | None:
    bare = question.strip().rstrip("?？ ")
    word = _QUESTION_WORDS[language].search(bare)
    if word is None:
        return None
    said, rest = answer.strip(".。"), bare[word.end() :]
    # The answer may bring the unit that the question names already.
    for length in range(len(said) - 1, 0, -1):
        if rest.lstrip().startswith(said[length:].strip()) and said[length:].strip():
            said = said[:length].rstrip()
            break
    return f"{bare[: word.start()]}{said}{rest}{_END[language]}"


def _is_numeric(text: str) -> bool:
    return any(sign.isdigit() for sign in text)


def _overlap(one: str, other: str) -> bool:
    one, other = one.casefold(), other.casefold()
    shared = set(re.findall(r"\w\w+", one)) & set(re.findall(r"\w\w+", other))
    return bool(shared) or one in other or other in one


def _shortened(sentence: str) -> str | None:
    """The sentence up to a comma in its second half, where at least six words or twelve signs stand before it."""
    if sentence.startswith("|"):
        return None
    half = len(sentence) // 2
    cut = next((half + match.start() for match in re.finditer(r",(?=\s)|，", sentence[half:])), None)
    if cut is None or (len(sentence[:cut].split()) < 6 and len(re.findall("[\u4e00-\u9fff]", sentence[:cut])) < 12):
        return None
    return sentence[:cut] + ("。" if "，" in sentence else ".")


def _other_number(text: str, draw: random.Random) -> str | None:
    found = list(_NUMBER.finditer(text))
    if not found:
        return None
    number = draw.choice(found)
    digits = [at for at, sign in enumerate(number[0]) if sign.isdigit()]
    at = draw.choice(digits)
    other = draw.choice([digit for digit in "123456789" if digit != number[0][at]])
    changed = number[0][:at] + other + number[0][at + 1 :]
    return text[: number.start()] + changed + text[number.end() :]


def _replaced(text: str, rules: Sequence[tuple[str, str]], draw: random.Random) -> str | None:
    found = [(match, new) for old, new in rules for match in re.finditer(old, text)]
    if not found:
        return None
    match, new = draw.choice(found)
    return text[: match.start()] + match.expand(new) + text[match.end() :]


def _turned(text: str, language: str, draw: random.Random) -> str | None:
    edge = "" if language == "zh" else r"\b"
    pairs = [pair for one, other in _OPPOSITES[language] for pair in ((one, other), (other, one))]
    return _replaced(text, [(f"{edge}{one}{edge}", other) for one, other in pairs], draw)


def _exchanged(text: str, language: str, draw: random.Random) -> str | None:
    """Two names in each other's place, where no list makes their order indifferent."""
    names = list(_NAMES[language].finditer(text))
    pairs = [
        (one, other)
        for one, other in itertools.pairwise(names)
        if one[0] != other[0] and _APART.fullmatch(text, one.end(), other.start())
    ]
    if not pairs:
        return None
    one, other = draw.choice(pairs)
    return text[: one.start()] + other[0] + text[one.end() : other.start()] + one[0] + text[other.end() :]


def _other_names(sentences: Sequence[Fact], language: str, draw: random.Random) -> Iterator[Claim]:
    """A name replaced by one that stands in another passage of the cluster and not in this sentence."""
    names = {fact: sorted({match[0] for match in _NAMES[language].finditer(fact.sentence)}) for fact in sentences}
    for fact in sentences:
        others = [
            name
            for other in sentences
            if other.cluster == fact.cluster and other.passage != fact.passage
            for name in names[other]
            if not any(word.casefold() in fact.sentence.casefold() for word in name.split())
        ]
        if names[fact] and others:
            changed = fact.sentence.replace(draw.choice(names[fact]), draw.choice(others))
            yield Claim("name changed", changed, fact.passage, fact.cluster, None, fact.question)
