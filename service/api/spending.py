"""Tokens per minute of a key: a question reserves what it may cost, and at its end pays what it did.

One that its client left, or that failed on its way, pays what it reserved: hanging up in time is not free.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from rag.config import Settings
from rag.errors import EngineBusyError, EngineUnavailableError, UsageError
from rag.question import Question
from rag.types import Message, Turn, Usage
from service.api.buckets import Buckets
from service.api.errors import RateLimitError
from service.api.identity import Principal
from service.api.metrics import Metrics

_CHARACTERS_PER_TOKEN = 4


class Bill:
    def __init__(self) -> None:
        self.begun = False
        """Whether work on it has begun; a question that was refused pays nothing."""
        self.usage: Usage | None = None


class Spending:
    def __init__(self, buckets: Buckets, settings: Settings, metrics: Metrics) -> None:
        self._buckets = buckets
        self._settings = settings
        self._metrics = metrics

    @contextmanager
    def paying(self, caller: Principal, question: Question, strategy: str) -> Iterator[Bill]:
        """Raises ``RateLimitError`` while the key has no tokens left."""
        bill = Bill()
        per_minute = caller.tokens_per_minute
        if caller.key_id is None or per_minute is None or strategy == "extractive":
            yield bill
            return
        reserved = self._most(question, strategy)
        wait_s = self._buckets.take(caller.key_id, "tokens", per_minute, reserved, 1)
        if wait_s:
            self._metrics.limited("tokens")
            raise RateLimitError("tokens", per_minute, wait_s)
        try:
            yield bill
        except (UsageError, EngineBusyError, EngineUnavailableError):
            bill.begun = False  # nobody read it
            raise
        finally:
            spent = reserved if bill.begun else 0
            if bill.usage is not None:
                spent = bill.usage.prompt_tokens + bill.usage.completion_tokens
            self._buckets.settle(caller.key_id, "tokens", spent - reserved)

    def _most(self, question: Question, strategy: str) -> int:
        """About what it may cost; its text is counted when the model has read it."""
        texts = [question.text, question.instructions or "", *(_text(turn) for turn in question.history)]
        written = question.max_tokens or self._settings.generation.max_answer_tokens
        evidence = 0 if strategy == "base" else self._settings.packing.max_evidence_tokens
        return written + evidence + sum(map(len, texts)) // _CHARACTERS_PER_TOKEN


def _text(earlier: Turn | Message) -> str:
    return earlier.content if isinstance(earlier, Message) else earlier.user + earlier.assistant
