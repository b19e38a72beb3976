"""What the proofs of workarounds found."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from service.store.columns import UtcTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "rule_proofs",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("rule", sa.String(length=40), nullable=False),
        sa.Column("rule_sha256", sa.String(length=64), nullable=False),
        sa.Column("go", sa.String(length=60), nullable=False),
        sa.Column("linker", sa.String(length=200), nullable=False),
        sa.Column("compiler", sa.String(length=200), nullable=False),
        sa.Column("machine", sa.String(length=40), nullable=False),
        sa.Column("simulates", sa.String(length=40), nullable=False),
        sa.Column("verdict", sa.String(length=20), nullable=False),
        sa.Column("symptom", sa.Text(), nullable=False),
        sa.Column("trials", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("proved_at", UtcTime(), nullable=False),
        sa.Column("proved_by", sa.String(length=100), nullable=False),
        sa.CheckConstraint(
            "verdict IN ('could not be tried', 'cures', 'makes it worse', 'needed', 'no longer needed')",
            name=op.f("ck_rule_proofs_verdict"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rule_proofs")),
    )
    op.create_index("ix_rule_proofs_rule", "rule_proofs", ["rule", "id"])


def downgrade() -> None:
    op.drop_index("ix_rule_proofs_rule", table_name="rule_proofs")
    op.drop_table("rule_proofs")
