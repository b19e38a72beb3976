"""Changes of dist-git, and the follow-up that waits for a repository."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from service.store.columns import UtcTime

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

KIND = op.f("ck_follow_ups_kind")
BEFORE = "kind IN ('diagnose', 'logs', 'surplus', 'verify')"
AFTER = "kind IN ('diagnose', 'logs', 'repository', 'surplus', 'verify')"


def upgrade() -> None:
    op.create_table(
        "dist_git_changes",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("build_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("package", sa.String(length=80), nullable=False),
        sa.Column("branch", sa.String(length=20), nullable=False),
        sa.Column("repository", sa.Text(), nullable=False),
        sa.Column("change_key", sa.String(length=60), nullable=False),
        sa.Column("files", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("decision", sa.String(length=20), nullable=False),
        sa.Column("resolution", sa.String(length=20), nullable=False),
        sa.Column("conflict", sa.Text(), nullable=False),
        sa.Column("missing", sa.String(length=12), nullable=False),
        sa.Column("evr", sa.String(length=200), nullable=False),
        sa.Column("commit_id", sa.String(length=64), nullable=False),
        sa.Column("landed_commit", sa.String(length=64), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("landed_at", UtcTime(), nullable=True),
        sa.CheckConstraint(
            "resolution IN ('', 'dist-git', 'done', 'generated')", name=op.f("ck_dist_git_changes_resolution")
        ),
        sa.CheckConstraint(
            "(landed_commit = '') = (landed_at IS NULL)", name=op.f("ck_dist_git_changes_landed_has_time")
        ),
        sa.ForeignKeyConstraint(
            ["build_id"], ["package_builds.id"], name=op.f("fk_dist_git_changes_build_id_package_builds")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dist_git_changes")),
        sa.UniqueConstraint("build_id", name=op.f("uq_dist_git_changes_build_id")),
        sa.UniqueConstraint("change_key", name=op.f("uq_dist_git_changes_change_key")),
    )
    op.create_index("ix_dist_git_changes_package", "dist_git_changes", ["package", "branch", "landed_at"])
    _change_kinds(AFTER)


def downgrade() -> None:
    op.execute("DELETE FROM follow_ups WHERE kind = 'repository'")
    _change_kinds(BEFORE)
    op.drop_index("ix_dist_git_changes_package", table_name="dist_git_changes")
    op.drop_table("dist_git_changes")


def _change_kinds(condition: str) -> None:
    with op.batch_alter_table("follow_ups") as table:
        table.drop_constraint(KIND, type_="check")
        table.create_check_constraint(KIND, condition)
