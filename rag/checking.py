"""Find what is wrong with a home: catalog against itself, indexes against the catalog, configuration against both.

Everything is read and nothing is changed; each finding names the command that mends it.
"""

from dataclasses import dataclass
from pathlib import Path

from rag.catalog import Catalog
from rag.errors import CatalogError, IndexStateError, NotFoundError
from rag.index.snapshot import IndexReader, check_embedder
from rag.interfaces import Embedder
from rag.types import Collection, StoredChunk

_RESTORE = "domainqa restore FILE --force"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, in a sentence, and the command that mends it."""

    collection: str | None
    """``None`` where it concerns the whole home."""
    what: str
    command: str
    harmless: bool = False
    """Nothing is lost or wrong for readers; work is left over."""


def check(home: Path, catalog: Catalog, embedder: Embedder | None = None) -> list[Finding]:
    """All findings of every tenant's collections, none in a sound home. With ``embedder``, theirs must be that one.

    Takes a pass over all stored text and index files.
    """
    try:
        findings = [Finding(None, f"the catalog is damaged: {what}", _RESTORE) for what in catalog.damage()]
        if findings:
            return findings  # what else would be found follows from that
        for (table, missing), count in catalog.orphans().items():
            mending = "domainqa reindex" if missing in ("documents", "collections") else _RESTORE
            findings.append(Finding(None, f"{count} rows of {table} belong to no row of {missing}", mending))
        collections = catalog.all_collections()
    except CatalogError as error:
        return [Finding(None, str(error), _RESTORE)]
    for collection in collections:
        findings += _check_vectors(catalog, collection)
        findings += _check_chunks(catalog, collection)
        findings += _check_index(home, catalog, collection, embedder)
    return findings


def _check_vectors(catalog: Catalog, collection: Collection) -> list[Finding]:
    missing = len(catalog.texts_without_vector(collection))
    if not missing:
        return []
    what = f"{missing} texts have no vector by {collection.embedding_model} ({collection.embedder})"
    return [Finding(collection.name, what, _reindex(collection))]


def _check_chunks(catalog: Catalog, collection: Collection) -> list[Finding]:
    findings = []
    seq = catalog.last_seq(collection.id)
    for info in catalog.documents(collection):
        try:
            text = catalog.document(collection, info.id).text
        except NotFoundError:  # removed since it was listed
            continue
        chunks = catalog.document_chunks(collection.id, info.id, seq)
        wrong = [chunk for chunk in chunks if chunk.version == info.version and not _is_verbatim(chunk, text)]
        if wrong:
            what = (
                f"{len(wrong)} of {len(chunks)} chunks of {info.source} are not the document's text at their place "
                f"(the first one is {wrong[0].start}-{wrong[0].end})"
            )
            command = f"domainqa documents remove {info.id} --collection {collection.name}, then ingest it again"
            findings.append(Finding(collection.name, what, command))
    return findings


def _is_verbatim(chunk: StoredChunk, text: str) -> bool:
    return text[chunk.start : chunk.end] == chunk.text


def _check_index(home: Path, catalog: Catalog, collection: Collection, embedder: Embedder | None) -> list[Finding]:
    findings = []
    try:
        check_embedder(collection, embedder)
    except IndexStateError as error:
        findings.append(Finding(collection.name, str(error), _reindex(collection)))
    last_seq = catalog.last_seq(collection.id)
    published = catalog.published_seq(collection.id)
    if published < last_seq:
        what = f"changes {published + 1} to {last_seq} are stored but not published: an ingest runs, or was cut off"
        findings.append(Finding(collection.name, what, _reindex(collection), harmless=True))
    try:
        snapshot = IndexReader(home, catalog, collection).current()
    except IndexStateError as error:
        findings.append(Finding(collection.name, str(error), _reindex(collection)))
        return findings
    wanted = set(catalog.rows_for_index(collection.id, {snapshot.seq}).tolist())
    absent = len(wanted.difference(snapshot.dense.rows.tolist()))
    if absent:
        what = f"{absent} of {len(wanted)} published chunks are not in the index"
        findings.append(Finding(collection.name, what, _reindex(collection)))
    return findings


def _reindex(collection: Collection) -> str:
    return f"domainqa reindex --collection {collection.name}"
