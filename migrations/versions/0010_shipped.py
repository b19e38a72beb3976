"""How far a build has been shipped, and the follow-up that reads its tags."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from service.store.columns import UtcTime

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

STAGE = op.f("ck_package_builds_shipped")
HAS_TIME = op.f("ck_package_builds_shipped_has_time")
KIND = op.f("ck_follow_ups_kind")
BEFORE = "kind IN ('diagnose', 'logs', 'pull-request', 'repository', 'surplus', 'verify')"
AFTER = "kind IN ('diagnose', 'logs', 'pull-request', 'repository', 'shipped', 'surplus', 'verify')"


def upgrade() -> None:
    with op.batch_alter_table("package_builds") as table:
        table.add_column(sa.Column("shipped", sa.String(length=10), server_default="", nullable=False))
        table.add_column(sa.Column("shipped_at", UtcTime(), nullable=True))
        table.create_check_constraint(STAGE, "shipped IN ('', 'candidate', 'stable', 'testing')")
        table.create_check_constraint(HAS_TIME, "(shipped = '') = (shipped_at IS NULL)")
    _change_kinds(AFTER)


def downgrade() -> None:
    op.execute("DELETE FROM follow_ups WHERE kind = 'shipped'")
    _change_kinds(BEFORE)
    with op.batch_alter_table("package_builds") as table:
        table.drop_constraint(HAS_TIME, type_="check")
        table.drop_constraint(STAGE, type_="check")
        table.drop_column("shipped_at")
        table.drop_column("shipped")


def _change_kinds(condition: str) -> None:
    with op.batch_alter_table("follow_ups") as table:
        table.drop_constraint(KIND, type_="check")
        table.create_check_constraint(KIND, condition)
