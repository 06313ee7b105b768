"""OpenAI's chat request to a ``Question``: what is supported, what is harmless, what is refused by name.

A field that we would have to ignore against the client's will is refused, so that nobody believes it had
an effect. Fields at the value that changes nothing are accepted, for clients send them without being asked.
"""

from collections.abc import Mapping

from rag.question import Question
from rag.types import Message
from service.api.errors import RequestError
from service.api.schemas import ChatMessage, ChatRequest

NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "n": (1,),
    "top_p": (1,),
    "stop": ([], ""),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
    "reasoning_effort": (),
    "verbosity": (),
    "moderation": (),
    "store": (False,),
    "service_tier": ("auto", "default"),
    # Of vLLM and the like, whose clients send them along.
    "top_k": (-1, 0),
    "min_p": (0,),
    "repetition_penalty": (1,),
    "ignore_eos": (False,),
}
"""Fields of OpenAI's and others' requests that we don't support, and the values besides null that ask for nothing."""

HARMLESS = frozenset(
    {"user", "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options"}
)
"""Labels for the client's own books, and hints: they promise no effect on the answer."""

NOT_IN_MESSAGES = ("tool_calls", "function_call", "audio")

MAX_SHOWN = 60
"""Characters of a client's word that an error repeats."""


def question_of(request: ChatRequest) -> Question:
    """The question that the request asks. Raises ``RequestError`` naming the field that is not supported."""
    _check_extras(request.model_extra or {})
    texts = [_text(message, index) for index, message in enumerate(request.messages)]
    if request.messages[-1].role != "user":
        raise RequestError(
            f"the last message must be the user's question; its role is {request.messages[-1].role!r}",
            f"messages[{len(texts) - 1}].role",
        )
    if not texts[-1].strip():
        raise RequestError("the question is empty", f"messages[{len(texts) - 1}].content")
    instructions: list[str] = []
    history: list[Message] = []
    for message, text in zip(request.messages[:-1], texts[:-1], strict=True):
        if message.role in ("system", "developer"):
            instructions.append(text)
        else:
            history.append(Message("user" if message.role == "user" else "assistant", text))
    return Question(
        text=texts[-1],
        collection=request.collection,
        strategy=request.model,
        history=tuple(history),
        instructions="\n\n".join(instructions) or None,
        max_tokens=_max_tokens(request),
        temperature=request.temperature,
        seed=request.seed,
    )


def _check_extras(extras: Mapping[str, object]) -> None:
    for name, value in extras.items():
        if name in HARMLESS or value is None:
            continue
        if name not in NEUTRAL:
            raise RequestError(f"there is no field {_shown(name)}", _shown(name), "unknown_parameter")
        if not any(_same(value, allowed) for allowed in NEUTRAL[name]):
            raise RequestError(_unsupported(name), name, "unsupported_parameter")


def _unsupported(name: str) -> str:
    allowed = " or ".join(repr(value) for value in NEUTRAL[name])
    return f"{name} is not supported; leave it out" + (f" or send {allowed}" if allowed else "")


def _same(value: object, allowed: object) -> bool:
    """Equality as JSON has it: ``true`` is not ``1``."""
    return value == allowed and isinstance(value, bool) == isinstance(allowed, bool)


def _max_tokens(request: ChatRequest) -> int | None:
    given = {value for value in (request.max_tokens, request.max_completion_tokens) if value is not None}
    if len(given) > 1:
        raise RequestError(
            f"max_tokens is {request.max_tokens} but max_completion_tokens is {request.max_completion_tokens};"
            " send one of them",
            "max_tokens",
        )
    return next(iter(given), None)


def _text(message: ChatMessage, index: int) -> str:
    where = f"messages[{index}]"
    for name in NOT_IN_MESSAGES:
        if (message.model_extra or {}).get(name):
            raise RequestError(f"{where}.{name} is not supported", f"{where}.{name}", "unsupported_parameter")
    if message.content is None:
        raise RequestError(f"{where}.content: a text is required", f"{where}.content")
    if isinstance(message.content, str):
        return message.content
    texts = []
    for number, part in enumerate(message.content):
        place = f"{where}.content[{number}]"
        if part.type != "text":
            raise RequestError(
                f"{place}.type {_shown(part.type)} is not supported; only text parts are",
                f"{place}.type",
                "unsupported_parameter",
            )
        if part.text is None:
            raise RequestError(f"{place}.text: a text is required", f"{place}.text")
        texts.append(part.text)
    return "\n".join(texts)


def _shown(word: str) -> str:
    return word if len(word) <= MAX_SHOWN else word[: MAX_SHOWN - 1] + "…"
