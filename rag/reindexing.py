"""Mend a collection from what the catalog holds: indexes anew, missing vectors, or all vectors by another embedder.

No file is read. Chunking settings alone change nothing here; `ingest` applies them.
"""

from collections.abc import Callable
from pathlib import Path

from rag.analysis import ANALYZER_FINGERPRINT
from rag.catalog import Catalog, KnownSource, NewVersion
from rag.errors import IndexStateError
from rag.index.publishing import Publisher, rebuild
from rag.ingestion import IngestProgress
from rag.preparing import Pipeline
from rag.storing import DocumentWriter, Stopwatch
from rag.types import Collection


def reindex(
    home: Path,
    catalog: Catalog,
    collection: Collection,
    pipeline: Pipeline,
    progress: Callable[[IngestProgress], None] | None = None,
) -> int:
    """Rebuild the collection's indexes for the pipeline's embedder and this version's analyzer; the number of rows.

    With the collection's own embedder nothing is embedded but what has no vector. With another one, the stored
    texts are chunked and embedded anew, and the collection cannot be searched until that is done; a run that was
    cut off is taken up by the next. ``CatalogError`` while an ingest runs on the collection.
    """
    embedder = pipeline.embedder
    with catalog.writer_lock(collection):
        catalog.drop_orphans()
        collection = catalog.refresh(collection)
        origin = (collection.embedder, collection.dimension, collection.analyzer)
        if origin != (embedder.fingerprint, embedder.dimension, ANALYZER_FINGERPRINT):
            collection = catalog.adopt(collection, embedder)
        known = catalog.known_sources(collection).values()
        # The chunks themselves depend on the embedder: on its window and its tokens.
        stale = [each for each in known if not each.processing.endswith(f"/{embedder.fingerprint}")]
        state = _State(len(stale), progress)
        writer = DocumentWriter(
            catalog, collection, embedder, pipeline.batch_size, Stopwatch(), state.on_embedded, state.on_stored
        )
        for each in stale:
            writer.add(_again(catalog, collection, each, pipeline))
        writer.flush()
        writer.embed(catalog.texts_without_vector(collection))
        rows = rebuild(home, catalog, collection)
        catalog.drop_unused_vectors()
    return rows


def ensure_index(home: Path, catalog: Catalog, collection: Collection) -> int:
    """Make the collection's indexes from its stored vectors unless sound ones are there; the number of rows.

    Needs no embedder. ``CatalogError`` where chunks have no vector: `domainqa reindex` makes those.
    """
    with catalog.writer_lock(collection):
        try:
            return Publisher.open(home, catalog, collection).rows
        except IndexStateError:
            if collection.analyzer != ANALYZER_FINGERPRINT:
                collection = catalog.adopt(collection)
            return rebuild(home, catalog, collection)


def _again(catalog: Catalog, collection: Collection, known: KnownSource, pipeline: Pipeline) -> NewVersion:
    document = catalog.document(collection, known.document_id)
    return NewVersion(
        document=document,
        chunks=tuple(pipeline.chunker.chunk(document)),
        location=known.location,
        size_bytes=known.size_bytes,
        parser=known.parser,
        processing=pipeline.processing,
    )


class _State:
    """Counts for the progress callback."""

    def __init__(self, documents: int, progress: Callable[[IngestProgress], None] | None) -> None:
        self._documents = documents
        self._progress = progress
        self._done = 0
        self._chunks = 0
        self._source = ""

    def on_embedded(self, count: int) -> None:
        self._chunks += count
        self._report()

    def on_stored(self, new: NewVersion) -> None:
        self._done += 1
        self._source = new.document.source
        self._report()

    def _report(self) -> None:
        if self._progress is not None:
            self._progress(IngestProgress(self._done, self._documents, self._chunks, self._source))
