"""The bugs that ask for a release, so that a commit of dist-git can name them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from service.store.base import Json

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    column = sa.Column("bugs", Json, server_default="[]", nullable=False)
    op.add_column("upstream_releases", column)


def downgrade() -> None:
    with op.batch_alter_table("upstream_releases") as table:
        table.drop_column("bugs")
