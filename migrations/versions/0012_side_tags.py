"""Side tags, the builds that joined them, and their history."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from service.store.columns import UtcTime

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
LIVE = sa.text("state <> 'removed'")


def upgrade() -> None:
    op.create_table(
        "side_tags",
        sa.Column("id", BIG, nullable=False),
        sa.Column("set_id", sa.String(length=40), nullable=False),
        sa.Column("families", JSON, nullable=False),
        sa.Column("stream", sa.String(length=20), nullable=False),
        sa.Column("branch", sa.String(length=20), nullable=False),
        sa.Column("system", sa.String(length=20), nullable=False),
        sa.Column("project", sa.String(length=200), nullable=False),
        sa.Column("base_target", sa.String(length=100), nullable=False),
        sa.Column("name", sa.String(length=200), server_default="", nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("waived", JSON, nullable=False),
        sa.Column("given_up_by", sa.String(length=100), server_default="", nullable=False),
        sa.Column("fence", JSON, nullable=True),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("opened_at", UtcTime(), nullable=True),
        sa.Column("observed_at", UtcTime(), nullable=True),
        sa.Column("ended_at", UtcTime(), nullable=True),
        sa.Column("due_at", UtcTime(), nullable=True),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lease_token", sa.String(length=40), nullable=True),
        sa.Column("lease_until", UtcTime(), nullable=True),
        sa.CheckConstraint(
            "state IN ('creating', 'given-up', 'held', 'open', 'removed', 'removing', 'wanted')",
            name=op.f("ck_side_tags_state"),
        ),
        sa.CheckConstraint(
            "state NOT IN ('open', 'removing') OR name <> ''", name=op.f("ck_side_tags_open_has_name")
        ),
        sa.CheckConstraint(
            "state <> 'creating' OR fence IS NOT NULL", name=op.f("ck_side_tags_creating_has_fence")
        ),
        sa.CheckConstraint(
            "state NOT IN ('held', 'given-up', 'removed') OR reason <> ''", name=op.f("ck_side_tags_reason")
        ),
        sa.CheckConstraint(
            "(state = 'removed') = (ended_at IS NOT NULL)", name=op.f("ck_side_tags_removed_has_time")
        ),
        sa.CheckConstraint(
            "state NOT IN ('creating', 'open', 'given-up', 'removing') OR due_at IS NOT NULL",
            name=op.f("ck_side_tags_live_is_due"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_side_tags")),
    )
    _index("uq_side_tags_live", ["set_id", "stream", "branch", "system", "project"], LIVE, unique=True)
    _index("uq_side_tags_creating", ["system", "project"], sa.text("state = 'creating'"), unique=True)
    _index("uq_side_tags_name", ["system", "project", "name"], sa.text("name <> ''"), unique=True)
    _index("ix_side_tags_due", ["due_at"], LIVE, unique=False)
    op.create_table(
        "side_tag_members",
        sa.Column("build_id", BIG, nullable=False),
        sa.Column("side_tag_id", BIG, nullable=False),
        sa.Column("joined_at", UtcTime(), nullable=False),
        sa.Column("prepared_at", UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["build_id"], ["package_builds.id"], name=op.f("fk_side_tag_members_build_id_package_builds")
        ),
        sa.ForeignKeyConstraint(
            ["side_tag_id"], ["side_tags.id"], name=op.f("fk_side_tag_members_side_tag_id_side_tags")
        ),
        sa.PrimaryKeyConstraint("build_id", name=op.f("pk_side_tag_members")),
    )
    op.create_index("ix_side_tag_members_side_tag", "side_tag_members", ["side_tag_id"])
    op.create_table(
        "side_tag_events",
        sa.Column("id", BIG, nullable=False),
        sa.Column("side_tag_id", BIG, nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("old_state", sa.String(length=12), nullable=False),
        sa.Column("new_state", sa.String(length=12), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["side_tag_id"], ["side_tags.id"], name=op.f("fk_side_tag_events_side_tag_id_side_tags")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_side_tag_events")),
    )
    op.create_index("ix_side_tag_events_side_tag", "side_tag_events", ["side_tag_id", "id"])


def downgrade() -> None:
    op.drop_table("side_tag_events")
    op.drop_table("side_tag_members")
    op.drop_table("side_tags")


def _index(name: str, columns: list[str], where: sa.TextClause, *, unique: bool) -> None:
    op.create_index(name, "side_tags", columns, unique=unique, postgresql_where=where, sqlite_where=where)
