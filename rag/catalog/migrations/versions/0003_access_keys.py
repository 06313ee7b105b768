"""Access keys: a digest of each, its tenant, its role and its limits."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "access_keys",
        sa.Column("id", sa.String(16), primary_key=True),
        sa.Column("tenant_id", sa.Integer, nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("collections", sa.Text),
        sa.Column("requests_per_minute", sa.Integer),
        sa.Column("tokens_per_minute", sa.Integer),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("expires_at", sa.String),
        sa.Column("revoked_at", sa.String),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_access_keys_tenant_id"),
    )
    op.create_index("ix_access_keys_tenant_id", "access_keys", ["tenant_id"])


def downgrade() -> None:
    op.drop_table("access_keys")
