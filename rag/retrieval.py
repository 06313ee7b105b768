"""Query to hits: two channels, one fusion, every hit checked against the catalog. Knows nothing of prompts.

The number of candidates per channel does not depend on ``top_k``, so asking for more never reorders the first ones.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from rag.analysis import query_terms
from rag.catalog import Catalog
from rag.config import RetrievalSettings
from rag.errors import UsageError
from rag.index.snapshot import Snapshot
from rag.interfaces import Embedder
from rag.languages import is_text, language_by_script
from rag.matching import inverse_document_frequency
from rag.types import ChannelScore, Hit, ScoredRow

Ranking = Sequence[ScoredRow]
"""A channel's rows, best first."""


def normalised(ranking: Ranking) -> dict[int, float]:
    """Min-max over the candidates: the best gets 1, the worst 0; equal scores, which say nothing, all get 1."""
    if not ranking:
        return {}
    low, high = min(item.score for item in ranking), max(item.score for item in ranking)
    if high == low:
        return {item.row: 1.0 for item in ranking}
    return {item.row: (item.score - low) / (high - low) for item in ranking}


def fuse_convex(rankings: Mapping[str, Ranking], weights: Mapping[str, float]) -> dict[int, float]:
    """Weighted sum of normalised scores, 0 where a channel did not return a row (Bruch et al. 2023, TOIS 42:20)."""
    fused: dict[int, float] = {}
    for channel, ranking in rankings.items():
        for row, score in normalised(ranking).items():
            fused[row] = fused.get(row, 0.0) + weights[channel] * score
    return fused


def fuse_reciprocal_rank(rankings: Mapping[str, Ranking], weights: Mapping[str, float], k: int) -> dict[int, float]:
    """Sum of 1/(k + rank), ranks from 1 (Cormack, Clarke and Büttcher 2009). A channel of weight 0 has no say."""
    fused: dict[int, float] = {}
    for channel, ranking in rankings.items():
        if weights[channel] > 0:
            for rank, item in enumerate(ranking, start=1):
                fused[item.row] = fused.get(item.row, 0.0) + 1.0 / (k + rank)
    return fused


class SnapshotSource(Protocol):
    def current(self) -> Snapshot:
        """The indexes at the newest published number."""
        ...


class HybridRetriever:
    """Dense and lexical channels of one collection."""

    def __init__(
        self,
        catalog: Catalog,
        collection_id: int,
        snapshots: SnapshotSource,
        embedder: Embedder,
        settings: RetrievalSettings,
        embedder_languages: Sequence[str] = (),
    ) -> None:
        self._catalog = catalog
        self._collection_id = collection_id
        self._snapshots = snapshots
        self._embedder = embedder
        self._settings = settings
        self._embedder_languages = frozenset(embedder_languages)

    def retrieve(self, query: str, top_k: int) -> list[Hit]:
        """See ``Retriever``; ties go to the lower row. An empty collection gives no hits."""
        if not is_text(query):
            raise UsageError(f"the query {query!r} is not valid Unicode text")
        snapshot = self._snapshots.current()
        weights = self.weights(query)
        searches: dict[str, Callable[[], list[ScoredRow]]] = {
            "dense": lambda: snapshot.dense.search(self._embedder.embed_query(query), self._settings.candidates),
            "lexical": lambda: snapshot.lexical.search(
                query_terms(query, snapshot.languages), self._settings.candidates
            ),
        }
        rankings = {channel: search() for channel, search in searches.items() if weights[channel] > 0}
        return self.fused_hits(rankings, weights, top_k, snapshot.seq)

    def term_weights(self, query: str) -> dict[str, float]:
        snapshot = self._snapshots.current()
        count = len(snapshot.lexical)
        frequencies = {
            term: snapshot.lexical.document_frequency(term) for term in query_terms(query, snapshot.languages)
        }
        return {term: inverse_document_frequency(n, count) for term, n in frequencies.items()}

    def weights(self, query: str) -> dict[str, float]:
        """Weights by channel. An embedder that was not trained on the query's language has no say in it."""
        reads = not self._embedder_languages or language_by_script(query) in self._embedder_languages
        dense = self._settings.dense_weight if reads else 0.0
        return {"dense": dense, "lexical": 1.0 - dense}

    def fused_hits(
        self, rankings: Mapping[str, Ranking], weights: Mapping[str, float], top_k: int, seq: int
    ) -> list[Hit]:
        """Rankings to hits visible at ``seq``."""
        rows = {item.row for ranking in rankings.values() for item in ranking}
        visible = self._catalog.visible_rows(self._collection_id, rows, seq)
        live = {channel: [item for item in ranking if item.row in visible] for channel, ranking in rankings.items()}
        if self._settings.fusion == "rrf":
            fused = fuse_reciprocal_rank(live, weights, self._settings.rrf_k)
        else:
            fused = fuse_convex(live, weights)
        best = sorted(fused, key=lambda row: (-fused[row], row))[:top_k]
        chunks = self._catalog.chunks(self._collection_id, best, seq)
        places = {channel: _places(ranking) for channel, ranking in live.items()}
        return [
            Hit(chunks[row], fused[row], {name: place[row] for name, place in places.items() if row in place})
            for row in best
            if row in chunks
        ]


def _places(ranking: Ranking) -> dict[int, ChannelScore]:
    scores = normalised(ranking)
    return {item.row: ChannelScore(rank, item.score, scores[item.row]) for rank, item in enumerate(ranking, start=1)}
