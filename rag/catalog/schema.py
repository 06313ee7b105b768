"""The catalog's tables. A change here needs a migration beside it and a new ``HEAD_REVISION``.

A row of ``document_versions`` or ``chunks`` is visible at sequence number ``s`` when
``created_seq <= s`` and it was not retired at or before ``s``.
"""

from sqlalchemy import (
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

HEAD_REVISION = "0002"
DEFAULT_TENANT = "default"

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

tenants = Table(
    "tenants",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    sqlite_autoincrement=True,
)

collections = Table(
    "collections",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False),
    Column("name", String(64), nullable=False),
    Column("embedder", String, nullable=False),
    Column("embedding_model", String, nullable=False),
    Column("dimension", Integer, nullable=False),
    Column("analyzer", String, nullable=False),
    Column("last_seq", Integer, nullable=False),
    Column("published_seq", Integer, nullable=False),
    Column("created_at", String, nullable=False),
    UniqueConstraint("tenant_id", "name"),
    # A deleted collection's index folder must never be taken for a new one's.
    sqlite_autoincrement=True,
)

documents = Table(
    "documents",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("collection_id", ForeignKey("collections.id", ondelete="CASCADE"), nullable=False),
    Column("source", String, nullable=False),
    # The absolute path at the last ingest: tells a moved file from a copy.
    Column("location", String, nullable=False),
    UniqueConstraint("collection_id", "source"),
)

# The large columns stand last: SQLite reads a row's head without the pages its tail overflows to.
document_versions = Table(
    "document_versions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("document_id", ForeignKey("documents.id", ondelete="CASCADE"), nullable=False),
    Column("version", String(64), nullable=False),
    Column("parser", String, nullable=False),
    # Fingerprint of chunking and embedding.
    Column("processing", String, nullable=False),
    Column("created_seq", Integer, nullable=False),
    Column("retired_seq", Integer),
    Column("title", String, nullable=False),
    Column("language", String(16)),
    Column("media_type", String, nullable=False),
    Column("date", String(32)),
    Column("size_bytes", Integer, nullable=False),
    Column("updated_at", String, nullable=False),
    Column("page_count", Integer),
    Column("sections", Text, nullable=False),
    Column("pages", Text, nullable=False),
    Column("tables", Text, nullable=False),
    Column("text", Text, nullable=False),
    Index(None, "document_id"),
    # At any time a document has at most one version that is not retired.
    Index(
        "uq_document_versions_current",
        "document_id",
        unique=True,
        sqlite_where=text("retired_seq IS NULL"),
        postgresql_where=text("retired_seq IS NULL"),
    ),
    sqlite_autoincrement=True,
)

chunks = Table(
    "chunks",
    metadata,
    Column("row", Integer, primary_key=True),
    Column("collection_id", ForeignKey("collections.id", ondelete="CASCADE"), nullable=False),
    Column("document_id", ForeignKey("documents.id", ondelete="CASCADE"), nullable=False),
    Column("version_id", ForeignKey("document_versions.id", ondelete="CASCADE"), nullable=False),
    Column("created_seq", Integer, nullable=False),
    Column("retired_seq", Integer),
    Column("id", String(32), nullable=False),
    # SHA-256 of the embedded text.
    Column("text_hash", LargeBinary(32), nullable=False),
    Column("start", Integer, nullable=False),
    Column("end", Integer, nullable=False),
    Column("page", Integer),
    Column("heading_path", Text, nullable=False),
    Column("context", Text, nullable=False),
    Column("text", Text, nullable=False),
    Index(None, "collection_id", "created_seq", "retired_seq"),
    Index(None, "document_id"),
    Index(None, "version_id"),
    Index(None, "text_hash"),
    # An index row that outlived its chunk must never point at another one.
    sqlite_autoincrement=True,
)

# Not WITHOUT ROWID: SQLite keeps at most a quarter page of such a row in its tree, and a vector is larger.
vectors = Table(
    "vectors",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("text_hash", LargeBinary(32), nullable=False),
    Column("embedder", String, nullable=False),
    # float32, little-endian.
    Column("vector", LargeBinary, nullable=False),
    UniqueConstraint("text_hash", "embedder"),
)

failures = Table(
    "failures",
    metadata,
    Column("collection_id", ForeignKey("collections.id", ondelete="CASCADE"), primary_key=True),
    Column("source", String, primary_key=True),
    Column("reason", String, nullable=False),
    # SHA-256 of the bytes, where they could be read.
    Column("version", String(64)),
    # The file's absolute path, where there is one.
    Column("location", String),
)

# --- syncing --------------------------------------------------------------------------------------

# Folders whose lost files are lost documents.
synced_folders = Table(
    "synced_folders",
    metadata,
    Column("collection_id", ForeignKey("collections.id", ondelete="CASCADE"), primary_key=True),
    Column("folder", String, primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False),
    Column("created_at", String, nullable=False),
)
