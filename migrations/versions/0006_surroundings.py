"""What a build was made from and in: vendored modules, tools of the buildroot."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "vendored_modules",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("release_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("modules", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.ForeignKeyConstraint(
            ["release_id"],
            ["upstream_releases.id"],
            name=op.f("fk_vendored_modules_release_id_upstream_releases"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_vendored_modules")),
        sa.UniqueConstraint("release_id", name=op.f("uq_vendored_modules_release_id")),
    )
    op.create_table(
        "buildroots",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("build_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("chroot", sa.String(length=60), nullable=False),
        sa.Column("tools", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.ForeignKeyConstraint(
            ["build_id"], ["package_builds.id"], name=op.f("fk_buildroots_build_id_package_builds")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_buildroots")),
        sa.UniqueConstraint("build_id", "chroot", name=op.f("uq_buildroots_build_id_chroot")),
    )


def downgrade() -> None:
    op.drop_table("buildroots")
    op.drop_table("vendored_modules")
