"""The seams: protocols with their contracts. Two implementations earn one; the fakes count."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rag.types import Adapter, Evidence, Generated, Hit, Message, Page, Sampling

Vectors = NDArray[np.float32]
PageOf = Callable[[Evidence, int], Page | None]
"""(passage, document offset) to the page there."""


class Embedder(Protocol):
    """Texts to unit vectors. Queries and documents are different methods because prefixes differ per model."""

    @property
    def model(self) -> str:
        """The model reference as configured."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes whenever the same text could get another vector: weights, prefixes, pooling, window."""
        ...

    @property
    def dimension(self) -> int: ...

    @property
    def max_tokens(self) -> int:
        """The window, special tokens included. A longer text would lose its tail silently."""
        ...

    def count_tokens(self, text: str) -> int:
        """Tokens of the document text as the model would read it: prefix and special tokens included."""
        ...

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """Shape (len(texts), dimension), float32, rows of norm 1, in the order given."""
        ...

    def embed_query(self, text: str) -> Vectors:
        """Shape (dimension,), float32, norm 1."""
        ...


class Retriever(Protocol):
    def retrieve(self, query: str, top_k: int) -> list[Hit]:
        """The best ``top_k`` hits, best first. A larger ``top_k`` never changes the order of the first ones."""
        ...

    def term_weights(self, query: str) -> dict[str, float]:
        """The query's terms by how rare they are in the collection (BM25's idf); the analyzer's terms, any language."""
        ...


@runtime_checkable
class RetrievesInSteps(Protocol):
    """A ``Retriever`` that tells how long its steps took."""

    def retrieve_in_steps(self, query: str, top_k: int) -> tuple[list[Hit], Mapping[str, float]]:
        """What ``retrieve`` gives, and the seconds of each step."""
        ...


class Reranker(Protocol):
    """Judges texts by reading each together with the query."""

    def scores(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """One score for each text, in their order, in [0, 1], higher is better. A score depends on its text alone."""
        ...


class Entailment(Protocol):
    """A model of natural language inference."""

    def entails(self, premises: Sequence[str], claim: str) -> list[bool]:
        """For each premise, whether the claim follows from it alone; in the order given."""
        ...


class TokenCounter(Protocol):
    """Counts in the served model's own tokens."""

    def count_text(self, text: str) -> int:
        """Tokens of the bare text, without template or special tokens."""
        ...

    def count_messages(self, messages: Sequence[Message]) -> int:
        """Tokens of the rendered chat template, generation prompt included."""
        ...


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a model server is: its address (``http://host:port/v1``), and its key, which no ``repr`` shows."""

    base_url: str
    key: str | None = field(default=None, repr=False)


class ModelServer(Protocol):
    """A model server that may come, go and come back elsewhere. Both methods are quick: they ask no server."""

    def endpoint(self) -> Endpoint:
        """Where it is now. Raises ``EngineUnavailableError`` while it can't be asked, saying why."""
        ...

    def state(self) -> str:
        """``ok``, or in words why it can't be asked: ``starting, 34 s``."""
        ...


class PromptReader(Protocol):
    """What a prompt must be made for: a model's window and its tokens, whether or not it can be asked."""

    @property
    def name(self) -> str: ...

    @property
    def window(self) -> int:
        """Prompt and answer together fit in this many tokens."""
        ...

    @property
    def tokens(self) -> TokenCounter: ...


class ChatModel(PromptReader, Protocol):
    """A served model. Implementations raise the ``EngineError`` family only."""

    def stream(
        self, messages: Sequence[Message], sampling: Sampling, adapter: str | None = None
    ) -> AsyncGenerator[Generated, None]:
        """Yield pieces as they come; the last one has ``finish_reason`` and ``usage``.

        Closing the iterator stops the generation. Nothing is retried once a piece was yielded.
        """
        ...

    async def aclose(self) -> None:
        """Release threads and connections."""
        ...


@runtime_checkable
class AnswersWhole(Protocol):
    """A ``ChatModel`` that can be asked for an answer in one piece, which costs its server less than a stream."""

    async def complete(self, messages: Sequence[Message], sampling: Sampling, adapter: str | None = None) -> Generated:
        """The whole text with ``finish_reason`` and ``usage``. Cancelling stops the generation."""
        ...


class AdapterSource(Protocol):
    """Adapters that come and go while we run, known by name, or by a label that stands for one of them."""

    def names(self) -> Sequence[str]:
        """What can be asked for now, names and labels, sorted."""
        ...

    def find(self, reference: str) -> Adapter | None:
        """The adapter that a name or label stands for, ready to be asked; ``None`` for one that nobody knows.

        May take a while: the adapter is checked, and loaded by an engine that must load it. Raises ``ModelError``
        with the reason for one that doesn't fit, the ``EngineError`` family where the engine fails.
        """
        ...
