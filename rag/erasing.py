"""Erase a document: from answers at once, from conversations, index files and the catalog's free pages on return.

Knows what it erased; what lies outside the home (backups, the file itself) and what was learned from it (adapters) is
for the caller to name.
"""

from dataclasses import dataclass
from pathlib import Path

from rag.catalog import Catalog
from rag.index.generations import collection_folder, current_name, remove_old
from rag.index.publishing import rebuild
from rag.preparing import UPLOADED
from rag.types import Collection, DocumentInfo


@dataclass(frozen=True, slots=True)
class Erasure:
    """What was erased. ``complete`` is false where another process kept old pages of the catalog's log alive.

    ``location`` is where the file lies, ``None`` for an upload; ``turns`` of conversations lost all but their question.
    """

    document: DocumentInfo
    location: Path | None
    turns: int
    complete: bool


def erase(home: Path, catalog: Catalog, collection: Collection, id_or_source: str) -> Erasure:
    """Erase a document, what is attached to it, earlier versions, vectors that no other text shares, and its answers.

    ``CatalogError`` while an ingest runs on the collection, ``NotFoundError`` for a document that is not there. The
    indexes are made anew, for an index only marks what is deleted; nothing is parsed or embedded. A run that was cut
    off is finished by `domainqa reindex`.
    """
    with catalog.writer_lock(collection):
        info = catalog.document_info(collection, id_or_source)
        known = catalog.known_sources(collection)
        location = known[info.source].location
        attached = [
            each.document_id
            for each in known.values()
            if each.location == location and each.source.startswith(f"{info.source}/")
        ]
        catalog.remove_document(collection, info.id)
        turns = sum(map(catalog.purge_conversation_evidence, (info.id, *attached)))
        rebuild(home, catalog, collection)
        folder = collection_folder(home, collection.id)
        current = current_name(folder)
        # Readers that still open the generation before it load the current one instead.
        remove_old(folder, keep=set() if current is None else {current})
        complete = catalog.compact()
    return Erasure(info, None if location.startswith(UPLOADED) else Path(location), turns, complete)
