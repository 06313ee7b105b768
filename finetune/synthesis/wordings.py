"""How a question about a table's cell is worded, in three languages. Other languages have no wordings, so no questions.

Which wordings a fact gets depends on the fact alone, so that the same documents give the same questions.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence

from rag.matching import identifiers

LANGUAGES = ("en", "ru", "zh")

_PLAIN: Mapping[str, Sequence[str]] = {
    "en": (
        "What is the {column} of {key}?",
        "Which {column} does {key} have?",
        "What does the documentation give as the {column} of {key}?",
        "I need the {column} of {key}.",
        "{key}: what is its {column}?",
        "Please tell me the {column} for {key}.",
        "What {column} is listed for {key}?",
    ),
    "ru": (
        "Какое значение «{column}» указано для {key}?",
        "Назовите показатель «{column}» для {key}.",
        "Что указано в графе «{column}» для {key}?",
        "{key}: каков показатель «{column}»?",
        "Подскажите «{column}» для позиции {key}.",
    ),
    "zh": (
        "{key} 的{column}是多少？",
        "请告诉我 {key} 的{column}。",
        "{key} 对应的{column}是什么？",
        "资料中 {key} 的{column}写的是什么？",
        "查一下 {key} 的{column}。",
    ),
}
# What people ask where a column has one of these words: they seldom name the column.
_KNOWN: Mapping[str, Sequence[tuple[str, Sequence[str]]]] = {
    "en": (
        (r"mass|weight", ("How much does {key} weigh?", "How heavy is {key}?")),
        (r"price|fee|amount", ("How much is charged for {key}?", "What does {key} cost?")),
        (r"lead time|delivery time", ("How long does it take to get {key}?", "How long must one wait for {key}?")),
        (
            r"max(?:\.|imum)? temperature",
            ("How hot may it get for {key}?", "What temperature does {key} bear at most?"),
        ),
        (r"max(?:\.|imum)? pressure", ("What pressure does {key} withstand?", "How far may the pressure of {key} go?")),
        (r"meaning|description", ("What does {key} stand for?", "What does {key} mean?")),
        (r"remedy|action", ("What is to be done about {key}?", "How is {key} put right?")),
        (r"interval", ("How often is it due for {key}?", "At what {column} is {key} due?")),
        (r"torque", ("How tight is {key} made?", "With what torque is {key} tightened?")),
        (r"^(?:delay)", ("After what delay does {key} come?", "How long is the delay for {key}?")),
        (r"stock|pieces", ("How many pieces are there of {key}?", "How many of {key} are kept?")),
        (r"^name$|^title$", ("What is {key} called?", "What is the name of {key}?")),
    ),
    "ru": (
        (r"масса|вес", ("Сколько весит {key}?", "Каков вес {key}?")),
        (r"цена|стоимость", ("Сколько стоит {key}?", "По какой цене идёт {key}?")),
        (r"давлени", ("Какое давление выдерживает {key}?", "На какое давление рассчитан {key}?")),
        (r"температур", ("Какая температура указана для {key}?", "До какой температуры годится {key}?")),
        (r"материал", ("Из чего сделан {key}?", "Из какого материала выполнен {key}?")),
        (r"назван|наименован|назначен", ("Что такое {key}?", "Что обозначает {key}?")),
    ),
    "zh": (
        (r"重量|质量|净重", ("{key} 有多重？", "{key} 重多少？")),
        (r"价格|费用", ("{key} 要多少钱？", "买 {key} 需要花多少钱？")),
        (r"力矩", ("{key} 要拧到多大力矩？", "{key} 的紧固力矩取多少？")),
        (r"时长|天数", ("{key} 要多长时间？", "{key} 持续多久？")),
        (r"含义|意思", ("{key} 表示什么？", "{key} 是什么意思？")),
        (r"处理|措施", ("出现 {key} 该怎么办？", "{key} 要怎样处理？")),
    ),
}
_REVERSE: Mapping[str, Sequence[str]] = {
    "en": (
        "For which {kind} is the {column} {value}?",
        "For which {kind} is {value} given as the {column}?",
        "The {column} is {value}: which {kind} is it?",
    ),
    "ru": (
        "У какой позиции ({kind}) показатель «{column}» равен {value}?",
        "Для чего ({kind}) в графе «{column}» стоит {value}?",
    ),
    "zh": ("哪个{kind}的{column}是 {value}？", "{column}为 {value} 的{kind}是哪一个？"),
}
_LARGEST: Mapping[str, Sequence[str]] = {
    "en": ("Which {kind} has the largest {column}?", "What {kind} comes first by {column}?"),
    "ru": ("У какой позиции ({kind}) самый большой показатель «{column}»?", "Что ({kind}) первое по «{column}»?"),
    "zh": ("{column}最大的{kind}是哪一个？", "哪个{kind}的{column}最大？"),
}
_SMALLEST: Mapping[str, Sequence[str]] = {
    "en": ("Which {kind} has the smallest {column}?", "What {kind} comes last by {column}?"),
    "ru": ("У какой позиции ({kind}) самый маленький показатель «{column}»?", "Что ({kind}) последнее по «{column}»?"),
    "zh": ("{column}最小的{kind}是哪一个？", "哪个{kind}的{column}最小？"),
}
_VALUE_OF: Mapping[str, Sequence[str]] = {
    "en": ("What is given for {key}?", "What value applies to {key}?", "What is the value of {key}?"),
    "ru": ("Что указано для позиции «{key}»?", "Какое значение имеет «{key}»?"),
    "zh": ("{key}是多少？", "{key}的数值是什么？"),
}
_ACCORDING: Mapping[str, str] = {
    "en": 'According to "{title}", {question}',
    "ru": "По документу «{title}»: {question}",
    "zh": "根据《{title}》，{question}",
}
_QUESTION_WORDS = "what which how please for the at with after within to from until by in".split()  # noqa: SIM905
_SHORTEST_NAME = 4
_VALUE_COLUMNS = ("value", "limit", "значение", "величина", "数值", "值")
_WITH_UNIT = re.compile(r"^(?P<name>.*\S)\s*[(（](?P<unit>[^()（）]{1,24})[)）]$")


def split_unit(column: str) -> tuple[str, str | None]:
    """``Mass (kg)`` is ``Mass`` in ``kg``."""
    match = _WITH_UNIT.match(column)
    return (match["name"], match["unit"]) if match else (column, None)


def spoken(name: str) -> str:
    """A column's name inside a sentence: an ordinary first word loses its capital."""
    first = name.split()[0] if name.split() else ""
    return name[0].lower() + name[1:] if len(first) > 1 and first[1:].islower() else name


def lookups(language: str, key: str, column: str, count: int) -> list[str]:
    """``count`` questions for the cell of ``key`` in ``column``; fewer where there are no more wordings."""
    key = _with_article(key) if language == "en" else key
    if column.casefold() in _VALUE_COLUMNS:
        return _some(_VALUE_OF[language], count, key=key, column=column)
    known = [
        wording
        for pattern, wordings in _KNOWN[language]
        if re.search(pattern, column.casefold())
        for wording in wordings
    ]
    # What people say first, the column's own name in every second question.
    chosen_known = _order(known, key + column)
    chosen_plain = _order(_PLAIN[language], key + column)
    mixed: list[str] = []
    while (chosen_known or chosen_plain) and len(mixed) < count:
        for pool in (chosen_plain, chosen_known):
            if pool and len(mixed) < count:
                mixed.append(pool.pop(0))
    asked = [wording.format(key=key, column=spoken(column)) for wording in mixed]
    return [question[0].upper() + question[1:] for question in asked]


def reverse(language: str, kind: str, column: str, value: str, count: int) -> list[str]:
    return _some(_REVERSE[language], count, kind=spoken(kind), column=spoken(column), value=value)


def extremes(language: str, kind: str, column: str, count: int, *, largest: bool) -> list[str]:
    wordings = (_LARGEST if largest else _SMALLEST)[language]
    return _some(wordings, count, kind=spoken(kind), column=spoken(column))


def names_a_thing(text: str) -> bool:
    """Whether it holds a part number or a model: ``ZP-65`` is one, ``M6`` and code ``C4`` are in many documents."""
    return any(len(name) >= _SHORTEST_NAME for name in identifiers(text))


def according_to(language: str, title: str, question: str) -> str:
    """The question with the document named, for one that would fit many documents."""
    if language == "en" and question.split()[0].casefold().strip(",") in _QUESTION_WORDS:
        question = question[0].lower() + question[1:]
    return _ACCORDING[language].format(title=title, question=question)


def _with_article(key: str) -> str:
    """``the intake filter``; part numbers and names of one word have none."""
    ordinary = len(key.split()) > 1 and not identifiers(key) and key[:4].casefold() != "the "
    return f"the {spoken(key)}" if ordinary else key


def _some(wordings: Sequence[str], count: int, **parts: str) -> list[str]:
    ordered = _order(wordings, "".join(parts.values()))
    return [wording.format(**parts) for wording in ordered[:count]]


def _order(wordings: Sequence[str], seed: str) -> list[str]:
    return sorted(wordings, key=lambda wording: hashlib.sha256(f"{seed}\0{wording}".encode()).digest())
