"""What verification found in built RPMs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from service.store.columns import UtcTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def _id(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False)


def upgrade() -> None:
    op.create_table(
        "chroot_checks",
        _id("id"),
        _id("build_id"),
        sa.Column("chroot", sa.String(length=60), nullable=False),
        sa.Column("soundness", sa.String(length=10), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("checked_at", UtcTime(), nullable=False),
        sa.CheckConstraint(
            "soundness IN ('degraded', 'sound', 'unknown')", name=op.f("ck_chroot_checks_soundness")
        ),
        sa.ForeignKeyConstraint(
            ["build_id"], ["package_builds.id"], name=op.f("fk_chroot_checks_build_id_package_builds")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chroot_checks")),
        sa.UniqueConstraint("build_id", "chroot", name=op.f("uq_chroot_checks_build_id_chroot")),
    )
    op.create_table(
        "built_rpms",
        _id("id"),
        _id("build_id"),
        sa.Column("chroot", sa.String(length=60), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("nvra", sa.String(length=250), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("binaries", sa.Integer(), nullable=False),
        sa.Column("go", sa.String(length=40), nullable=False),
        sa.Column("files", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.ForeignKeyConstraint(
            ["build_id"], ["package_builds.id"], name=op.f("fk_built_rpms_build_id_package_builds")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_built_rpms")),
        sa.UniqueConstraint("build_id", "chroot", "nvra", name=op.f("uq_built_rpms_build_id_chroot_nvra")),
    )
    op.create_table(
        "check_findings",
        _id("id"),
        _id("build_id"),
        sa.Column("chroot", sa.String(length=60), nullable=False),
        sa.Column("rpm", sa.String(length=250), nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("rule", sa.String(length=40), nullable=False),
        sa.Column("grade", sa.String(length=10), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.CheckConstraint("grade IN ('note', 'unsound', 'weak')", name=op.f("ck_check_findings_grade")),
        sa.ForeignKeyConstraint(
            ["build_id"], ["package_builds.id"], name=op.f("fk_check_findings_build_id_package_builds")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_check_findings")),
    )
    op.create_index("ix_check_findings_build", "check_findings", ["build_id"])


def downgrade() -> None:
    op.drop_index("ix_check_findings_build", table_name="check_findings")
    op.drop_table("check_findings")
    op.drop_table("built_rpms")
    op.drop_table("chroot_checks")
