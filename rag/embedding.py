"""Texts to unit vectors with sentence-transformers. Knows nothing of chunks, catalogs or indexes."""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer
from transformers.utils import logging

from rag.config import EmbeddingSettings
from rag.errors import ModelError
from rag.interfaces import Vectors
from rag.models import weights_hash

_QUERIES_KEPT = 1024
# More tokens than this in a batch, padding included, leave a CPU's caches: 1024 embedded 55 chunks/s where batches
# of 32 embedded 40 and batches of 64 embedded 30 (MiniLM, two cores, 20 to 230 tokens). A GPU wants large batches.
_CPU_TOKENS_PER_BATCH = 1024


class SentenceTransformerEmbedder:
    """A folder that sentence-transformers can load. Thread-safe.

    Prefixes are those of the settings; where a setting is empty, the model's own prompt, if it ships one.
    Documents that don't fit the window are refused: cutting them is the chunker's work. A query that doesn't fit is
    embedded in parts, whose mean is its vector.
    """

    def __init__(self, folder: Path, settings: EmbeddingSettings, model_reference: str) -> None:
        self._batch_size = settings.batch_size
        self._model_reference = model_reference
        bars_were_on = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            self._model = SentenceTransformer(str(folder), device=settings.device, local_files_only=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelError(f"{model_reference} ({folder}) cannot be loaded as an embedding model: {error}") from error
        finally:
            if bars_were_on:
                logging.enable_progress_bar()  # type: ignore[no-untyped-call]
        self._model.eval()
        backend = getattr(self._model.tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise ModelError(f"{model_reference} has no fast tokenizer (tokenizer.json); lengths could not be checked")
        # Its own copy: the model's sets truncation and padding at every call, and must not do so under our feet.
        self._tokenizer = Tokenizer.from_str(backend.to_str())
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        prompts = self._model.prompts
        self._query_prefix = settings.query_prefix or prompts.get("query") or ""
        self._document_prefix = settings.document_prefix or prompts.get("document") or ""
        self._lowercase = bool(getattr(self._model[0], "do_lower_case", False))
        limits = [self._model.max_seq_length, self._model.tokenizer.model_max_length]
        self._max_tokens = min(int(limit) for limit in limits if limit)
        # With less the model would cut at its own limit, with more at ours; they are one number.
        self._model.max_seq_length = self._max_tokens
        dimension = self._model.get_embedding_dimension()
        assert dimension is not None
        self._dimension = dimension
        self._fingerprint = self._make_fingerprint(folder)
        self._forward_lock = Lock()
        self._queries: OrderedDict[str, Vectors] = OrderedDict()
        self._queries_lock = Lock()

    @property
    def model(self) -> str:
        return self._model_reference

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    @property
    def dimension(self) -> int:
        return self._dimension

    @property
    def max_tokens(self) -> int:
        return self._max_tokens

    def count_tokens(self, text: str) -> int:
        return self._counts([self._document_prefix + text])[0]

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """As the protocol says; a text longer than the window is a ``ValueError``."""
        return self._embed([self._document_prefix + text for text in texts])

    def embed_query(self, text: str) -> Vectors:
        with self._queries_lock:
            known = self._queries.get(text)
            if known is not None:
                self._queries.move_to_end(text)
                return known
        parts = list(self._parts(text))
        vector = self._embed([self._query_prefix + part for part in parts]).mean(axis=0)
        vector = np.asarray(vector / np.linalg.norm(vector), np.float32)
        vector.flags.writeable = False  # it is shared with whoever asks the same again
        with self._queries_lock:
            self._queries[text] = vector
            if len(self._queries) > _QUERIES_KEPT:
                self._queries.popitem(last=False)
        return vector

    def _embed(self, texts: Sequence[str]) -> Vectors:
        vectors = np.zeros((len(texts), self._dimension), np.float32)
        counts = self._counts(texts)
        for index, count in enumerate(counts):
            if count > self._max_tokens:
                raise ValueError(
                    f"text {index} has {count} tokens but {self._model_reference} reads {self._max_tokens}: "
                    f"{texts[index][:60]!r}"
                )
        budget = _CPU_TOKENS_PER_BATCH if self._model.device.type == "cpu" else None
        for rows in batches(counts, self._batch_size, budget):
            # One forward at a time: two would share the cores and be slower than one after the other.
            with self._forward_lock, torch.inference_mode():
                features = self._model.preprocess([texts[row] for row in rows])
                mask = features.get("attention_mask")
                assert mask is None or mask.sum(dim=1).tolist() == [counts[row] for row in rows], "a text was cut"
                features = {
                    name: value.to(self._model.device) if isinstance(value, torch.Tensor) else value
                    for name, value in features.items()
                }
                embedded = self._model(features)["sentence_embedding"].float().cpu().numpy()
            vectors[rows] = embedded / np.linalg.norm(embedded, axis=1, keepdims=True)
        assert np.isfinite(vectors).all(), "the model gave a vector that is no direction"
        return vectors

    def _counts(self, texts: Sequence[str]) -> list[int]:
        if self._lowercase:
            texts = [text.lower() for text in texts]
        return [len(encoding.ids) for encoding in self._tokenizer.encode_batch_fast(list(texts))]

    def _parts(self, query: str) -> Iterator[str]:
        """The query whole where it fits, else halved at a space near the middle until every part does."""
        if self._counts([self._query_prefix + query])[0] <= self._max_tokens or len(query) < 2:
            yield query
            return
        middle = len(query) // 2
        space = query.rfind(" ", middle // 2, middle + 1)
        cut = space + 1 if space >= 0 else middle
        yield from self._parts(query[:cut])
        yield from self._parts(query[cut:])

    def _make_fingerprint(self, folder: Path) -> str:
        modules = [str(module) for module in list(self._model)[1:]]
        parts = [
            weights_hash(folder),
            hashlib.sha256(self._tokenizer.to_str().encode()).hexdigest(),
            modules,
            self._lowercase,
            self._max_tokens,
            self._query_prefix,
            self._document_prefix,
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def batches(counts: Sequence[int], batch_size: int, token_budget: int | None) -> Iterator[list[int]]:
    """Indices into ``counts``, longest first, so that little is padded and what fills the memory comes first.

    A batch has at most ``batch_size`` texts and, padded, at most ``token_budget`` tokens; a longer text is alone.
    """
    rows = sorted(range(len(counts)), key=lambda row: -counts[row])
    start = 0
    while start < len(rows):
        size = batch_size
        if token_budget is not None:
            size = max(1, min(size, token_budget // max(1, counts[rows[start]])))
        yield rows[start : start + size]
        start += size
