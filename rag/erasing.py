"""Erase a document: from answers at once, from the index files and from the catalog's free pages before it returns.

Knows what it erased; what lies outside the home (backups, the file itself) and what was learned from it (adapters) is
for the caller to name.
"""

from dataclasses import dataclass
from pathlib import Path

from rag.catalog import Catalog
from rag.index.generations import collection_folder, current_name, remove_old
from rag.index.publishing import rebuild
from rag.types import Collection, DocumentInfo


@dataclass(frozen=True, slots=True)
class Erasure:
    """What was erased. ``complete`` is false where another process kept old pages of the catalog's log alive."""

    document: DocumentInfo
    location: Path
    complete: bool


def erase(home: Path, catalog: Catalog, collection: Collection, id_or_source: str) -> Erasure:
    """Erase a document with what is attached to it, its earlier versions, and vectors that no other text shares.

    ``CatalogError`` while an ingest runs on the collection, ``NotFoundError`` for a document that is not there. The
    indexes are made anew, for an index only marks what is deleted; nothing is parsed or embedded. A run that was cut
    off is finished by `domainqa reindex`.
    """
    with catalog.writer_lock(collection):
        info = catalog.document_info(collection, id_or_source)
        location = catalog.known_sources(collection)[info.source].location
        catalog.remove_document(collection, info.id)
        rebuild(home, catalog, collection)
        folder = collection_folder(home, collection.id)
        current = current_name(folder)
        # Readers that still open the generation before it load the current one instead.
        remove_old(folder, keep=set() if current is None else {current})
        complete = catalog.compact()
    return Erasure(info, Path(location), complete)
