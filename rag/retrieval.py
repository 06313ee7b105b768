"""Query to hits: two channels, one fusion, every hit checked against the catalog. Knows nothing of prompts.

Neither the candidates of a channel nor their scores depend on ``top_k``, so asking for more never reorders the first
ones. What one channel found is scored by the other, too: a channel whose scores are all alike then adds the same to all
and has no say.
"""

from collections.abc import Collection as AnyOf
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from rag.analysis import query_terms
from rag.catalog import Catalog
from rag.config import RetrievalSettings
from rag.documents.languages import detect_language
from rag.errors import UsageError
from rag.index.snapshot import Snapshot
from rag.interfaces import Embedder
from rag.languages import is_text, language_by_script
from rag.matching import inverse_document_frequency
from rag.types import ChannelScore, Hit, ScoredRow

_ROWS_PER_LOOK = 16
"""At least so many candidates are looked up at a time, in case some are no longer visible."""


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel's own candidates, best first, and its score for those of the other channel that it can score."""

    ranking: Sequence[ScoredRow]
    others: Mapping[int, float]

    def scores(self) -> dict[int, float]:
        return {item.row: item.score for item in self.ranking} | dict(self.others)

    def ranks(self) -> dict[int, int]:
        return {item.row: rank for rank, item in enumerate(self.ranking, start=1)}


Parts = Mapping[str, Mapping[int, float]]
"""By channel and row: what the channel adds to the row's fused score."""


def sum_parts(channels: Mapping[str, Channel], bm25_per_cosine: float) -> Parts:
    """The cosine, and the BM25 score in its unit.

    Both grow like the logarithm of the odds that the passage is relevant (BM25 by its derivation, Robertson and
    Zaragoza 2009; the cosine by the softmax that the embedder was trained with), so they add.
    """
    units = {"lexical": bm25_per_cosine}
    return {
        name: {row: score / units.get(name, 1.0) for row, score in channel.scores().items()}
        for name, channel in channels.items()
    }


def reciprocal_rank_parts(channels: Mapping[str, Channel], k: int) -> Parts:
    """1/(k + rank), ranks from 1 (Cormack, Clarke and Büttcher 2009); nothing for the other channel's candidates."""
    return {
        name: {row: 1.0 / (k + rank) for row, rank in channel.ranks().items()} for name, channel in channels.items()
    }


def fuse(parts: Parts) -> dict[int, float]:
    fused: dict[int, float] = {}
    for scores in parts.values():
        for row, score in scores.items():
            fused[row] = fused.get(row, 0.0) + score
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
        return self.fused_hits(self.search(query, snapshot), top_k, snapshot.seq)

    def term_weights(self, query: str) -> dict[str, float]:
        snapshot = self._snapshots.current()
        count = len(snapshot.lexical)
        frequencies = {
            term: snapshot.lexical.document_frequency(term) for term in query_terms(query, snapshot.languages)
        }
        return {term: inverse_document_frequency(n, count) for term, n in frequencies.items()}

    def reads(self, query: str) -> bool:
        """Whether the embedder was trained on the query's language. Else its cosines are noise, as large as any.

        The documents' languages don't matter: English questions to Chinese documents rank better by all-MiniLM-L6-v2,
        which was not trained on Chinese, than by words, and best by both (nDCG@10 .317, .167 and .361 on XQuAD).
        """
        known = self._embedder_languages
        by_script = language_by_script(query)
        if not known or by_script in known:
            return True
        detected = detect_language(query)
        # Too few letters to tell: in Latin script they may be of any of the known languages.
        return detected in known if detected is not None else by_script == "en"

    def search(self, query: str, snapshot: Snapshot) -> dict[str, Channel]:
        """The candidates of each channel that has a say, scored by all of these."""
        fusion, limit = self._settings.fusion, self._settings.candidates
        dense = fusion != "lexical" and self.reads(query)
        lexical = fusion != "dense" or not dense
        terms = query_terms(query, snapshot.languages) if lexical else []
        by_terms = snapshot.lexical.search(terms, limit) if lexical else []
        if not dense:
            return {"lexical": Channel(by_terms, {})}
        vector = self._embedder.embed_query(query)
        by_vector = snapshot.dense.search(vector, limit)
        if not lexical:
            return {"dense": Channel(by_vector, {})}
        term_rows, vector_rows = {item.row for item in by_terms}, {item.row for item in by_vector}
        scored = snapshot.lexical.scores(terms, vector_rows - term_rows)
        with_terms = {item.row: item.score for item in by_terms} | scored
        beyond_words = self._beyond_words(query, by_vector, with_terms, snapshot.languages)
        return {
            "dense": Channel(by_vector, snapshot.dense.scores(vector, term_rows - vector_rows)),
            "lexical": Channel(by_terms, scored | beyond_words),
        }

    def _beyond_words(
        self, query: str, by_vector: Sequence[ScoredRow], scored: Mapping[int, float], languages: AnyOf[str | None]
    ) -> dict[int, float]:
        """The mean BM25 score of the dense candidates in the question's language, for those in another one.

        Only for rows without any of its terms: their language keeps them from having one, so that says nothing.
        """
        by_script = language_by_script(query)
        asked = by_script if by_script != "en" else detect_language(query) or by_script
        if not set(languages) - {asked, None}:
            return {}
        rows = [item.row for item in by_vector]
        of_row = self._catalog.chunk_languages(self._collection_id, rows)
        same = [scored.get(row, 0.0) for row in rows if of_row.get(row) in (asked, None)]
        if not same:
            return {}
        mean = sum(same) / len(same)
        return {row: mean for row in rows if row not in scored and of_row.get(row) not in (asked, None)}

    def fused_hits(self, channels: Mapping[str, Channel], top_k: int, seq: int) -> list[Hit]:
        """The best candidates that are visible at ``seq``."""
        parts = (
            reciprocal_rank_parts(channels, self._settings.rrf_k)
            if self._settings.fusion == "rrf"
            else sum_parts(channels, self._settings.bm25_per_cosine)
        )
        fused = fuse(parts)
        best = sorted(fused, key=lambda row: (-fused[row], row))
        scores = {name: channel.scores() for name, channel in channels.items()}
        ranks = {name: channel.ranks() for name, channel in channels.items()}
        hits: list[Hit] = []
        while best and len(hits) < top_k:
            some = best[: max(top_k - len(hits), _ROWS_PER_LOOK)]
            best = best[len(some) :]
            chunks = self._catalog.chunks(self._collection_id, some, seq)
            for row in some:
                if row in chunks:
                    places = {
                        name: ChannelScore(ranks[name].get(row), scores[name][row], part.get(row, 0.0))
                        for name, part in parts.items()
                        if row in scores[name]
                    }
                    hits.append(Hit(chunks[row], fused[row], places))
        return hits[:top_k]
