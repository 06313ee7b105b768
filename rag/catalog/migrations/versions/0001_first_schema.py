"""The first schema: tenants, collections, documents, versions, chunks, vectors, failures."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    tenants = op.create_table(
        "tenants",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.UniqueConstraint("name", name="uq_tenants_name"),
        sqlite_autoincrement=True,
    )
    op.bulk_insert(tenants, [{"name": "default"}])
    op.create_table(
        "collections",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("tenant_id", sa.Integer, nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("embedder", sa.String, nullable=False),
        sa.Column("embedding_model", sa.String, nullable=False),
        sa.Column("dimension", sa.Integer, nullable=False),
        sa.Column("analyzer", sa.String, nullable=False),
        sa.Column("last_seq", sa.Integer, nullable=False),
        sa.Column("published_seq", sa.Integer, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_collections_tenant_id"),
        sa.UniqueConstraint("tenant_id", "name", name="uq_collections_tenant_id_name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "documents",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("collection_id", sa.Integer, nullable=False),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("location", sa.String, nullable=False),
        sa.ForeignKeyConstraint(
            ["collection_id"], ["collections.id"], name="fk_documents_collection_id", ondelete="CASCADE"
        ),
        sa.UniqueConstraint("collection_id", "source", name="uq_documents_collection_id_source"),
    )
    op.create_table(
        "document_versions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("document_id", sa.String(32), nullable=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("parser", sa.String, nullable=False),
        sa.Column("processing", sa.String, nullable=False),
        sa.Column("created_seq", sa.Integer, nullable=False),
        sa.Column("retired_seq", sa.Integer),
        sa.Column("title", sa.String, nullable=False),
        sa.Column("language", sa.String(16)),
        sa.Column("media_type", sa.String, nullable=False),
        sa.Column("date", sa.String(32)),
        sa.Column("size_bytes", sa.Integer, nullable=False),
        sa.Column("updated_at", sa.String, nullable=False),
        sa.Column("page_count", sa.Integer),
        sa.Column("sections", sa.Text, nullable=False),
        sa.Column("pages", sa.Text, nullable=False),
        sa.Column("tables", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["document_id"], ["documents.id"], name="fk_document_versions_document_id", ondelete="CASCADE"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_document_versions_document_id", "document_versions", ["document_id"])
    op.create_index(
        "uq_document_versions_current",
        "document_versions",
        ["document_id"],
        unique=True,
        sqlite_where=sa.text("retired_seq IS NULL"),
        postgresql_where=sa.text("retired_seq IS NULL"),
    )
    op.create_table(
        "chunks",
        sa.Column("row", sa.Integer, primary_key=True),
        sa.Column("collection_id", sa.Integer, nullable=False),
        sa.Column("document_id", sa.String(32), nullable=False),
        sa.Column("version_id", sa.Integer, nullable=False),
        sa.Column("created_seq", sa.Integer, nullable=False),
        sa.Column("retired_seq", sa.Integer),
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("text_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("start", sa.Integer, nullable=False),
        sa.Column("end", sa.Integer, nullable=False),
        sa.Column("page", sa.Integer),
        sa.Column("heading_path", sa.Text, nullable=False),
        sa.Column("context", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["collection_id"], ["collections.id"], name="fk_chunks_collection_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["document_id"], ["documents.id"], name="fk_chunks_document_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["version_id"], ["document_versions.id"], name="fk_chunks_version_id", ondelete="CASCADE"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_chunks_collection_id_created_seq_retired_seq", "chunks", ["collection_id", "created_seq", "retired_seq"]
    )
    op.create_index("ix_chunks_document_id", "chunks", ["document_id"])
    op.create_index("ix_chunks_version_id", "chunks", ["version_id"])
    op.create_index("ix_chunks_text_hash", "chunks", ["text_hash"])
    op.create_table(
        "vectors",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("text_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("embedder", sa.String, nullable=False),
        sa.Column("vector", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("text_hash", "embedder", name="uq_vectors_text_hash_embedder"),
    )
    op.create_table(
        "failures",
        sa.Column("collection_id", sa.Integer, primary_key=True),
        sa.Column("source", sa.String, primary_key=True),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("version", sa.String(64)),
        sa.ForeignKeyConstraint(
            ["collection_id"], ["collections.id"], name="fk_failures_collection_id", ondelete="CASCADE"
        ),
    )


def downgrade() -> None:
    for table in ("failures", "vectors", "chunks", "document_versions", "documents", "collections", "tenants"):
        op.drop_table(table)
