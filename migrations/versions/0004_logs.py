"""Logs that we keep, and the tails of those that still grow."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from service.store.columns import UtcTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

KEPT = "removed_at IS NULL AND sha256 <> ''"


def upgrade() -> None:
    op.create_table(
        "build_logs",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("build_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("chroot", sa.String(length=60), nullable=False),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("plain_size", sa.BigInteger(), nullable=False),
        sa.Column("stored_size", sa.BigInteger(), nullable=False),
        sa.Column("lines", sa.Integer(), nullable=False),
        sa.Column("left_out", sa.BigInteger(), nullable=False),
        sa.Column("blocks", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("stored_at", UtcTime(), nullable=False),
        sa.Column("removed_at", UtcTime(), nullable=True),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('backend', 'builder', 'root', 'source')", name=op.f("ck_build_logs_kind")
        ),
        sa.CheckConstraint("sha256 <> '' OR problem <> ''", name=op.f("ck_build_logs_stored_or_why_not")),
        sa.CheckConstraint(
            "removed_at IS NULL OR problem <> ''", name=op.f("ck_build_logs_removed_says_why")
        ),
        sa.ForeignKeyConstraint(
            ["build_id"], ["package_builds.id"], name=op.f("fk_build_logs_build_id_package_builds")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_build_logs")),
        sa.UniqueConstraint("build_id", "chroot", "kind", name=op.f("uq_build_logs_build_id_chroot_kind")),
    )
    op.create_index(
        "ix_build_logs_kept",
        "build_logs",
        ["stored_at"],
        postgresql_where=sa.text(KEPT),
        sqlite_where=sa.text(KEPT),
    )
    op.create_table(
        "log_tails",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("build_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("chroot", sa.String(length=60), nullable=False),
        sa.Column("tail", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.Column("fetched_at", UtcTime(), nullable=True),
        sa.Column("lease_token", sa.String(length=40), nullable=True),
        sa.Column("lease_until", UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["build_id"], ["package_builds.id"], name=op.f("fk_log_tails_build_id_package_builds")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_log_tails")),
        sa.UniqueConstraint("build_id", "chroot", name=op.f("uq_log_tails_build_id_chroot")),
    )


def downgrade() -> None:
    op.drop_table("log_tails")
    op.drop_index("ix_build_logs_kept", table_name="build_logs")
    op.drop_table("build_logs")
