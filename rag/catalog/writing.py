"""What changes the catalog: one document at a time, each in one transaction, each under its own sequence number."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Collection as AnyOf
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any

import numpy as np
from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    and_,
    bindparam,
    delete,
    exists,
    insert,
    literal_column,
    not_,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.sqlite import insert as insert_or

from rag.catalog.schema import chunks, collections, document_versions, documents, failures, metadata, vectors
from rag.errors import NotFoundError
from rag.interfaces import Vectors
from rag.types import Chunk, Document, Failure, embedded_text

_HASHES_PER_STATEMENT = 10_000  # SQLite takes 32,766 parameters

_KNOWN_VECTORS = select(vectors.c.text_hash).where(
    vectors.c.embedder == bindparam("embedder"), vectors.c.text_hash.in_(bindparam("hashes", expanding=True))
)


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A parsed and chunked document, ready to be stored.

    ``location`` is the file's absolute path; ``parser`` and ``processing`` are fingerprints of what made
    the text and what made chunks and vectors of it. ``moved_from`` is the source it was known by until now.
    """

    document: Document
    chunks: tuple[Chunk, ...]
    location: str
    size_bytes: int
    parser: str
    processing: str
    moved_from: str | None = None


def text_hash(chunk: Chunk) -> bytes:
    """The key of a chunk's vector: the same text is never embedded twice."""
    return hashlib.sha256(embedded_text(chunk.context, chunk.text).encode("utf-8", "surrogatepass")).digest()


def known_vectors(connection: Connection, hashes: AnyOf[bytes], embedder: str) -> set[bytes]:
    wanted = list(hashes)
    found: set[bytes] = set()
    for start in range(0, len(wanted), _HASHES_PER_STATEMENT):
        values = {"embedder": embedder, "hashes": wanted[start : start + _HASHES_PER_STATEMENT]}
        found.update(connection.execute(_KNOWN_VECTORS, values).scalars())
    return found


def add_vectors(connection: Connection, embedder: str, hashes: Sequence[bytes], matrix: Vectors) -> None:
    if matrix.shape[0] != len(hashes):
        raise ValueError(f"{len(hashes)} texts but {matrix.shape[0]} vectors")
    entries = [
        {"text_hash": key, "embedder": embedder, "vector": vector.tobytes()}
        for key, vector in zip(hashes, np.ascontiguousarray(matrix, "<f4"), strict=True)
    ]
    if entries:
        connection.execute(insert_or(vectors).on_conflict_do_nothing(), entries)


def store(connection: Connection, collection_id: int, embedder: str, new: NewVersion) -> set[bytes]:
    """Store a document's new version and retire the old one, under the next sequence number.

    Returns the hashes of chunks without a vector by ``embedder``: nothing was stored unless there are none.
    """
    hashes = [text_hash(chunk) for chunk in new.chunks]
    missing = set(hashes) - known_vectors(connection, set(hashes), embedder)
    if missing:
        return missing
    seq = _next_seq(connection, collection_id)
    document_id = _place(connection, collection_id, new)
    retire(connection, document_id, seq)
    document = new.document
    version_id = connection.execute(
        insert(document_versions)
        .values(
            document_id=document_id,
            version=document.version,
            parser=new.parser,
            processing=new.processing,
            created_seq=seq,
            title=document.title,
            language=document.language,
            media_type=document.media_type,
            date=document.date,
            size_bytes=new.size_bytes,
            updated_at=now(),
            page_count=len(document.pages) or None,
            sections=_json(document.sections),
            pages=_json(document.pages),
            tables=_json(document.tables),
            text=document.text,
        )
        .returning(document_versions.c.id)
    ).scalar_one()
    entries = [
        {
            "collection_id": collection_id,
            "document_id": document_id,
            "version_id": version_id,
            "created_seq": seq,
            "id": _digest(document_id, document.version, str(chunk.start), str(chunk.end)),
            "text_hash": key,
            "start": chunk.start,
            "end": chunk.end,
            "page": chunk.page,
            "heading_path": json.dumps(chunk.heading_path, ensure_ascii=False),
            "context": chunk.context,
            "text": chunk.text,
        }
        for key, chunk in zip(hashes, new.chunks, strict=True)
    ]
    if entries:
        connection.execute(insert(chunks), entries)
    forget_failure(connection, collection_id, document.source)
    return set()


def retire(connection: Connection, document_id: str, seq: int) -> None:
    for table in (document_versions, chunks):
        connection.execute(
            update(table)
            .where(table.c.document_id == document_id, table.c.retired_seq.is_(None))
            .values(retired_seq=seq)
        )


def move(connection: Connection, document_id: str, source: str, location: str) -> None:
    connection.execute(update(documents).where(documents.c.id == document_id).values(source=source, location=location))


def record_failure(
    connection: Connection, collection_id: int, failure: Failure, version: str | None, location: str | None
) -> None:
    forget_failure(connection, collection_id, failure.source)
    connection.execute(
        insert(failures).values(
            collection_id=collection_id,
            source=failure.source,
            reason=failure.reason,
            version=version,
            location=location,
        )
    )


def forget_failure(connection: Connection, collection_id: int, source: str) -> int:
    return connection.execute(
        delete(failures).where(failures.c.collection_id == collection_id, failures.c.source == source)
    ).rowcount


def remove_document(connection: Connection, collection_id: int, document_id: str) -> None:
    """Delete a document and what is attached to it, with every version, chunk and unshared vector of them."""
    source, location = connection.execute(
        select(documents.c.source, documents.c.location).where(documents.c.id == document_id)
    ).one()
    # Attachments lie where their mail does, and are named below it.
    attached = (documents.c.location == location) & documents.c.source.startswith(f"{source}/", autoescape=True)
    found = connection.execute(
        select(documents.c.id, documents.c.source).where(
            documents.c.collection_id == collection_id, (documents.c.id == document_id) | attached
        )
    ).all()
    ids = [row.id for row in found]

    def of_documents(table: FromClause) -> ColumnElement[bool]:
        return table.c.document_id.in_(ids)

    delete_chunks(connection, of_documents)
    connection.execute(delete(documents).where(documents.c.id.in_(ids)))
    for row in found:
        forget_failure(connection, collection_id, row.source)


def sweep(connection: Connection, collection_id: int, seq: int) -> None:
    """Delete what was retired at or before ``seq``, for good."""

    def dying(table: FromClause) -> ColumnElement[bool]:
        return and_(
            table.c.collection_id == collection_id, table.c.retired_seq.is_not(None), table.c.retired_seq <= seq
        )

    delete_chunks(connection, dying)
    of_collection = select(documents.c.id).where(documents.c.collection_id == collection_id)
    connection.execute(
        delete(document_versions).where(
            document_versions.c.document_id.in_(of_collection), document_versions.c.retired_seq <= seq
        )
    )


def delete_chunks(connection: Connection, dying: Callable[[FromClause], ColumnElement[bool]]) -> None:
    """Delete the chunks for which ``dying`` holds, and the vectors that no other chunk uses.

    ``dying`` must never be NULL: it is negated.
    """
    other = chunks.alias()
    used_elsewhere = exists().where(other.c.text_hash == vectors.c.text_hash, not_(dying(other)))
    connection.execute(
        delete(vectors).where(
            vectors.c.text_hash.in_(select(chunks.c.text_hash).where(dying(chunks))), not_(used_elsewhere)
        )
    )
    connection.execute(delete(chunks).where(dying(chunks)))


def drop_unused_vectors(connection: Connection) -> None:
    used = exists().where(chunks.c.text_hash == vectors.c.text_hash)
    connection.execute(
        delete(vectors).where(or_(vectors.c.embedder.not_in(select(collections.c.embedder)), not_(used)))
    )


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _next_seq(connection: Connection, collection_id: int) -> int:
    seq = connection.execute(
        update(collections)
        .where(collections.c.id == collection_id)
        .values(last_seq=collections.c.last_seq + 1)
        .returning(collections.c.last_seq)
    ).scalar()
    if seq is None:
        raise NotFoundError(f"collection number {collection_id} was deleted")
    return int(seq)


def _place(connection: Connection, collection_id: int, new: NewVersion) -> str:
    """The document's id: the known one of its source, or the one it had before it moved, or a new one."""
    source = new.document.source
    by_source: Mapping[str, Any] = {"location": new.location, "source": source}
    document_id = connection.execute(
        select(documents.c.id).where(
            documents.c.collection_id == collection_id,
            documents.c.source == (source if new.moved_from is None else new.moved_from),
        )
    ).scalar()
    if document_id is not None:
        connection.execute(update(documents).where(documents.c.id == document_id).values(**by_source))
        return str(document_id)
    for attempt in count():
        # A document that moved away keeps the id its first source gave it; the newcomer takes the next one.
        document_id = _digest(str(collection_id), source, *([str(attempt)] if attempt else []))
        if connection.execute(select(documents.c.id).where(documents.c.id == document_id)).scalar() is None:
            break
    connection.execute(insert(documents).values(id=document_id, collection_id=collection_id, **by_source))
    return str(document_id)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _json(entries: tuple[Any, ...]) -> str:
    return json.dumps([asdict(entry) for entry in entries], ensure_ascii=False, separators=(",", ":"))


def orphans(connection: Connection) -> dict[tuple[str, str], int]:
    """Rows that refer to nothing, by their table and that which is missing."""
    return dict(Counter((table, parent) for table, _, parent in _dangling(connection)))


def drop_orphans(connection: Connection) -> int:
    """Delete what is left of documents and collections that are gone; the number of rows.

    A chunk whose document lives but whose version is missing stays: without it the document would have a hole.
    """
    dropped = 0
    for name, row, parent in _dangling(connection):
        table = metadata.tables.get(name)
        # A table without row numbers of its own, or one that this version doesn't know, is left alone.
        if table is not None and row is not None and parent in (documents.name, collections.name):
            # What refers to it goes with it, so a later one of these may be gone already.
            dropped += connection.execute(delete(table).where(literal_column("rowid") == row)).rowcount
    return dropped


def _dangling(connection: Connection) -> list[tuple[str, int | None, str]]:
    return [(row[0], row[1], row[2]) for row in connection.execute(text("PRAGMA foreign_key_check"))]
