"""The first schema: inbox, releases, builds, chroots, follow-ups, history."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from service.store.columns import UtcTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit_entries",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("actor", sa.String(length=100), nullable=False),
        sa.Column("action", sa.String(length=40), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_entries")),
    )
    op.create_table(
        "contacts",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("ok_at", UtcTime(), nullable=True),
        sa.Column("failed_at", UtcTime(), nullable=True),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.Column("etag", sa.Text(), nullable=False),
        sa.Column("body", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_contacts")),
    )
    op.create_table(
        "package_srpms",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("package", sa.String(length=80), nullable=False),
        sa.Column("version", sa.String(length=60), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("content_sha256", sa.String(length=64), nullable=False),
        sa.Column("made_on", UtcTime(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_package_srpms")),
        sa.UniqueConstraint(
            "package", "content_sha256", name=op.f("uq_package_srpms_package_content_sha256")
        ),
        sa.UniqueConstraint("package", "number", name=op.f("uq_package_srpms_package_number")),
    )
    op.create_table(
        "package_streams",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("family", sa.String(length=60), nullable=False),
        sa.Column("stream", sa.String(length=20), nullable=False),
        sa.Column("sort_key", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("package", sa.String(length=80), nullable=False),
        sa.Column("confirmed", sa.Boolean(), nullable=False),
        sa.Column("last_release_number", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_package_streams")),
        sa.UniqueConstraint("family", "stream", name=op.f("uq_package_streams_family_stream")),
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("guid", sa.String(length=100), nullable=False),
        sa.Column("event", sa.String(length=60), nullable=False),
        sa.Column("action", sa.String(length=60), nullable=False),
        sa.Column("repository", sa.String(length=200), nullable=False),
        sa.Column("tag", sa.String(length=200), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("sender", sa.String(length=100), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("received_at", UtcTime(), nullable=False),
        sa.Column("repeats", sa.Integer(), server_default="0", nullable=False),
        sa.Column("ended_at", UtcTime(), nullable=True),
        sa.Column("due_at", UtcTime(), nullable=True),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lease_token", sa.String(length=40), nullable=True),
        sa.Column("lease_until", UtcTime(), nullable=True),
        sa.CheckConstraint(
            "state <> 'received' OR due_at IS NOT NULL", name=op.f("ck_webhook_deliveries_received_is_due")
        ),
        sa.CheckConstraint(
            "state IN ('errored', 'ignored', 'processed', 'received')",
            name=op.f("ck_webhook_deliveries_state"),
        ),
        sa.CheckConstraint(
            "state NOT IN ('ignored', 'errored') OR reason <> ''", name=op.f("ck_webhook_deliveries_reason")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_deliveries")),
        sa.UniqueConstraint("guid", name=op.f("uq_webhook_deliveries_guid")),
    )
    with op.batch_alter_table("webhook_deliveries", schema=None) as batch_op:
        batch_op.create_index(
            "ix_webhook_deliveries_due",
            ["due_at"],
            unique=False,
            postgresql_where=sa.text("state = 'received'"),
            sqlite_where=sa.text("state = 'received'"),
        )

    op.create_table(
        "upstream_releases",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("family", sa.String(length=60), nullable=False),
        sa.Column("version", sa.String(length=60), nullable=False),
        sa.Column("sort_key", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("stream", sa.String(length=20), nullable=False),
        sa.Column("tag", sa.String(length=80), nullable=False),
        sa.Column("commit_id", sa.String(length=64), nullable=False),
        sa.Column("prerelease", sa.Boolean(), nullable=False),
        sa.Column("published_at", UtcTime(), nullable=True),
        sa.Column("first_seen_at", UtcTime(), nullable=False),
        sa.Column("origin", sa.String(length=20), nullable=False),
        sa.Column("delivery_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("html_url", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("mark", sa.Text(), nullable=False),
        sa.Column(
            "facts",
            sa.JSON().with_variant(postgresql.JSONB(), "postgresql"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "state IN ('known', 'planned', 'unsupported', 'withdrawn')",
            name=op.f("ck_upstream_releases_state"),
        ),
        sa.CheckConstraint(
            "state NOT IN ('unsupported', 'withdrawn') OR reason <> ''",
            name=op.f("ck_upstream_releases_reason"),
        ),
        sa.ForeignKeyConstraint(
            ["delivery_id"],
            ["webhook_deliveries.id"],
            name=op.f("fk_upstream_releases_delivery_id_webhook_deliveries"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_upstream_releases")),
        sa.UniqueConstraint("family", "version", name=op.f("uq_upstream_releases_family_version")),
    )
    with op.batch_alter_table("upstream_releases", schema=None) as batch_op:
        batch_op.create_index("ix_upstream_releases_stream", ["family", "stream", "sort_key"], unique=False)

    op.create_table(
        "package_builds",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("release_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("target", sa.String(length=60), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("family", sa.String(length=60), nullable=False),
        sa.Column("stream", sa.String(length=20), nullable=False),
        sa.Column("package", sa.String(length=80), nullable=False),
        sa.Column("version", sa.String(length=60), nullable=False),
        sa.Column("sort_key", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("release_number", sa.Integer(), nullable=True),
        sa.Column("branch", sa.String(length=20), nullable=False),
        sa.Column("dist", sa.String(length=20), nullable=False),
        sa.Column("system", sa.String(length=20), nullable=False),
        sa.Column("project", sa.String(length=200), nullable=False),
        sa.Column(
            "options",
            sa.JSON().with_variant(postgresql.JSONB(), "postgresql"),
            nullable=False,
        ),
        sa.Column("strategy", sa.String(length=20), nullable=False),
        sa.Column(
            "workarounds",
            sa.JSON().with_variant(postgresql.JSONB(), "postgresql"),
            nullable=False,
        ),
        sa.Column("spec_text", sa.Text(), nullable=True),
        sa.Column("spec_sha256", sa.String(length=64), nullable=True),
        sa.Column("srpm_name", sa.String(length=200), nullable=True),
        sa.Column("srpm_sha256", sa.String(length=64), nullable=True),
        sa.Column("submission_key", sa.String(length=60), nullable=True),
        sa.Column("submissions", sa.Integer(), server_default="0", nullable=False),
        sa.Column("fence", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=True),
        sa.Column("external_id", sa.String(length=60), nullable=True),
        sa.Column("web_url", sa.Text(), nullable=False),
        sa.Column("source_log_url", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("soundness", sa.String(length=10), nullable=False),
        sa.Column("cancel_requested", sa.Text(), nullable=True),
        sa.Column("requested_by", sa.String(length=100), nullable=True),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("submitted_at", UtcTime(), nullable=True),
        sa.Column("ended_at", UtcTime(), nullable=True),
        sa.Column("observed_at", UtcTime(), nullable=True),
        sa.Column("deadline_at", UtcTime(), nullable=False),
        sa.Column("due_at", UtcTime(), nullable=True),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lease_token", sa.String(length=40), nullable=True),
        sa.Column("lease_until", UtcTime(), nullable=True),
        sa.CheckConstraint(
            "NOT (state IN ('canceled', 'errored', 'failed', 'succeeded', 'superseded')) OR ended_at IS NOT NULL",
            name=op.f("ck_package_builds_ended_has_time"),
        ),
        sa.CheckConstraint(
            "NOT (state IN ('held', 'pending', 'preparing', 'running', 'submitting') AND state <> 'held') OR due_at IS NOT NULL",
            name=op.f("ck_package_builds_live_is_due"),
        ),
        sa.CheckConstraint(
            "soundness IN ('degraded', 'sound', 'unknown')", name=op.f("ck_package_builds_soundness")
        ),
        sa.CheckConstraint(
            "state <> 'running' OR external_id IS NOT NULL", name=op.f("ck_package_builds_running_has_id")
        ),
        sa.CheckConstraint(
            "state IN ('canceled', 'errored', 'failed', 'held', 'pending', 'preparing', 'running', 'submitting', 'succeeded', 'superseded')",
            name=op.f("ck_package_builds_state"),
        ),
        sa.CheckConstraint(
            "state NOT IN ('failed', 'canceled', 'errored', 'superseded', 'held') OR reason <> ''",
            name=op.f("ck_package_builds_reason"),
        ),
        sa.ForeignKeyConstraint(
            ["release_id"],
            ["upstream_releases.id"],
            name=op.f("fk_package_builds_release_id_upstream_releases"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_package_builds")),
        sa.UniqueConstraint(
            "release_id", "target", "attempt", name=op.f("uq_package_builds_release_id_target_attempt")
        ),
        sa.UniqueConstraint("submission_key", name=op.f("uq_package_builds_submission_key")),
    )
    with op.batch_alter_table("package_builds", schema=None) as batch_op:
        batch_op.create_index("ix_package_builds_branch", ["branch", "id"], unique=False)
        batch_op.create_index(
            "ix_package_builds_cell", ["package", "target", "sort_key", "attempt"], unique=False
        )
        batch_op.create_index(
            "ix_package_builds_due",
            ["due_at"],
            unique=False,
            postgresql_where=sa.text("state IN ('held', 'pending', 'preparing', 'running', 'submitting')"),
            sqlite_where=sa.text("state IN ('held', 'pending', 'preparing', 'running', 'submitting')"),
        )
        batch_op.create_index(
            "ix_package_builds_good",
            ["package", "target", "sort_key", "attempt"],
            unique=False,
            postgresql_where=sa.text("state = 'succeeded'"),
            sqlite_where=sa.text("state = 'succeeded'"),
        )
        batch_op.create_index(batch_op.f("ix_package_builds_release_id"), ["release_id"], unique=False)
        batch_op.create_index("ix_package_builds_state", ["state", "id"], unique=False)
        batch_op.create_index(
            "uq_package_builds_live",
            ["release_id", "target"],
            unique=True,
            postgresql_where=sa.text("state IN ('held', 'pending', 'preparing', 'running', 'submitting')"),
            sqlite_where=sa.text("state IN ('held', 'pending', 'preparing', 'running', 'submitting')"),
        )

    op.create_table(
        "build_events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("build_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("old_state", sa.String(length=12), nullable=False),
        sa.Column("new_state", sa.String(length=12), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("chroot", sa.String(length=60), nullable=False),
        sa.ForeignKeyConstraint(
            ["build_id"], ["package_builds.id"], name=op.f("fk_build_events_build_id_package_builds")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_build_events")),
    )
    with op.batch_alter_table("build_events", schema=None) as batch_op:
        batch_op.create_index("ix_build_events_build", ["build_id", "id"], unique=False)

    op.create_table(
        "chroot_builds",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("build_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("chroot", sa.String(length=60), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("started_at", UtcTime(), nullable=True),
        sa.Column("ended_at", UtcTime(), nullable=True),
        sa.Column("result_url", sa.Text(), nullable=False),
        sa.Column("log_url", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "state IN ('canceled', 'failed', 'pending', 'running', 'skipped', 'succeeded')",
            name=op.f("ck_chroot_builds_state"),
        ),
        sa.CheckConstraint(
            "state NOT IN ('failed', 'canceled', 'skipped') OR reason <> ''",
            name=op.f("ck_chroot_builds_reason"),
        ),
        sa.ForeignKeyConstraint(
            ["build_id"], ["package_builds.id"], name=op.f("fk_chroot_builds_build_id_package_builds")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chroot_builds")),
        sa.UniqueConstraint("build_id", "chroot", name=op.f("uq_chroot_builds_build_id_chroot")),
    )
    op.create_table(
        "follow_ups",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("build_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("subject", sa.String(length=60), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("ended_at", UtcTime(), nullable=True),
        sa.Column("due_at", UtcTime(), nullable=True),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lease_token", sa.String(length=40), nullable=True),
        sa.Column("lease_until", UtcTime(), nullable=True),
        sa.CheckConstraint(
            "kind IN ('diagnose', 'logs', 'surplus', 'verify')", name=op.f("ck_follow_ups_kind")
        ),
        sa.CheckConstraint(
            "ended_at IS NOT NULL OR due_at IS NOT NULL", name=op.f("ck_follow_ups_open_is_due")
        ),
        sa.ForeignKeyConstraint(
            ["build_id"], ["package_builds.id"], name=op.f("fk_follow_ups_build_id_package_builds")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_follow_ups")),
        sa.UniqueConstraint("build_id", "kind", "subject", name=op.f("uq_follow_ups_build_id_kind_subject")),
    )
    with op.batch_alter_table("follow_ups", schema=None) as batch_op:
        batch_op.create_index(
            "ix_follow_ups_due",
            ["due_at"],
            unique=False,
            postgresql_where=sa.text("ended_at IS NULL"),
            sqlite_where=sa.text("ended_at IS NULL"),
        )


def downgrade() -> None:
    with op.batch_alter_table("follow_ups", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_follow_ups_due",
            postgresql_where=sa.text("ended_at IS NULL"),
            sqlite_where=sa.text("ended_at IS NULL"),
        )

    op.drop_table("follow_ups")
    op.drop_table("chroot_builds")
    with op.batch_alter_table("build_events", schema=None) as batch_op:
        batch_op.drop_index("ix_build_events_build")

    op.drop_table("build_events")
    with op.batch_alter_table("package_builds", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_package_builds_live",
            postgresql_where=sa.text("state IN ('held', 'pending', 'preparing', 'running', 'submitting')"),
            sqlite_where=sa.text("state IN ('held', 'pending', 'preparing', 'running', 'submitting')"),
        )
        batch_op.drop_index("ix_package_builds_state")
        batch_op.drop_index(batch_op.f("ix_package_builds_release_id"))
        batch_op.drop_index(
            "ix_package_builds_good",
            postgresql_where=sa.text("state = 'succeeded'"),
            sqlite_where=sa.text("state = 'succeeded'"),
        )
        batch_op.drop_index(
            "ix_package_builds_due",
            postgresql_where=sa.text("state IN ('held', 'pending', 'preparing', 'running', 'submitting')"),
            sqlite_where=sa.text("state IN ('held', 'pending', 'preparing', 'running', 'submitting')"),
        )
        batch_op.drop_index("ix_package_builds_cell")
        batch_op.drop_index("ix_package_builds_branch")

    op.drop_table("package_builds")
    with op.batch_alter_table("upstream_releases", schema=None) as batch_op:
        batch_op.drop_index("ix_upstream_releases_stream")

    op.drop_table("upstream_releases")
    with op.batch_alter_table("webhook_deliveries", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_webhook_deliveries_due",
            postgresql_where=sa.text("state = 'received'"),
            sqlite_where=sa.text("state = 'received'"),
        )

    op.drop_table("webhook_deliveries")
    op.drop_table("package_streams")
    op.drop_table("package_srpms")
    op.drop_table("contacts")
    op.drop_table("audit_entries")
