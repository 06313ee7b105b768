"""What a model is asked, chunk by chunk, to make questions: the prompts, and how its replies are read.

Plain lines rather than JSON: every model can write them, and a reply that lacks one is told apart at once.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rag.languages import language_by_script
from rag.types import Message, StoredChunk

_TYPES: Mapping[str, str] = {
    "fact": "asks for a name, a date, a place or a thing that the passage states",
    "quantity": "asks for a number, a limit, a time or an amount that the passage states",
    "procedure": "asks what has to be done, or how, according to the passage",
    "reason": "asks why something is so or has to be done, where the passage gives the reason",
    "condition": "asks when, or under which condition, something holds or has to be done",
}
QUESTION_TYPES = tuple(_TYPES)
_LANGUAGE_NAMES = {
    "en": "English",
    "ru": "Russian",
    "zh": "Chinese",
    "de": "German",
    "fr": "French",
    "es": "Spanish",
    "it": "Italian",
    "pt": "Portuguese",
    "ja": "Japanese",
    "ko": "Korean",
    "ar": "Arabic",
}
NONE = "NONE"
_LINE = re.compile(r"^\W*(question|answer|quote)\W*?[:：](?:\*\*)?\s*(.+?)\s*(?:\*\*)?$", re.IGNORECASE | re.MULTILINE)
_NOT_SAID = "NOT STATED"
_MIN_CHUNK_CHARACTERS = 80


@dataclass(frozen=True, slots=True)
class Ask:
    """One question of one type, in one language, to be made from one chunk."""

    chunk: StoredChunk
    type: str
    language: str

    @property
    def id(self) -> str:
        return f"{self.chunk.id}/{self.type}/{self.language}"


@dataclass(frozen=True, slots=True)
class Pair:
    """A reply that could be read: unchecked."""

    question: str
    answer: str
    quote: str


def plan(chunks: Sequence[StoredChunk], per_chunk: int, languages: Sequence[str]) -> list[Ask]:
    """``per_chunk`` types for each chunk, going round by the chunk's hash; in its own language and in ``languages``.

    The same chunks give the same plan. Chunks with next to no text are left out.
    """
    asks = []
    for chunk in chunks:
        if len(chunk.text.strip()) < _MIN_CHUNK_CHARACTERS:
            continue
        own = chunk.language or language_by_script(chunk.text)
        first = int(hashlib.sha256(chunk.text.encode("utf-8", "surrogatepass")).hexdigest()[:8], 16)
        for at in range(min(per_chunk, len(QUESTION_TYPES))):
            kind = QUESTION_TYPES[(first + at) % len(QUESTION_TYPES)]
            asks += [Ask(chunk, kind, language) for language in dict.fromkeys((own, *languages))]
    return asks


def question_prompt(ask: Ask) -> tuple[Message, ...]:
    language = _LANGUAGE_NAMES.get(ask.language, ask.language)
    system = (
        "You write questions that test whether somebody knows a document.\n"
        f"Write one question in {language} that {_TYPES[ask.type]}. It must make sense to somebody who has not seen "
        "the passage: name the product, the part or the rule, and never speak of the passage or the document.\n"
        f"Answer it in {language} in as few words as possible, and copy word for word the sentence or table row of "
        "the passage that says so.\n"
        f"Reply with three lines, QUESTION:, ANSWER: and QUOTE:, or with {NONE} where the passage gives no such "
        "question."
    )
    return Message("system", system), Message("user", _passage(ask.chunk))


def check_prompt(ask: Ask, pair: Pair) -> tuple[Message, ...]:
    """The question again with the chunk alone: whether the answer follows from it."""
    system = (
        "Answer the question from the passage alone, in as few words as possible and in the question's language. "
        f"If the passage does not answer it, reply {_NOT_SAID}."
    )
    return Message("system", system), Message("user", f"{_passage(ask.chunk)}\n\nQuestion: {pair.question}")


def read_pair(reply: str) -> Pair | None:
    """``None`` for a reply without the three lines. Of a line that stands twice the first one counts."""
    found: dict[str, str] = {}
    for match in _LINE.finditer(reply):
        found.setdefault(match[1].lower(), match[2].strip())
    if set(found) != {"question", "answer", "quote"}:
        return None
    return Pair(found["question"].strip("\"'“”«»"), found["answer"], found["quote"].strip("\"'“”«»"))


def declines(reply: str) -> bool:
    return reply.strip().strip(".").upper() == NONE


def was_not_said(reply: str) -> bool:
    return _NOT_SAID in reply.upper()


def _passage(chunk: StoredChunk) -> str:
    context = f"{chunk.context}\n" if chunk.context else ""
    return f"Document: {chunk.title}\n\nPassage:\n{context}{chunk.text}"
