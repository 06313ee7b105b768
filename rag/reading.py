"""The documents behind a question's hits, each read from the catalog once. Lives as long as the question."""

from rag.catalog import Catalog
from rag.types import Document, Evidence, Page, StoredChunk

_REACH = 3
"""Chunks on each side of a found one that may be its neighbours."""


class Reader:
    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._documents: dict[tuple[str, str], Document] = {}
        self._chunks: dict[str, list[StoredChunk]] = {}

    def document(self, document_id: str, version: str) -> Document:
        key = (document_id, version)
        if key not in self._documents:
            self._documents[key] = self._catalog.document_version(document_id, version)
        return self._documents[key]

    def span(self, document_id: str, version: str, start: int, end: int) -> str:
        """The verbatim text there."""
        return self.document(document_id, version).text[start:end]

    def page(self, passage: Evidence, offset: int) -> Page | None:
        """The page of the passage's document at the offset."""
        pages = self.document(passage.document_id, passage.version).pages
        return next((page for page in pages if page.start <= offset < page.end), None)

    def beside(self, collection_id: int, chunk: StoredChunk) -> list[StoredChunk]:
        """The chunks of the same section within reach, the nearest first, what follows before what precedes."""
        if chunk.document_id not in self._chunks:
            seq = self._catalog.published_seq(collection_id)
            self._chunks[chunk.document_id] = self._catalog.document_chunks(collection_id, chunk.document_id, seq)
        chunks = self._chunks[chunk.document_id]
        at = next((index for index, other in enumerate(chunks) if other.id == chunk.id), None)
        if at is None:
            return []
        places = [place for step in range(1, _REACH + 1) for place in (at + step, at - step)]
        near = [chunks[place] for place in places if 0 <= place < len(chunks)]
        return [other for other in near if other.heading_path == chunk.heading_path]
