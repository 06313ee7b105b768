"""Documents as lists and pages show them, and the stored form of a ``Document`` read back."""

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, func, or_, select

from rag.catalog.schema import chunks, document_versions, documents
from rag.errors import NotFoundError
from rag.types import Collection, Document, DocumentInfo, Page, Section, Table

_versions = document_versions.c
_current = _versions.retired_seq.is_(None)


@dataclass(frozen=True, slots=True)
class KnownSource:
    """What made the current version of a document: enough to tell whether its file must be read again."""

    document_id: str
    source: str
    version: str
    location: str
    parser: str
    processing: str
    size_bytes: int


def known_sources(connection: Connection, collection: Collection) -> dict[str, KnownSource]:
    statement = (
        select(
            documents.c.id,
            documents.c.source,
            _versions.version,
            documents.c.location,
            _versions.parser,
            _versions.processing,
            _versions.size_bytes,
        )
        .join(document_versions)
        .where(documents.c.collection_id == collection.id, _current)
    )
    return {entry.source: KnownSource(*entry) for entry in connection.execute(statement)}


def document_infos(
    connection: Connection, collection: Collection, limit: int | None = None, after: str | None = None
) -> list[DocumentInfo]:
    statement = _infos(collection).order_by(documents.c.source).limit(limit)
    if after is not None:
        statement = statement.where(documents.c.source > after)
    return [DocumentInfo(*entry) for entry in connection.execute(statement)]


def document_info(connection: Connection, collection: Collection, id_or_source: str) -> DocumentInfo:
    statement = _named(_infos(collection), id_or_source)
    found = connection.execute(statement).first()
    if found is None:
        raise _no_document(collection, id_or_source)
    return DocumentInfo(*found)


def document(connection: Connection, collection: Collection, id_or_source: str, seq: int | None) -> Document:
    visible: ColumnElement[bool] = _current
    if seq is not None:
        visible = (_versions.created_seq <= seq) & or_(_current, _versions.retired_seq > seq)
    statement = (
        select(documents.c.source, document_versions)
        .join(document_versions)
        .where(documents.c.collection_id == collection.id, visible)
    )
    found = connection.execute(_named(statement, id_or_source)).first()
    if found is None:
        raise _no_document(collection, id_or_source)
    return _document(found)


def document_version(connection: Connection, document_id: str, version: str) -> Document:
    statement = (
        select(documents.c.source, document_versions)
        .join(document_versions)
        .where(documents.c.id == document_id, _versions.version == version)
        # The same bytes may have been parsed twice, by another parser.
        .order_by(_versions.id.desc())
    )
    found = connection.execute(statement.limit(1)).first()
    if found is None:
        raise NotFoundError(f"document {document_id} has no version {version} any longer")
    return _document(found)


def _infos(collection: Collection) -> Select[Any]:
    chunk_count = select(func.count()).where(chunks.c.version_id == _versions.id).scalar_subquery()
    return (
        select(
            documents.c.id,
            documents.c.source,
            _versions.title,
            _versions.media_type,
            _versions.language,
            _versions.version,
            chunk_count,
            _versions.page_count,
            _versions.size_bytes,
            _versions.updated_at,
        )
        .join(document_versions)
        .where(documents.c.collection_id == collection.id, _current)
    )


def _named(statement: Select[Any], id_or_source: str) -> Select[Any]:
    """An id wins over a source that happens to look like one."""
    is_id = documents.c.id == id_or_source
    return statement.where(or_(is_id, documents.c.source == id_or_source)).order_by(is_id.desc()).limit(1)


def _no_document(collection: Collection, id_or_source: str) -> NotFoundError:
    return NotFoundError(
        f"there is no document {id_or_source!r} in collection {collection.name!r}; "
        "`domainqa documents list` names those there are"
    )


def _document(entry: Row[Any]) -> Document:
    sections = ((tuple(s["heading_path"]), s["start"], s["end"]) for s in json.loads(entry.sections))
    return Document(
        source=entry.source,
        title=entry.title,
        text=entry.text,
        media_type=entry.media_type,
        version=entry.version,
        language=entry.language,
        date=entry.date,
        sections=tuple(Section(*section) for section in sections),
        pages=tuple(Page(**page) for page in json.loads(entry.pages)),
        tables=tuple(Table(**table) for table in json.loads(entry.tables)),
    )
