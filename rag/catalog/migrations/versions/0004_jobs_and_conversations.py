"""Jobs with their files, conversations with their turns, and feedback on turns."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def _tenant(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=f"fk_{table}_tenant_id")


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("tenant_id", sa.Integer, nullable=False),
        sa.Column("collection_id", sa.Integer),
        sa.Column("collection", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("cancel_requested", sa.Integer, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("served", sa.Integer, nullable=False),
        sa.Column("files_total", sa.Integer, nullable=False),
        sa.Column("files_done", sa.Integer, nullable=False),
        sa.Column("files_failed", sa.Integer, nullable=False),
        sa.Column("chunks", sa.Integer, nullable=False),
        sa.Column("current", sa.String),
        sa.Column("error", sa.String),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("started_at", sa.String),
        sa.Column("updated_at", sa.String, nullable=False),
        sa.Column("ended_at", sa.String),
        _tenant("jobs"),
        sa.ForeignKeyConstraint(
            ["collection_id"], ["collections.id"], name="fk_jobs_collection_id", ondelete="SET NULL"
        ),
        sa.UniqueConstraint("id", name="uq_jobs_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_jobs_state", "jobs", ["state"])
    op.create_index("ix_jobs_tenant_id_number", "jobs", ["tenant_id", "number"])
    op.create_index("ix_jobs_collection_id", "jobs", ["collection_id"])
    op.create_table(
        "job_files",
        sa.Column("job_number", sa.Integer, primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("tenant_id", sa.Integer, nullable=False),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("size_bytes", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.String),
        sa.Column("suspect", sa.Integer, nullable=False),
        sa.Column("deaths", sa.Integer, nullable=False),
        sa.Column("interruptions", sa.Integer, nullable=False),
        _tenant("job_files"),
        sa.ForeignKeyConstraint(["job_number"], ["jobs.number"], name="fk_job_files_job_number", ondelete="CASCADE"),
    )
    op.create_table(
        "conversations",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("tenant_id", sa.Integer, nullable=False),
        sa.Column("collection", sa.String(64), nullable=False),
        sa.Column("title", sa.String, nullable=False),
        sa.Column("history_start", sa.Integer, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("updated_at", sa.String, nullable=False),
        _tenant("conversations"),
        sa.UniqueConstraint("id", name="uq_conversations_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_conversations_tenant_id_updated_at", "conversations", ["tenant_id", "updated_at"])
    op.create_index("ix_conversations_updated_at", "conversations", ["updated_at"])
    op.create_table(
        "turns",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("tenant_id", sa.Integer, nullable=False),
        sa.Column("conversation_number", sa.Integer, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("question", sa.Text, nullable=False),
        sa.Column("user", sa.Text, nullable=False),
        sa.Column("assistant", sa.Text, nullable=False),
        sa.Column("strategy", sa.String, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("abstained", sa.Integer, nullable=False),
        sa.Column("supported", sa.Integer),
        sa.Column("fallback", sa.String),
        sa.Column("finish_reason", sa.String(16), nullable=False),
        sa.Column("purged", sa.Integer, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("usage", sa.Text, nullable=False),
        sa.Column("timings", sa.Text, nullable=False),
        sa.Column("citations", sa.Text, nullable=False),
        sa.Column("nearest", sa.Text, nullable=False),
        sa.Column("evidence", sa.Text, nullable=False),
        sa.Column("conflicts", sa.Text, nullable=False),
        _tenant("turns"),
        sa.ForeignKeyConstraint(
            ["conversation_number"],
            ["conversations.number"],
            name="fk_turns_conversation_number",
            ondelete="CASCADE",
        ),
        sa.UniqueConstraint("id", name="uq_turns_id"),
        sa.UniqueConstraint("conversation_number", "position", name="uq_turns_conversation_number_position"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "turn_documents",
        sa.Column("turn_number", sa.Integer, primary_key=True),
        sa.Column("document_id", sa.String(32), primary_key=True),
        sa.Column("tenant_id", sa.Integer, nullable=False),
        _tenant("turn_documents"),
        sa.ForeignKeyConstraint(
            ["turn_number"], ["turns.number"], name="fk_turn_documents_turn_number", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_turn_documents_document_id", "turn_documents", ["document_id"])
    op.create_table(
        "feedback",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("tenant_id", sa.Integer, nullable=False),
        sa.Column("turn_number", sa.Integer, nullable=False),
        sa.Column("rating", sa.String(8), nullable=False),
        sa.Column("comment", sa.Text),
        sa.Column("created_at", sa.String, nullable=False),
        _tenant("feedback"),
        sa.ForeignKeyConstraint(["turn_number"], ["turns.number"], name="fk_feedback_turn_number", ondelete="CASCADE"),
        sa.UniqueConstraint("turn_number", name="uq_feedback_turn_number"),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    for table in ("feedback", "turn_documents", "turns", "conversations", "job_files", "jobs"):
        op.drop_table(table)
