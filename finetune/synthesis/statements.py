"""Questions from plain sentences and from ``key: value`` lines.

A few sure patterns a language. A sentence that fits none gives nothing: what cannot be turned by rule without guessing
at grammar is left to a model.
"""

import re
from collections.abc import Iterator, Mapping
from types import ModuleType

from finetune.synthesis import chinese, english, russian, wordings
from finetune.synthesis.found import Asked, Found, inside_sentence, names_in
from rag.matching import identifiers
from rag.sentences import is_table_row, sentence_spans
from rag.types import Document

_GRAMMARS: Mapping[str, ModuleType] = {"en": english, "ru": russian, "zh": chinese}
_LONGEST_SENTENCE = 240
_SHORTEST_VALUE, _LONGEST_VALUE = 2, 120
_MOST_KEY_WORDS = 5
_KEY_VALUE = re.compile(r"(?:[-*•–+] |\d{1,2}[.)] )?(?P<k>[^\W\d_][^:：|;.!?。]{1,48}?) ?(?:: |：)(?P<v>\S.{1,400})$")
_FIRST_SENTENCE = re.compile(r"(?<=[.;])\s+|(?<=[。；])")
_CODE_KEY = re.compile(r"(?:code|fault|error|step|rule|note|код|ошибка|代码|故障代码)\b", re.IGNORECASE)
_ADDRESS = re.compile(r"\w+://|@")
_CODE = {"en": "What does {key} mean?", "ru": "Что означает {key}?", "zh": "{key} 是什么意思？"}
_KEY = {"en": "What is said under {key}?", "ru": "Что указано под «{key}»?", "zh": "关于{key}，文件怎么说？"}


def from_statements(document: Document, language: str) -> Iterator[Found]:
    grammar = _GRAMMARS[language]
    names = names_in(document.text)
    for start, end in sentence_spans(document.text, document.language):
        quote = document.text[start:end]
        if is_table_row(quote) or quote.startswith("#") or len(quote) > _LONGEST_SENTENCE:
            continue
        sentence = " ".join(quote.split())
        asked: Asked | None = (
            _key_value(sentence, language, names) or grammar.ask(sentence, names) or grammar.define(sentence, names)
        )
        if asked is None:
            continue
        question = asked.question
        if not wordings.names_a_thing(question):
            question = wordings.according_to(language, document.title, question)
        yield Found(asked.kind, (question,), asked.answer, start, end, f"{asked.kind}/{asked.about.casefold()}")


def _key_value(sentence: str, language: str, names: frozenset[str]) -> Asked | None:
    match = _KEY_VALUE.match(sentence)
    if match is None or len(match["k"].split()) > _MOST_KEY_WORDS or _ADDRESS.search(match["k"]):
        return None
    key, value = match["k"], _FIRST_SENTENCE.split(match["v"])[0].rstrip(".;。；")
    if any(grammar.unsure(text) for grammar in _GRAMMARS.values() for text in (key, value)):
        return None
    if not _SHORTEST_VALUE <= len(value) <= _LONGEST_VALUE or _ADDRESS.search(value):
        return None
    template = _CODE if _CODE_KEY.match(key) or identifiers(key) else _KEY
    return Asked("key-value", template[language].format(key=inside_sentence(key, names)), value, key)
