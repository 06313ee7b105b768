"""A follow-up to a question that stands alone: by rules, or by the served model. Knows nothing of retrieval.

The rules: a question that names something itself (a part number, a code) is left as it is. Any other one is asked
together with the questions before it, back to the last one that names something: "And its weight?" is about what was
asked before. Where none names anything the one before is enough: older ones pull towards what the talk has left. The
model writes JSON that its server holds to a schema; where it can't, or where the text loses or invents a name, the
rules stand in and the result says why.
"""

import json
from collections.abc import Sequence
from contextlib import aclosing

from rag import prompting
from rag.errors import EngineError, NotSupportedError, UsageError
from rag.interfaces import ChatModel
from rag.matching import identifiers
from rag.types import FinishReason, Message, Rewriting, Sampling, Turn, Usage

_QUESTIONS_BACK = 3
_MAX_TOKENS = 96
_LONGEST_QUERY = 500
_LONGEST_REPLY = 600

SCHEMA = {
    "type": "object",
    "properties": {"question": {"type": "string"}},
    "required": ["question"],
    "additionalProperties": False,
}
_RULES = (
    "You rewrite the last question of a conversation so that it can be understood without the conversation.\n"
    "Replace words like it, they or there by what they stand for. Keep names, numbers and part codes exactly as they "
    "are written, and the language of the question. Do not answer it.\n"
    'Reply with JSON: {"question": "..."}'
)


def standalone(question: str, history: Sequence[Turn | Message]) -> str:
    """By the rules. The question itself when there is no history."""
    if identifiers(question):
        return question
    earlier = _questions(history)[-_QUESTIONS_BACK:]
    named = (place for place in reversed(range(len(earlier))) if identifiers(earlier[place]))
    return " ".join([*earlier[next(named, -1) :], question])


def by_rules(question: str, history: Sequence[Turn | Message], note: str | None = None) -> Rewriting:
    return Rewriting(standalone(question, history), "rules" if history else "question", note)


class ModelRewriter:
    """Asks the model, and remembers a server that can't hold text to a schema: it is asked once."""

    def __init__(self) -> None:
        self._refusal: str | None = None

    async def rewrite(self, model: ChatModel, question: str, history: Sequence[Turn | Message]) -> Rewriting:
        """Raises nothing of the engine's: what fails here falls back to the rules."""
        if not history:
            return by_rules(question, history)
        if self._refusal is not None:
            return by_rules(question, history, self._refusal)
        try:
            text, reason, usage = await _reply(model, question, history)
        except NotSupportedError as error:
            self._refusal = f"no schema is held to here: {error}"
            return by_rules(question, history, self._refusal)
        except (EngineError, UsageError) as error:
            return by_rules(question, history, f"the model could not be asked: {error}")
        query = _query_in(text)
        if query is None and reason == "stop":
            # Text held to a schema is whole JSON unless it was cut: this server took the schema and ignored it.
            self._refusal = f"{model.name} ignores the schema it is given"
            note: str | None = self._refusal
        elif query is None:
            note = f"the model's rewriting was cut at {_MAX_TOKENS} tokens"
        else:
            note = _fault(query, question, history)
        if query is None or note is not None:
            return Rewriting(standalone(question, history), "rules", note, usage)
        return Rewriting(query, "model", None, usage)


async def _reply(model: ChatModel, question: str, history: Sequence[Turn | Message]) -> tuple[str, FinishReason, Usage]:
    text = ""
    reason: FinishReason = "stop"
    usage = Usage()
    sampling = Sampling(_MAX_TOKENS, json_schema=SCHEMA)
    async with aclosing(model.stream(rewriting_prompt(question, history), sampling)) as pieces:
        async for piece in pieces:
            text += piece.text
            reason = piece.finish_reason or reason
            usage = piece.usage or usage
    return text, reason, usage


def rewriting_prompt(question: str, history: Sequence[Turn | Message]) -> tuple[Message, ...]:
    """The conversation as one message of data, its last exchanges only, without the passages that were shown."""
    lines: list[str] = []
    for item in history:
        if isinstance(item, Turn):
            lines += [f"User: {item.question}", f"Assistant: {item.assistant[:_LONGEST_REPLY]}"]
        else:
            lines.append(f"{item.role.capitalize()}: {item.content[:_LONGEST_REPLY]}")
    talk = "\n".join(lines[-2 * _QUESTIONS_BACK :])
    content = prompting.user_content(f"{talk}\n\nThe last question, to be rewritten: {question}", ())
    return (Message("system", _RULES), Message("user", content))


def _query_in(text: str) -> str | None:
    """The question in the model's JSON; ``None`` where it is no such JSON."""
    try:
        parsed = json.loads(text)
    except ValueError:
        return None
    query = parsed.get("question") if isinstance(parsed, dict) else None
    return " ".join(query.split()) if isinstance(query, str) else None


def _fault(query: str, question: str, history: Sequence[Turn | Message]) -> str | None:
    """Why the query must not be searched for; ``None`` for a good one."""
    if not query:
        return "the model's rewriting is empty"
    if len(query) > _LONGEST_QUERY:
        return f"the model's rewriting is {len(query)} characters long"
    named = identifiers(query)
    if lost := identifiers(question) - named:
        return f"the model's rewriting lost {', '.join(sorted(lost))}"
    if invented := named - identifiers(question).union(*(identifiers(text) for text in _said(history))):
        return f"the model's rewriting invented {', '.join(sorted(invented))}"
    return None


def _said(history: Sequence[Turn | Message]) -> list[str]:
    return [
        text
        for item in history
        for text in ((item.question, item.assistant) if isinstance(item, Turn) else (item.content,))
    ]


def _questions(history: Sequence[Turn | Message]) -> list[str]:
    texts = (
        item.question if isinstance(item, Turn) else item.content if item.role == "user" else "" for item in history
    )
    return [text for text in texts if text]
