"""Test doubles, predictable by hand. They ship beside the real parts so that users can test their own code.

``FakeEmbedder`` puts texts that share words near each other; ``ScriptedModel`` replies from a script and
remembers what it was asked; ``WordCounter`` counts words as tokens.
"""

import re
import zlib
from collections.abc import AsyncGenerator, Callable, Sequence

import numpy as np

from rag.errors import DomainQAError
from rag.interfaces import Vectors
from rag.types import Generated, Message, Sampling, Usage


class FakeEmbedder:
    """Bag of words hashed into ``dimension`` buckets: a shared word raises the cosine."""

    model = "fake-embedder"
    fingerprint = "fake-embedder-1"

    def __init__(self, dimension: int = 64, max_tokens: int = 64) -> None:
        self.dimension = dimension
        self.max_tokens = max_tokens
        self.embedded: list[str] = []
        """Every document text ever embedded, in order: shows what was done twice."""

    def count_tokens(self, text: str) -> int:
        return len(_words(text)) + 2

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        self.embedded.extend(texts)
        return np.stack([self._vector(text) for text in texts]) if texts else np.zeros((0, self.dimension), np.float32)

    def embed_query(self, text: str) -> Vectors:
        return self._vector(text)

    def _vector(self, text: str) -> Vectors:
        vector = np.zeros(self.dimension, np.float32)
        for word in _words(text.casefold()):
            vector[zlib.crc32(word.encode()) % self.dimension] += 1
        norm = float(np.linalg.norm(vector))
        if norm == 0:
            vector[0] = norm = 1.0
        return np.asarray(vector / norm, np.float32)


class WordCounter:
    """A word or a sign is a token; a message costs two more for its frame, the generation prompt one."""

    def count_text(self, text: str) -> int:
        return len(_words(text))

    def count_messages(self, messages: Sequence[Message]) -> int:
        return sum(self.count_text(message.content) + 2 for message in messages) + 1


Reply = str | DomainQAError | Callable[[Sequence[Message]], str]


class ScriptedModel:
    """Gives its replies in order, the last one for ever; an error in the script is raised.

    ``pieces`` is how many characters come at a time. ``asked`` holds every prompt and ``samplings`` how,
    ``closed`` counts streams that were closed before their end.
    """

    def __init__(self, *replies: Reply, window: int = 4096, pieces: int = 5, name: str = "scripted") -> None:
        self.name = name
        self.window = window
        self.tokens = WordCounter()
        self.asked: list[tuple[Message, ...]] = []
        self.adapters: list[str | None] = []
        self.samplings: list[Sampling] = []
        self.closed = 0
        self._replies = replies or ("",)
        self._pieces = pieces

    async def stream(
        self, messages: Sequence[Message], sampling: Sampling, adapter: str | None = None
    ) -> AsyncGenerator[Generated, None]:
        reply = self._replies[min(len(self.asked), len(self._replies) - 1)]
        self.asked.append(tuple(messages))
        self.adapters.append(adapter)
        self.samplings.append(sampling)
        if isinstance(reply, DomainQAError):
            raise reply
        text = reply if isinstance(reply, str) else reply(messages)
        try:
            for start in range(0, len(text), self._pieces):
                yield Generated(text[start : start + self._pieces])
            usage = Usage(self.tokens.count_messages(messages), self.tokens.count_text(text))
            yield Generated("", "stop", usage)
        except GeneratorExit:
            self.closed += 1
            raise

    async def aclose(self) -> None:
        """Nothing to release."""


def _words(text: str) -> list[str]:
    return re.findall(r"\w+|[^\w\s]", text)
