"""Folders that are kept in step with their files, and where a file lies that could not be read."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "synced_folders",
        sa.Column("collection_id", sa.Integer, primary_key=True),
        sa.Column("folder", sa.String, primary_key=True),
        sa.Column("tenant_id", sa.Integer, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.ForeignKeyConstraint(
            ["collection_id"], ["collections.id"], name="fk_synced_folders_collection_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_synced_folders_tenant_id"),
    )
    op.add_column("failures", sa.Column("location", sa.String))


def downgrade() -> None:
    op.drop_column("failures", "location")
    op.drop_table("synced_folders")
