"""Whether a stream is confirmed stands in the catalogue and its overrides; the column beside them was never read."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("package_streams") as table:
        table.drop_column("confirmed")


def downgrade() -> None:
    with op.batch_alter_table("package_streams") as table:
        table.add_column(sa.Column("confirmed", sa.Boolean(), nullable=False, server_default=sa.false()))
    with op.batch_alter_table("package_streams") as table:
        table.alter_column("confirmed", server_default=None)
