"""What readers ask for: visible chunks by row, a document's chunks, and rows with vectors for building indexes.

``chunks_by_row``, ``chunk_languages`` and ``visible_rows`` run at every query, so their statements are made once, here.
"""

import json
from collections.abc import Collection as AnyOf
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, exists, not_, or_, select

from rag.catalog.schema import chunks, collections, document_versions, documents, vectors
from rag.errors import CatalogError, NotFoundError
from rag.interfaces import Vectors
from rag.types import Collection, StoredChunk, embedded_text

_ROWS_PER_STATEMENT = 10_000  # SQLite takes 32,766 parameters


def _visible_at(seq: Any) -> ColumnElement[bool]:
    return and_(chunks.c.created_seq <= seq, or_(chunks.c.retired_seq.is_(None), chunks.c.retired_seq > seq))


_visible = _visible_at(bindparam("seq"))
# The sum keeps SQLite from walking the collection's whole index instead of looking up the few rows.
_by_row = and_(
    chunks.c.row.in_(bindparam("rows", expanding=True)), chunks.c.collection_id + 0 == bindparam("collection_id")
)

_VISIBLE_ROWS = select(chunks.c.row).where(_by_row, _visible)
_STORED_CHUNKS = (
    # In the order of the fields of ``StoredChunk``.
    select(
        chunks.c.row,
        chunks.c.id,
        chunks.c.document_id,
        document_versions.c.version,
        documents.c.source,
        document_versions.c.title,
        document_versions.c.language,
        chunks.c.start,
        chunks.c.end,
        chunks.c.page,
        chunks.c.heading_path,
        chunks.c.context,
        chunks.c.text,
        document_versions.c.date,
    )
    .join(document_versions, document_versions.c.id == chunks.c.version_id)
    .join(documents, documents.c.id == chunks.c.document_id)
    .where(_visible)
)
_CHUNKS_BY_ROW = _STORED_CHUNKS.where(_by_row)
_DOCUMENT_CHUNKS = _STORED_CHUNKS.where(
    chunks.c.document_id == bindparam("document_id"), chunks.c.collection_id + 0 == bindparam("collection_id")
).order_by(chunks.c.start, chunks.c.row)
COLLECTION_COLUMNS = tuple(collections.c[name] for name in Collection.__dataclass_fields__)
_COLLECTION = select(*COLLECTION_COLUMNS).where(collections.c.id == bindparam("collection_id"))
_LAST_SEQ = select(collections.c.last_seq).where(collections.c.id == bindparam("collection_id"))
_LANGUAGES = (
    select(document_versions.c.language)
    .join(documents, documents.c.id == document_versions.c.document_id)
    .where(documents.c.collection_id == bindparam("collection_id"))
    .distinct()
)
_CHUNK_LANGUAGES = (
    select(chunks.c.row, document_versions.c.language)
    .join(document_versions, document_versions.c.id == chunks.c.version_id)
    .where(_by_row)
)
_INDEX_ROWS = (
    select(
        chunks.c.row,
        chunks.c.context,
        chunks.c.text,
        document_versions.c.language,
        vectors.c.vector,
    )
    .join(document_versions, document_versions.c.id == chunks.c.version_id)
    .outerjoin(vectors, and_(vectors.c.text_hash == chunks.c.text_hash, vectors.c.embedder == bindparam("embedder")))
    .where(_by_row)
    .order_by(chunks.c.row)
)


@dataclass(frozen=True, slots=True)
class IndexRows:
    """A batch of chunks as the indexes take them, by ascending row; ``vectors`` has one row for each."""

    rows: NDArray[np.int64]
    texts: tuple[str, ...]
    languages: tuple[str | None, ...]
    vectors: Vectors


def visible_rows(connection: Connection, collection_id: int, rows: AnyOf[int], seq: int) -> set[int]:
    found: set[int] = set()
    for some in _batches(rows):
        values = {"rows": some, "collection_id": collection_id, "seq": seq}
        found.update(connection.execute(_VISIBLE_ROWS, values).scalars().all())
    return found


def chunks_by_row(connection: Connection, collection_id: int, rows: AnyOf[int], seq: int) -> dict[int, StoredChunk]:
    found: dict[int, StoredChunk] = {}
    for some in _batches(rows):
        values = {"rows": some, "collection_id": collection_id, "seq": seq}
        found.update((chunk.row, chunk) for chunk in _stored_chunks(connection, _CHUNKS_BY_ROW, values))
    return found


def chunk_languages(connection: Connection, collection_id: int, rows: AnyOf[int]) -> dict[int, str | None]:
    found: dict[int, str | None] = {}
    for some in _batches(rows):
        values = {"rows": some, "collection_id": collection_id}
        found.update((row, language) for row, language in connection.execute(_CHUNK_LANGUAGES, values))
    return found


def document_chunks(connection: Connection, collection_id: int, document_id: str, seq: int) -> list[StoredChunk]:
    values = {"collection_id": collection_id, "document_id": document_id, "seq": seq}
    return _stored_chunks(connection, _DOCUMENT_CHUNKS, values)


def collection_by_id(connection: Connection, collection_id: int) -> Collection:
    row = connection.execute(_COLLECTION, {"collection_id": collection_id}).first()
    if row is None:
        raise _deleted(collection_id)
    return Collection(*row)


def last_seq(connection: Connection, collection_id: int) -> int:
    seq = connection.execute(_LAST_SEQ, {"collection_id": collection_id}).scalar()
    if seq is None:
        raise _deleted(collection_id)
    return int(seq)


def languages(connection: Connection, collection_id: int) -> set[str | None]:
    return set(connection.execute(_LANGUAGES, {"collection_id": collection_id}).scalars())


def rows_for_index(connection: Connection, collection_id: int, seqs: AnyOf[int]) -> NDArray[np.int64]:
    """Rows visible at any of the numbers, ascending."""
    statement = (
        select(chunks.c.row)
        .where(chunks.c.collection_id == collection_id, or_(*(_visible_at(seq) for seq in seqs)))
        .order_by(chunks.c.row)
    )
    return np.fromiter(connection.execute(statement).scalars(), np.int64)


def index_rows(
    connection: Connection, collection_id: int, embedder: str, dimension: int, rows: Sequence[int]
) -> IndexRows:
    values = {"rows": list(rows), "collection_id": collection_id, "embedder": embedder}
    found = connection.execute(_INDEX_ROWS, values).all()
    matrix = np.empty((len(found), dimension), np.float32)
    for place, entry in enumerate(found):
        if entry.vector is None or len(entry.vector) != dimension * 4:
            raise CatalogError(
                f"row {entry.row} has no vector of {dimension} dimensions by embedder {embedder}; "
                "run `domainqa reindex`"
            )
        matrix[place] = np.frombuffer(entry.vector, "<f4")
    return IndexRows(
        np.fromiter((entry.row for entry in found), np.int64, len(found)),
        tuple(embedded_text(entry.context, entry.text) for entry in found),
        tuple(entry.language for entry in found),
        matrix,
    )


def texts_without_vector(connection: Connection, collection_id: int, embedder: str) -> dict[bytes, str]:
    has_vector = exists().where(vectors.c.text_hash == chunks.c.text_hash, vectors.c.embedder == embedder)
    statement = select(chunks.c.text_hash, chunks.c.context, chunks.c.text).where(
        chunks.c.collection_id == collection_id, chunks.c.retired_seq.is_(None), not_(has_vector)
    )
    return {entry.text_hash: embedded_text(entry.context, entry.text) for entry in connection.execute(statement)}


def _stored_chunks(connection: Connection, statement: Select[Any], values: dict[str, Any]) -> list[StoredChunk]:
    return [
        StoredChunk(*(*entry[:10], tuple(json.loads(entry.heading_path)), *entry[11:]))
        for entry in connection.execute(statement, values).all()
    ]


def _deleted(collection_id: int) -> NotFoundError:
    return NotFoundError(f"collection number {collection_id} was deleted")


def _batches(rows: AnyOf[int]) -> Iterator[list[int]]:
    remaining = iter(rows)
    # ``int`` because an index may hand over numpy's integers, which SQLite would store as bytes.
    while some := [int(row) for row in islice(remaining, _ROWS_PER_STATEMENT)]:
        yield some
