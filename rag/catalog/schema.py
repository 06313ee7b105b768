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

HEAD_REVISION = "0005"

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
    # When its questions are refused, as JSON; null takes the shipped calibration.
    Column("calibration", Text),
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
    # As a document's, where it is known.
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

access_keys = Table(
    "access_keys",
    metadata,
    # The public part of the key.
    Column("id", String(16), primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False),
    Column("name", String(100), nullable=False),
    Column("role", String(16), nullable=False),
    # HMAC-SHA-256 of the whole key; the pepper lies in a file beside the catalog.
    Column("digest", LargeBinary(32), nullable=False),
    # Names as a JSON list; NULL is all of the tenant's.
    Column("collections", Text),
    Column("requests_per_minute", Integer),
    Column("tokens_per_minute", Integer),
    Column("created_at", String, nullable=False),
    Column("expires_at", String),
    Column("revoked_at", String),
    Index(None, "tenant_id"),
)

# --- jobs, conversations, feedback ----------------------------------------------------------------

jobs = Table(
    "jobs",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("id", String(40), nullable=False, unique=True),
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False),
    # The record outlives its collection, under the name that it had.
    Column("collection_id", ForeignKey("collections.id", ondelete="SET NULL")),
    Column("collection", String(64), nullable=False),
    # queued, running, done, failed, cancelled
    Column("state", String(16), nullable=False),
    Column("cancel_requested", Integer, nullable=False),
    # Rises with every change that a watcher wants to see.
    Column("revision", Integer, nullable=False),
    # The number of the last turn that a worker took at it, over all jobs: the tenant that waits longest is next.
    Column("served", Integer, nullable=False),
    Column("files_total", Integer, nullable=False),
    Column("files_done", Integer, nullable=False),
    Column("files_failed", Integer, nullable=False),
    Column("chunks", Integer, nullable=False),
    Column("current", String),
    Column("error", String),
    Column("created_at", String, nullable=False),
    Column("started_at", String),
    Column("updated_at", String, nullable=False),
    Column("ended_at", String),
    Index(None, "state"),
    Index(None, "tenant_id", "number"),
    Index(None, "collection_id"),
    sqlite_autoincrement=True,
)

job_files = Table(
    "job_files",
    metadata,
    Column("job_number", ForeignKey("jobs.number", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False),
    Column("source", String, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    # waiting, reading, done, failed, cancelled
    Column("state", String(16), nullable=False),
    Column("reason", String),
    # Was being read when a worker ended: read alone from then on, so that the next death is its own.
    Column("suspect", Integer, nullable=False),
    Column("deaths", Integer, nullable=False),
    Column("interruptions", Integer, nullable=False),
)

conversations = Table(
    "conversations",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("id", String(40), nullable=False, unique=True),
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False),
    Column("collection", String(64), nullable=False),
    Column("title", String, nullable=False),
    # The first turn that is still told to the model: those before it no longer fit its window.
    Column("history_start", Integer, nullable=False),
    Column("created_at", String, nullable=False),
    Column("updated_at", String, nullable=False),
    Index(None, "tenant_id", "updated_at"),
    Index(None, "updated_at"),
    sqlite_autoincrement=True,
)

turns = Table(
    "turns",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("id", String(40), nullable=False, unique=True),
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False),
    Column("conversation_number", ForeignKey("conversations.number", ondelete="CASCADE"), nullable=False),
    # From 1.
    Column("position", Integer, nullable=False),
    Column("question", Text, nullable=False),
    # The user's message as it was rendered, passages included.
    Column("user", Text, nullable=False),
    Column("assistant", Text, nullable=False),
    Column("strategy", String, nullable=False),
    Column("model", String, nullable=False),
    Column("abstained", Integer, nullable=False),
    Column("supported", Integer),
    Column("fallback", String),
    Column("finish_reason", String(16), nullable=False),
    # A document behind it was purged: nothing but the question is left.
    Column("purged", Integer, nullable=False),
    Column("created_at", String, nullable=False),
    # JSON.
    Column("usage", Text, nullable=False),
    Column("timings", Text, nullable=False),
    Column("citations", Text, nullable=False),
    Column("nearest", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("conflicts", Text, nullable=False),
    UniqueConstraint("conversation_number", "position"),
    sqlite_autoincrement=True,
)

turn_documents = Table(
    "turn_documents",
    metadata,
    Column("turn_number", ForeignKey("turns.number", ondelete="CASCADE"), primary_key=True),
    # No reference: a conversation remembers a document after it was removed, until it is purged.
    Column("document_id", String(32), primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False),
    Index(None, "document_id"),
)

feedback = Table(
    "feedback",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False),
    Column("turn_number", ForeignKey("turns.number", ondelete="CASCADE"), nullable=False, unique=True),
    # up, down
    Column("rating", String(8), nullable=False),
    Column("comment", Text),
    Column("created_at", String, nullable=False),
    sqlite_autoincrement=True,
)
