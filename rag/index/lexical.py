"""BM25 with Tantivy over terms that our own analyzer made. Knows rows and terms; not documents or visibility.

An index is a folder of files that are written once; only its ``meta.json`` is replaced. A new generation
may therefore begin as hard links to the files of the one before.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tantivy
from numpy.typing import NDArray

from rag.analysis import analyze
from rag.index.ties import best_rows
from rag.types import ScoredRow

Batch = tuple[NDArray[np.int64], Sequence[str], Sequence[str | None]]
"""Rows with their texts and the languages of these."""

_TOKENIZER = "terms"
_PADDING = "\ue000"
"""A private-use character, which the analyzer never makes a term of."""
_PADDING_TERMS = 128
# About a passage's own length more for every text, so that a heading alone is not preferred to a passage for being
# short. Tantivy's b is fixed at .75; over texts of 110 terms this makes it .35, near the .4 that is common elsewhere.
# nDCG@10 of the fusion without and with it: .740 and .746 on SciFact's train claims, .874 and .880 on the sample
# corpus's English questions (dev).
_WRITER_HEAP_BYTES = 64_000_000


class LexicalIndex:
    """One generation, opened. Searches may run side by side and see the state of ``open`` or the last ``write``."""

    def __init__(self, index: tantivy.Index) -> None:
        index.register_tokenizer(_TOKENIZER, tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.whitespace()).build())
        # Reloading by itself would start a thread that watches files which never change here.
        index.config_reader("manual")
        self._index = index
        self._schema = index.schema
        self._searcher = index.searcher()

    @classmethod
    def create(cls, folder: Path | None) -> "LexicalIndex":
        """Make an empty index in an empty folder, or in memory."""
        schema = (
            tantivy.SchemaBuilder()
            .add_unsigned_field("row", indexed=True, fast=True)
            .add_text_field("terms", tokenizer_name=_TOKENIZER, index_option="freq")
            .build()
        )
        return cls(tantivy.Index(schema, path=None if folder is None else str(folder), reuse=False))

    @classmethod
    def open(cls, folder: Path) -> "LexicalIndex":
        """Open the index in a folder; ``ValueError`` where Tantivy cannot."""
        return cls(tantivy.Index.open(str(folder)))

    def __len__(self) -> int:
        return int(self._searcher.num_docs)

    def write(self, added: Iterable[Batch], removed: NDArray[np.int64]) -> None:
        """Remove rows, add batches, and commit; all of it or nothing. ``OSError`` where the disk takes it not."""
        # One thread, so that the same rows always make the same segments.
        padding = [_PADDING] * _PADDING_TERMS
        with _disk_errors():
            writer = self._index.writer(heap_size=_WRITER_HEAP_BYTES, num_threads=1)
        if len(removed):
            # By query: deletion by term takes a number for a signed one, and finds nothing in an unsigned field.
            rows_query = tantivy.Query.term_set_query(self._schema, "row", removed.tolist())
            writer.delete_documents_by_query(rows_query)
        for rows, texts, languages in added:
            for row, text, language in zip(rows.tolist(), texts, languages, strict=True):
                document = tantivy.Document()
                document.add_unsigned("row", row)
                document.add_text("terms", " ".join([*analyze(text, language), *padding]))
                with _disk_errors():
                    writer.add_document(document)
        with _disk_errors():
            writer.commit()
            writer.wait_merging_threads()
            self._index.reload()
        self._searcher = self._index.searcher()

    def document_frequency(self, term: str) -> int:
        """In how many rows the term stands; rows that were removed lately may still count."""
        return int(self._searcher.doc_freq("terms", term))

    def search(self, terms: Sequence[str], limit: int) -> list[ScoredRow]:
        """The best ``limit`` rows that hold any of the terms, best first, equal scores by ascending row.

        The query is built of terms and never parsed, so no character in them means anything.
        """
        query = self._any_of(terms)
        searcher = self._searcher

        def fetch(count: int) -> list[ScoredRow]:
            return _scored(searcher, query, count)

        return best_rows(fetch, limit, len(self))

    def scores(self, terms: Sequence[str], rows: Collection[int]) -> dict[int, float]:
        """What a search for the terms gives each of the rows; those that hold none of the terms are left out."""
        if not rows:
            return {}
        among = tantivy.Query.const_score_query(tantivy.Query.term_set_query(self._schema, "row", list(rows)), 0.0)
        query = tantivy.Query.boolean_query(
            [(tantivy.Occur.Must, among), (tantivy.Occur.Must, self._any_of(terms))],
        )
        return {item.row: item.score for item in _scored(self._searcher, query, len(rows))}

    def _any_of(self, terms: Sequence[str]) -> tantivy.Query:
        return tantivy.Query.boolean_query(
            [
                (tantivy.Occur.Should, tantivy.Query.term_query(self._schema, "terms", term, "freq"))
                for term in dict.fromkeys(terms)
                if term != _PADDING
            ]
        )


def _scored(searcher: tantivy.Searcher, query: tantivy.Query, limit: int) -> list[ScoredRow]:
    hits = searcher.search(query, limit, count=False).hits
    values = searcher.fast_field_values("row", [address for _, address in hits])
    rows = [value for value in values if isinstance(value, int)]
    return [ScoredRow(row, score) for (score, _), row in zip(hits, rows, strict=True)]


@contextmanager
def _disk_errors() -> Iterator[None]:
    """Tantivy says all that goes wrong as ``ValueError``; of writing what we made, only the disk can be the cause."""
    try:
        yield
    except ValueError as error:
        raise OSError(f"Tantivy: {error}") from error
