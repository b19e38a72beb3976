"""The name-version-release that a build system gave a build, where it is not known before."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    column = sa.Column("built_nvr", sa.String(length=200), server_default="", nullable=False)
    op.add_column("package_builds", column)


def downgrade() -> None:
    with op.batch_alter_table("package_builds") as table:
        table.drop_column("built_nvr")
