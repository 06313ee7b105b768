"""A retriever whose first hits a reranker places anew. Knows nothing of how the reranker judges.

How many are judged is a setting apart from how many are asked for, so asking for more never reorders the first ones.
"""

import time
from collections.abc import Sequence
from dataclasses import replace

from rag.errors import UsageError
from rag.interfaces import Reranker, Retriever
from rag.languages import is_text
from rag.types import FusedPlace, Hit, embedded_text


class RerankingRetriever:
    """The hits of another retriever: the first ``depth`` by the reranker's score, those behind in their order."""

    def __init__(self, retriever: Retriever, reranker: Reranker, depth: int) -> None:
        self._retriever = retriever
        self._reranker = reranker
        self._depth = depth

    def retrieve(self, query: str, top_k: int) -> list[Hit]:
        """See ``Retriever``. Equal scores keep the fused order."""
        return self.retrieve_in_steps(query, top_k)[0]

    def retrieve_in_steps(self, query: str, top_k: int) -> tuple[list[Hit], dict[str, float]]:
        if not is_text(query):
            raise UsageError(f"the query {query!r} is not valid Unicode text")
        start = time.perf_counter()
        hits = self._retriever.retrieve(query, max(self._depth, top_k))
        found = time.perf_counter()
        placed = self._placed(query, hits)[:top_k]
        return placed, {"retrieval": found - start, "reranking": time.perf_counter() - found}

    def term_weights(self, query: str) -> dict[str, float]:
        return self._retriever.term_weights(query)

    def _placed(self, query: str, hits: Sequence[Hit]) -> list[Hit]:
        told = [replace(hit, fused=FusedPlace(rank, hit.score)) for rank, hit in enumerate(hits, start=1)]
        judged, rest = told[: self._depth], told[self._depth :]
        texts = [f"{hit.chunk.title}\n{embedded_text(hit.chunk.context, hit.chunk.text)}" for hit in judged]
        scores = self._reranker.scores(query, texts)
        assert len(scores) == len(judged), "a reranker gives a score for each text"
        scored = [
            replace(hit, score=float(score), score_name="reranked") for hit, score in zip(judged, scores, strict=True)
        ]
        return [*sorted(scored, key=lambda hit: -hit.score), *rest]
