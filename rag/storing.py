"""Chunked documents into the catalog: batches filled across documents, each distinct text embedded once.

Texts are gathered over a window and sorted by length. Vectors are kept as soon as they are made, documents as soon as
all their vectors are: a crash loses the vectors of one call to the embedder at most. Knows nothing of files or indexes.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock

import numpy as np

from rag.catalog import Catalog, NewVersion, text_hash
from rag.errors import ModelError
from rag.interfaces import Embedder, Vectors
from rag.types import Collection, embedded_text

_BATCHES_PER_WINDOW = 32
# The embedder cuts what it is given into batches by tokens, and ends on a small one each time: give it several at once.
_BATCHES_PER_CALL = 4


class Stopwatch:
    """Wall seconds by step, summed over threads."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._lock = Lock()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            passed = time.perf_counter() - started
            with self._lock:
                self.seconds[name] = self.seconds.get(name, 0.0) + passed


class DocumentWriter:
    """Takes documents one by one and stores them a window at a time.

    ``embedded`` is told the number of texts after each batch, ``stored`` each document once it is safe.
    """

    def __init__(
        self,
        catalog: Catalog,
        collection: Collection,
        embedder: Embedder,
        batch_size: int,
        stopwatch: Stopwatch,
        embedded: Callable[[int], None],
        stored: Callable[[NewVersion], None],
    ) -> None:
        self._catalog = catalog
        self._collection = collection
        self._embedder = embedder
        self._batch_size = batch_size
        self._stopwatch = stopwatch
        self._embedded = embedded
        self._stored = stored
        self._waiting: list[NewVersion] = []
        self._texts: dict[bytes, str] = {}

    def add(self, new: NewVersion) -> None:
        """Take a document in; store it and those before it once their new texts fill the window."""
        texts = {text_hash(chunk): embedded_text(chunk.context, chunk.text) for chunk in new.chunks}
        with self._stopwatch.step("storing"):
            known = self._catalog.known_vectors(texts, self._collection.embedder)
        self._texts.update((key, text) for key, text in texts.items() if key not in known)
        self._waiting.append(new)
        if len(self._texts) >= self._batch_size * _BATCHES_PER_WINDOW:
            self.flush()

    def flush(self) -> None:
        """Embed and store all that waits."""
        self.embed(self._texts)
        self._texts = {}
        for new in self._waiting:
            with self._stopwatch.step("storing"):
                missing = self._catalog.store(self._collection, new)
            while missing:
                # The text was known when it was looked up, and its last other use has been deleted since.
                self.embed(
                    {key: embedded_text(c.context, c.text) for c in new.chunks if (key := text_hash(c)) in missing}
                )
                with self._stopwatch.step("storing"):
                    missing = self._catalog.store(self._collection, new)
            self._stored(new)
        self._waiting = []

    def embed(self, texts: dict[bytes, str]) -> None:
        """Embed the texts by descending length, so that a batch holds little padding, and keep the vectors."""
        keys = sorted(texts, key=lambda key: (-len(texts[key]), key))
        count = self._batch_size * _BATCHES_PER_CALL
        for start in range(0, len(keys), count):
            some = keys[start : start + count]
            matrix = self._embed_batch([texts[key] for key in some])
            with self._stopwatch.step("storing"):
                self._catalog.add_vectors(self._collection.embedder, some, matrix)

    def _embed_batch(self, texts: Sequence[str]) -> Vectors:
        with self._stopwatch.step("embedding"):
            matrix = self._embedder.embed_documents(texts)
        if matrix.shape != (len(texts), self._collection.dimension) or not np.isfinite(matrix).all():
            raise ModelError(
                f"{self._embedder.model} gave vectors of shape {matrix.shape} for {len(texts)} texts, or some that "
                f"are not numbers; {self._collection.dimension} dimensions were expected; choose another "
                "embedding.model or embedding.device"
            )
        self._embedded(len(texts))
        return matrix
