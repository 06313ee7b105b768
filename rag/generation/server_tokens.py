"""Counting the tokens of a model that lies on a server: by asking it, or by a guess that says that it is one."""

import hashlib
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from threading import Lock

from rag.types import Message

_KEPT = 4096

Tokenize = Callable[[Mapping[str, object]], int]
"""Sends the body of a request to `/tokenize` and returns the count."""


class ServerTokenCounter:
    """Counts with vLLM's `POST /tokenize`: exact, one round trip a text, the last texts remembered. Thread-safe.

    Blocks while it asks, so call it off the event loop.
    """

    exact = True

    def __init__(self, model: str, tokenize: Tokenize) -> None:
        self._model = model
        self._tokenize = tokenize
        self._counts: OrderedDict[str, int] = OrderedDict()
        self._lock = Lock()
        self.fingerprint = hashlib.sha256(f"server {model}".encode()).hexdigest()[:16]
        """Of the model's name alone: a server does not tell which tokenizer it has."""

    def count_text(self, text: str) -> int:
        with self._lock:
            if text in self._counts:
                self._counts.move_to_end(text)
                return self._counts[text]
        count = self._tokenize({"model": self._model, "prompt": text, "add_special_tokens": False})
        with self._lock:
            self._counts[text] = count
            if len(self._counts) > _KEPT:
                self._counts.popitem(last=False)
        return count

    def count_messages(self, messages: Sequence[Message]) -> int:
        chat = [{"role": message.role, "content": message.content} for message in messages]
        return self._tokenize({"model": self._model, "messages": chat, "add_generation_prompt": True})


class ApproximateTokenCounter:
    """For servers that neither count nor have a tokenizer on this disk: too many rather than too few.

    A token for every three bytes of UTF-8, which is more than today's tokenizers need for prose in Latin, Cyrillic
    or CJK script, and eight for a message's frame.
    """

    exact = False
    fingerprint = "approximate-3-bytes"

    def count_text(self, text: str) -> int:
        return math.ceil(len(text.encode("utf-8", "surrogatepass")) / 3)

    def count_messages(self, messages: Sequence[Message]) -> int:
        return sum(self.count_text(message.content) + 8 for message in messages) + 8
