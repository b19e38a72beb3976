"""Pull requests of dist-git changes, and the follow-up that watches one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from service.store.columns import UtcTime

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

KIND = op.f("ck_follow_ups_kind")
BEFORE = "kind IN ('diagnose', 'logs', 'repository', 'surplus', 'verify')"
AFTER = "kind IN ('diagnose', 'logs', 'pull-request', 'repository', 'surplus', 'verify')"
STATE = op.f("ck_dist_git_changes_pull_state")
TEXTS = {
    "pull_url": sa.Text(), "pull_state": sa.String(length=10), "pull_head": sa.String(length=64),
    "pull_base": sa.String(length=64), "pull_merge": sa.String(length=64),
}  # fmt: skip


def upgrade() -> None:
    with op.batch_alter_table("dist_git_changes") as table:
        table.add_column(sa.Column("pull_number", sa.Integer(), nullable=True))
        for name, kind in TEXTS.items():
            # Rows that are there have no pull request; new ones always say what they have.
            table.add_column(sa.Column(name, kind, nullable=False, server_default=""))
        table.add_column(sa.Column("pull_asked_at", UtcTime(), nullable=True))
        table.add_column(sa.Column("pull_opened_at", UtcTime(), nullable=True))
    with op.batch_alter_table("dist_git_changes") as table:
        for name in TEXTS:
            table.alter_column(name, server_default=None)
        table.create_check_constraint(
            STATE,
            "pull_state = '' OR (pull_number IS NOT NULL AND pull_state IN ('closed', 'merged', 'open'))",
        )
    _change_kinds(AFTER)


def downgrade() -> None:
    op.execute("DELETE FROM follow_ups WHERE kind = 'pull-request'")
    _change_kinds(BEFORE)
    with op.batch_alter_table("dist_git_changes") as table:
        table.drop_constraint(STATE, type_="check")
        for name in ("pull_number", *TEXTS, "pull_asked_at", "pull_opened_at"):
            table.drop_column(name)


def _change_kinds(condition: str) -> None:
    with op.batch_alter_table("follow_ups") as table:
        table.drop_constraint(KIND, type_="check")
        table.create_check_constraint(KIND, condition)
