"""The tables. CHECK constraints tell the life cycle, so that a wrong state cannot be stored."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from service.domain.shipping import Stage
from service.domain.states import (
    ENDED_BUILD,
    LIVE_BUILD,
    BuildState,
    ChrootState,
    DeliveryState,
    ReleaseState,
    Soundness,
)
from service.store.base import Base, Id, Json, in_sql
from service.store.columns import SortText, UtcTime, Words

LIVE_SQL = in_sql("state", LIVE_BUILD)
ENDED_SQL = in_sql("state", ENDED_BUILD)
FOLLOW_UP_KINDS = ("diagnose", "logs", "pull-request", "repository", "shipped", "surplus", "verify")


class WebhookDelivery(Base):
    """One webhook delivery as it came, and what became of it. ``guid`` is X-GitHub-Delivery."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        CheckConstraint(in_sql("state", DeliveryState), name="state"),
        CheckConstraint("state <> 'received' OR due_at IS NOT NULL", name="received_is_due"),
        CheckConstraint("state NOT IN ('ignored', 'errored') OR reason <> ''", name="reason"),
        Index("ix_webhook_deliveries_due", "due_at", postgresql_where=text("state = 'received'"),
              sqlite_where=text("state = 'received'")),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    guid: Mapped[str] = mapped_column(String(100), unique=True)
    event: Mapped[str] = mapped_column(String(60))
    action: Mapped[str] = mapped_column(String(60), default="")
    repository: Mapped[str] = mapped_column(String(200), default="")
    tag: Mapped[str] = mapped_column(String(200), default="")
    payload: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)
    sender: Mapped[str] = mapped_column(String(100), default="")
    state: Mapped[str] = mapped_column(String(12), default=DeliveryState.RECEIVED.value)
    reason: Mapped[str] = mapped_column(Words, default="")
    received_at: Mapped[datetime] = mapped_column(UtcTime)
    repeats: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    ended_at: Mapped[datetime | None] = mapped_column(UtcTime)
    due_at: Mapped[datetime | None] = mapped_column(UtcTime)
    tries: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    lease_token: Mapped[str | None] = mapped_column(String(40))
    lease_until: Mapped[datetime | None] = mapped_column(UtcTime)


class PackageStream(Base):
    """One stream of a family: the row that planning locks, and the counter of its SRPMs."""

    __tablename__ = "package_streams"
    __table_args__ = (UniqueConstraint("family", "stream"),)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    family: Mapped[str] = mapped_column(String(60))
    stream: Mapped[str] = mapped_column(String(20))
    sort_key: Mapped[str] = mapped_column(SortText)
    package: Mapped[str] = mapped_column(String(80))
    last_release_number: Mapped[int] = mapped_column(Integer, default=0, server_default="0")


class UpstreamRelease(Base):
    """One version that upstream announced, the decision about it, and what its source says."""

    __tablename__ = "upstream_releases"
    __table_args__ = (
        UniqueConstraint("family", "version"),
        CheckConstraint(in_sql("state", ReleaseState), name="state"),
        CheckConstraint("state NOT IN ('unsupported', 'withdrawn') OR reason <> ''", name="reason"),
        Index("ix_upstream_releases_stream", "family", "stream", "sort_key"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    family: Mapped[str] = mapped_column(String(60))
    version: Mapped[str] = mapped_column(String(60))
    sort_key: Mapped[str] = mapped_column(SortText)
    stream: Mapped[str] = mapped_column(String(20))
    tag: Mapped[str] = mapped_column(String(80))
    commit: Mapped[str] = mapped_column("commit_id", String(64), default="")
    prerelease: Mapped[bool] = mapped_column(default=False)
    published_at: Mapped[datetime | None] = mapped_column(UtcTime)
    first_seen_at: Mapped[datetime] = mapped_column(UtcTime)
    origin: Mapped[str] = mapped_column(String(20), default="webhook")
    delivery_id: Mapped[int | None] = mapped_column(ForeignKey("webhook_deliveries.id"))
    html_url: Mapped[str] = mapped_column(Words, default="")
    state: Mapped[str] = mapped_column(String(12), default=ReleaseState.KNOWN.value)
    reason: Mapped[str] = mapped_column(Words, default="")
    mark: Mapped[str] = mapped_column(Words, default="")
    facts: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    bugs: Mapped[list[int]] = mapped_column(Json, default=list, server_default="[]")

    delivery: Mapped[WebhookDelivery | None] = relationship()


class PackageSrpm(Base):
    """One content of a package's SRPM: the number n of Release ``0.<n>`` rises with each of them."""

    __tablename__ = "package_srpms"
    __table_args__ = (
        UniqueConstraint("package", "number"),
        UniqueConstraint("package", "content_sha256"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    package: Mapped[str] = mapped_column(String(80))
    version: Mapped[str] = mapped_column(String(60))
    number: Mapped[int] = mapped_column(Integer)
    content_sha256: Mapped[str] = mapped_column(String(64))
    made_on: Mapped[datetime] = mapped_column(UtcTime)
    why: Mapped[str] = mapped_column(Words)


class PackageBuild(Base):
    """One attempt to build one release for one target."""

    __tablename__ = "package_builds"
    __table_args__ = (
        UniqueConstraint("release_id", "target", "attempt"),
        CheckConstraint(in_sql("state", BuildState), name="state"),
        CheckConstraint(in_sql("soundness", Soundness), name="soundness"),
        CheckConstraint(in_sql("shipped", ("", *Stage)), name="shipped"),
        CheckConstraint("(shipped = '') = (shipped_at IS NULL)", name="shipped_has_time"),
        CheckConstraint("state <> 'running' OR external_id IS NOT NULL", name="running_has_id"),
        CheckConstraint(f"NOT ({ENDED_SQL}) OR ended_at IS NOT NULL", name="ended_has_time"),
        CheckConstraint(f"NOT ({LIVE_SQL} AND state <> 'held') OR due_at IS NOT NULL", name="live_is_due"),
        CheckConstraint(
            "state NOT IN ('failed', 'canceled', 'errored', 'superseded', 'held') OR reason <> ''", name="reason"
        ),
        Index("uq_package_builds_live", "release_id", "target", unique=True,
              postgresql_where=text(LIVE_SQL), sqlite_where=text(LIVE_SQL)),
        Index("ix_package_builds_due", "due_at",
              postgresql_where=text(LIVE_SQL), sqlite_where=text(LIVE_SQL)),
        Index("ix_package_builds_cell", "package", "target", "sort_key", "attempt"),
        Index("ix_package_builds_good", "package", "target", "sort_key", "attempt",
              postgresql_where=text("state = 'succeeded'"), sqlite_where=text("state = 'succeeded'")),
        Index("ix_package_builds_branch", "branch", "id"),
        Index("ix_package_builds_state", "state", "id"),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    release_id: Mapped[int] = mapped_column(ForeignKey("upstream_releases.id"), index=True)
    target: Mapped[str] = mapped_column(String(60))
    attempt: Mapped[int] = mapped_column(Integer)
    family: Mapped[str] = mapped_column(String(60))
    stream: Mapped[str] = mapped_column(String(20))
    package: Mapped[str] = mapped_column(String(80))
    version: Mapped[str] = mapped_column(String(60))
    sort_key: Mapped[str] = mapped_column(SortText)
    release_number: Mapped[int | None] = mapped_column(Integer)
    branch: Mapped[str] = mapped_column(String(20))
    dist: Mapped[str] = mapped_column(String(20))
    system: Mapped[str] = mapped_column(String(20))
    project: Mapped[str] = mapped_column(String(200))
    options: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    strategy: Mapped[str] = mapped_column(String(20))
    workarounds: Mapped[list[str]] = mapped_column(Json, default=list)
    spec_text: Mapped[str | None] = mapped_column(Words, deferred=True)
    spec_sha256: Mapped[str | None] = mapped_column(String(64))
    srpm_name: Mapped[str | None] = mapped_column(String(200))
    srpm_sha256: Mapped[str | None] = mapped_column(String(64))
    submission_key: Mapped[str | None] = mapped_column(String(60), unique=True)
    submissions: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    fence: Mapped[dict[str, Any] | None] = mapped_column(Json)
    external_id: Mapped[str | None] = mapped_column(String(60))
    web_url: Mapped[str] = mapped_column(Words, default="")
    built_nvr: Mapped[str] = mapped_column(String(200), default="", server_default="")
    source_log_url: Mapped[str] = mapped_column(Words, default="")
    state: Mapped[str] = mapped_column(String(12), default=BuildState.PENDING.value)
    reason: Mapped[str] = mapped_column(Words, default="")
    note: Mapped[str] = mapped_column(Words, default="")
    cause: Mapped[str] = mapped_column(Words, default="", server_default="")
    soundness: Mapped[str] = mapped_column(String(10), default=Soundness.UNKNOWN.value)
    shipped: Mapped[str] = mapped_column(String(10), default="", server_default="")
    shipped_at: Mapped[datetime | None] = mapped_column(UtcTime)
    cancel_requested: Mapped[str | None] = mapped_column(Words)
    requested_by: Mapped[str | None] = mapped_column(String(100))
    created_at: Mapped[datetime] = mapped_column(UtcTime)
    submitted_at: Mapped[datetime | None] = mapped_column(UtcTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcTime)
    observed_at: Mapped[datetime | None] = mapped_column(UtcTime)
    deadline_at: Mapped[datetime] = mapped_column(UtcTime)
    due_at: Mapped[datetime | None] = mapped_column(UtcTime)
    tries: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    lease_token: Mapped[str | None] = mapped_column(String(40))
    lease_until: Mapped[datetime | None] = mapped_column(UtcTime)

    release: Mapped[UpstreamRelease] = relationship()
    chroots: Mapped[list[ChrootBuild]] = relationship(order_by="ChrootBuild.chroot")


class ChrootBuild(Base):
    """One chroot of a build, as last seen at the other side."""

    __tablename__ = "chroot_builds"
    __table_args__ = (
        UniqueConstraint("build_id", "chroot"),
        CheckConstraint(in_sql("state", ChrootState), name="state"),
        CheckConstraint("state NOT IN ('failed', 'canceled', 'skipped') OR reason <> ''", name="reason"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    build_id: Mapped[int] = mapped_column(ForeignKey("package_builds.id"))
    chroot: Mapped[str] = mapped_column(String(60))
    state: Mapped[str] = mapped_column(String(12), default=ChrootState.PENDING.value)
    reason: Mapped[str] = mapped_column(Words, default="")
    started_at: Mapped[datetime | None] = mapped_column(UtcTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcTime)
    result_url: Mapped[str] = mapped_column(Words, default="")
    log_url: Mapped[str] = mapped_column(Words, default="")


class FollowUp(Base):
    """Work that comes after a submission or an end, such as cancelling a surplus twin."""

    __tablename__ = "follow_ups"
    __table_args__ = (
        UniqueConstraint("build_id", "kind", "subject"),
        CheckConstraint(in_sql("kind", FOLLOW_UP_KINDS), name="kind"),
        CheckConstraint("ended_at IS NOT NULL OR due_at IS NOT NULL", name="open_is_due"),
        Index("ix_follow_ups_due", "due_at",
              postgresql_where=text("ended_at IS NULL"), sqlite_where=text("ended_at IS NULL")),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    build_id: Mapped[int] = mapped_column(ForeignKey("package_builds.id"))
    kind: Mapped[str] = mapped_column(String(12))
    subject: Mapped[str] = mapped_column(String(60), default="")
    outcome: Mapped[str] = mapped_column(Words, default="")
    ended_at: Mapped[datetime | None] = mapped_column(UtcTime)
    due_at: Mapped[datetime | None] = mapped_column(UtcTime)
    tries: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    lease_token: Mapped[str | None] = mapped_column(String(40))
    lease_until: Mapped[datetime | None] = mapped_column(UtcTime)


class BuildEvent(Base):
    """Append-only history of a build: every move and every observation that mattered."""

    __tablename__ = "build_events"
    __table_args__ = (Index("ix_build_events_build", "build_id", "id"),)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    build_id: Mapped[int] = mapped_column(ForeignKey("package_builds.id"))
    at: Mapped[datetime] = mapped_column(UtcTime)
    kind: Mapped[str] = mapped_column(String(20))
    old_state: Mapped[str] = mapped_column(String(12), default="")
    new_state: Mapped[str] = mapped_column(String(12), default="")
    text: Mapped[str] = mapped_column(Words, default="")
    chroot: Mapped[str] = mapped_column(String(60), default="")


class AuditEntry(Base):
    """What a person asked for, and what it was done to. Append-only: triggers refuse every change and deletion."""

    __tablename__ = "audit_entries"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcTime)
    actor: Mapped[str] = mapped_column(String(100))
    action: Mapped[str] = mapped_column(String(40))
    subject: Mapped[str] = mapped_column(String(200))
    detail: Mapped[str] = mapped_column(Words)
    address: Mapped[str] = mapped_column(String(100), default="", server_default="")
    before: Mapped[dict[str, Any] | None] = mapped_column(Json)
    after: Mapped[dict[str, Any] | None] = mapped_column(Json)


class Contact(Base):
    """When we last reached another side, or failed to, and what a conditional request needs (ETag)."""

    __tablename__ = "contacts"

    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    ok_at: Mapped[datetime | None] = mapped_column(UtcTime)
    failed_at: Mapped[datetime | None] = mapped_column(UtcTime)
    problem: Mapped[str] = mapped_column(Words, default="")
    etag: Mapped[str] = mapped_column(Words, default="")
    body: Mapped[Any | None] = mapped_column(Json)
