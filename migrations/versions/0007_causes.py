"""Causes of failures, the names that people give to unknown ones, and the remedies that were tried."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from service.store.columns import UtcTime

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.add_column("package_builds", sa.Column("cause", sa.Text(), server_default="", nullable=False))
    op.create_table(
        "diagnoses",
        sa.Column("id", ID, nullable=False),
        sa.Column("build_id", ID, nullable=False),
        sa.Column("chroot", sa.String(length=60), nullable=False),
        sa.Column("log", sa.String(length=12), nullable=False),
        sa.Column("rule", sa.String(length=60), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("advice", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.String(length=16), nullable=False),
        sa.Column("section", sa.String(length=40), nullable=False),
        sa.Column("excerpt", JSON, nullable=False),
        sa.Column("also", JSON, nullable=False),
        sa.Column("lines", sa.Integer(), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["build_id"], ["package_builds.id"], name=op.f("fk_diagnoses_build_id_package_builds")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_diagnoses")),
        sa.UniqueConstraint("build_id", "chroot", name=op.f("uq_diagnoses_build_id_chroot")),
    )
    op.create_index("ix_diagnoses_rule", "diagnoses", ["rule", "id"])
    op.create_index("ix_diagnoses_cluster", "diagnoses", ["fingerprint", "id"])
    op.create_table(
        "named_causes",
        sa.Column("id", ID, nullable=False),
        sa.Column("fingerprint", sa.String(length=16), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("advice", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("fault", sa.String(length=16), nullable=False),
        sa.Column("retry", sa.String(length=8), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("named_by", sa.String(length=100), nullable=False),
        sa.Column("named_at", UtcTime(), nullable=False),
        sa.CheckConstraint("fault IN ('infrastructure', 'package')", name=op.f("ck_named_causes_fault")),
        sa.CheckConstraint("retry IN ('later', 'no', 'yes')", name=op.f("ck_named_causes_retry")),
        sa.CheckConstraint(
            "cause <> '' AND why <> '' AND named_by <> ''", name=op.f("ck_named_causes_says_who_and_why")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_named_causes")),
        sa.UniqueConstraint("fingerprint", name=op.f("uq_named_causes_fingerprint")),
    )
    op.create_table(
        "remedies",
        sa.Column("id", ID, nullable=False),
        sa.Column("failed_id", ID, nullable=False),
        sa.Column("attempt_id", ID, nullable=True),
        sa.Column("rule", sa.String(length=60), nullable=False),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("policy", sa.String(length=8), nullable=False),
        sa.Column("strategy", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.CheckConstraint("kind IN ('later', 'strategy', 'wait')", name=op.f("ck_remedies_kind")),
        sa.CheckConstraint("policy IN ('auto', 'suggest')", name=op.f("ck_remedies_policy")),
        sa.CheckConstraint(
            "(policy = 'auto') = (attempt_id IS NOT NULL)", name=op.f("ck_remedies_applied_has_attempt")
        ),
        sa.CheckConstraint(
            "attempt_id IS NULL OR attempt_id <> failed_id", name=op.f("ck_remedies_not_of_itself")
        ),
        sa.ForeignKeyConstraint(
            ["failed_id"], ["package_builds.id"], name=op.f("fk_remedies_failed_id_package_builds")
        ),
        sa.ForeignKeyConstraint(
            ["attempt_id"], ["package_builds.id"], name=op.f("fk_remedies_attempt_id_package_builds")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_remedies")),
        sa.UniqueConstraint("failed_id", name=op.f("uq_remedies_failed_id")),
        sa.UniqueConstraint("attempt_id", name=op.f("uq_remedies_attempt_id")),
    )


def downgrade() -> None:
    op.drop_table("remedies")
    op.drop_table("named_causes")
    op.drop_table("diagnoses")
    op.drop_column("package_builds", "cause")
