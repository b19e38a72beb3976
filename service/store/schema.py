"""Defines every table of the service, in sections by subject, with its constraints and indexes.

CHECK constraints state the life cycle of a row, so that no code can store a wrong one. Where a table has them,
``due_at`` is when a row is worked on next, ``tries`` counts claims without progress, ``lease_token`` and
``lease_until`` belong to the worker that has claimed it. All times are in UTC. A change of a table needs a migration.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
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

from service.domain.diagnosis import Fault, RemedyKind, RemedyPolicy, Retry
from service.domain.distgit import PullState, Resolution
from service.domain.proofs import Verdict
from service.domain.shipping import Stage
from service.domain.states import (
    ENDED_BUILD,
    LIVE_BUILD,
    BuildState,
    ChrootState,
    DeliveryState,
    ReleaseState,
    SideTagState,
    Soundness,
)
from service.store.base import Base, Id, Json, in_sql
from service.store.columns import SortText, UtcTime, Words

# Conditions of constraints and of partial indexes, and the values that are no enumeration of the domain.
LIVE_BUILD_SQL = in_sql("state", LIVE_BUILD)
ENDED_BUILD_SQL = in_sql("state", ENDED_BUILD)
FOLLOW_UP_KINDS = ("diagnose", "logs", "pull-request", "repository", "shipped", "surplus", "verify")
LIVE_SIDE_TAG_SQL = "state <> 'removed'"
GRADES = ("unsound", "weak", "note")
LOG_KINDS = ("builder", "root", "backend", "source")
OVERRIDE_KINDS = ("target", "branch", "stream")


# Webhook deliveries and releases


class WebhookDelivery(Base):
    """One webhook delivery as it came, and what became of it. ``guid`` is the header X-GitHub-Delivery."""

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
    """One stream of a family. Planning locks its row; ``last_release_number`` counts its SRPMs."""

    __tablename__ = "package_streams"
    __table_args__ = (UniqueConstraint("family", "stream"),)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    family: Mapped[str] = mapped_column(String(60))
    stream: Mapped[str] = mapped_column(String(20))
    sort_key: Mapped[str] = mapped_column(SortText)
    package: Mapped[str] = mapped_column(String(80))
    last_release_number: Mapped[int] = mapped_column(Integer, default=0, server_default="0")


class UpstreamRelease(Base):
    """One release that upstream announced, the decision about it, and the facts of its source.

    ``commit`` (column ``commit_id``) is the tag's. ``origin`` is where we learned of it. ``mark`` is a remark, such as
    that the tag moved. ``bugs`` are numbers in Fedora's Bugzilla.
    """

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


class VendoredModules(Base):
    """The Go modules that a release's source vendors: path to version, as vendor/modules.txt lists them."""

    __tablename__ = "vendored_modules"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    release_id: Mapped[int] = mapped_column(ForeignKey("upstream_releases.id"), unique=True)
    modules: Mapped[dict[str, Any]] = mapped_column(Json)


# Builds


class PackageSrpm(Base):
    """One SRPM of a package by its content; ``number`` is the n of its Release ``0.<n>``, one for each content."""

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
    """One build: an attempt to build one release for one target.

    ``options`` is the rest of the target as it was planned (service/store/options.py). ``submission_key``, ``fence``
    and ``submissions`` serve to find a submission again whose answer was lost. ``external_id`` is the build's id at the
    build system, ``observed_at`` when it was last seen there. ``cancel_requested`` is the reason of a cancellation that
    is not yet confirmed.
    """

    __tablename__ = "package_builds"
    __table_args__ = (
        UniqueConstraint("release_id", "target", "attempt"),
        CheckConstraint(in_sql("state", BuildState), name="state"),
        CheckConstraint(in_sql("soundness", Soundness), name="soundness"),
        CheckConstraint(in_sql("shipped", ("", *Stage)), name="shipped"),
        CheckConstraint("(shipped = '') = (shipped_at IS NULL)", name="shipped_has_time"),
        CheckConstraint("state <> 'running' OR external_id IS NOT NULL", name="running_has_id"),
        CheckConstraint(f"NOT ({ENDED_BUILD_SQL}) OR ended_at IS NOT NULL", name="ended_has_time"),
        CheckConstraint(f"NOT ({LIVE_BUILD_SQL} AND state <> 'held') OR due_at IS NOT NULL", name="live_is_due"),
        CheckConstraint(
            "state NOT IN ('failed', 'canceled', 'errored', 'superseded', 'held') OR reason <> ''", name="reason"
        ),
        Index("uq_package_builds_live", "release_id", "target", unique=True,
              postgresql_where=text(LIVE_BUILD_SQL), sqlite_where=text(LIVE_BUILD_SQL)),
        Index("ix_package_builds_due", "due_at",
              postgresql_where=text(LIVE_BUILD_SQL), sqlite_where=text(LIVE_BUILD_SQL)),
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
    """One chroot of a build, as last seen at the build system."""

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


class Buildroot(Base):
    """The tools in one chroot's buildroot: package to version-release, as its root log names them."""

    __tablename__ = "buildroots"
    __table_args__ = (UniqueConstraint("build_id", "chroot"),)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    build_id: Mapped[int] = mapped_column(ForeignKey("package_builds.id"))
    chroot: Mapped[str] = mapped_column(String(60))
    tools: Mapped[dict[str, Any]] = mapped_column(Json)


class FollowUp(Base):
    """Work on a build after its submission or end, such as fetching logs or cancelling a second submission.

    ``subject`` is a chroot or another id that tells follow-ups of one kind apart. ``outcome`` says what was done.
    """

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
    """One line of a build's append-only history: a change of state or an observation."""

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


# dist-git


class DistGitChange(Base):
    """One build's change of its package's dist-git branch: written down as an intent, then with what became of it.

    ``files`` are the texts as they were generated, before any merge: once the change has landed they are the base of
    the next merge. ``conflict`` is the diff that a person must settle. ``missing`` is ``repository`` or ``branch``.
    ``commit_id`` is what we made, ``landed_commit`` the head of the branch that is built.

    Of a pull request: ``pull_asked_at`` is when it was last asked for, which is written down before. ``pull_head`` is
    what we know to have put into its branch of the fork, ``pull_base`` the head of the target branch that it was last
    compared with, ``pull_merge`` the commit that the forge names as its merge.
    """

    __tablename__ = "dist_git_changes"
    __table_args__ = (
        CheckConstraint(in_sql("resolution", Resolution), name="resolution"),
        CheckConstraint("(landed_commit = '') = (landed_at IS NULL)", name="landed_has_time"),
        CheckConstraint(
            f"pull_state = '' OR (pull_number IS NOT NULL AND {in_sql('pull_state', PullState)})",
            name="pull_state",
        ),
        Index("ix_dist_git_changes_package", "package", "branch", "landed_at"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    build_id: Mapped[int] = mapped_column(ForeignKey("package_builds.id"), unique=True)
    package: Mapped[str] = mapped_column(String(80))
    branch: Mapped[str] = mapped_column(String(20))
    repository: Mapped[str] = mapped_column(Words)
    change_key: Mapped[str] = mapped_column(String(60), unique=True)
    files: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    decision: Mapped[str] = mapped_column(String(20), default="")
    resolution: Mapped[str] = mapped_column(String(20), default="")
    conflict: Mapped[str] = mapped_column(Words, default="")
    missing: Mapped[str] = mapped_column(String(12), default="")
    evr: Mapped[str] = mapped_column(String(200), default="")
    commit_id: Mapped[str] = mapped_column(String(64), default="")
    landed_commit: Mapped[str] = mapped_column(String(64), default="")
    created_at: Mapped[datetime] = mapped_column(UtcTime)
    landed_at: Mapped[datetime | None] = mapped_column(UtcTime)
    pull_number: Mapped[int | None] = mapped_column(Integer)
    pull_url: Mapped[str] = mapped_column(Words, default="")
    pull_state: Mapped[str] = mapped_column(String(10), default="")
    pull_head: Mapped[str] = mapped_column(String(64), default="")
    pull_base: Mapped[str] = mapped_column(String(64), default="")
    pull_merge: Mapped[str] = mapped_column(String(64), default="")
    pull_asked_at: Mapped[datetime | None] = mapped_column(UtcTime)
    pull_opened_at: Mapped[datetime | None] = mapped_column(UtcTime)


# Side tags


class SideTag(Base):
    """One side tag of a set for one stream and branch at one hub: written down as an intent, then the tag itself.

    ``base_target`` is the hub's target that the side tag stands beside; ``name`` is empty until the hub has made
    the tag. ``fence`` tells what was there when it was asked for. ``waived`` are ids of builds without which later
    ones go on. ``given_up_by`` is set once a person wants it removed, whatever it holds.
    """

    __tablename__ = "side_tags"
    __table_args__ = (
        CheckConstraint(in_sql("state", SideTagState), name="state"),
        CheckConstraint("state NOT IN ('open', 'removing') OR name <> ''", name="open_has_name"),
        CheckConstraint("state <> 'creating' OR fence IS NOT NULL", name="creating_has_fence"),
        CheckConstraint("state NOT IN ('held', 'given-up', 'removed') OR reason <> ''", name="reason"),
        CheckConstraint("(state = 'removed') = (ended_at IS NOT NULL)", name="removed_has_time"),
        CheckConstraint(
            "state NOT IN ('creating', 'open', 'given-up', 'removing') OR due_at IS NOT NULL", name="live_is_due"
        ),
        Index("uq_side_tags_live", "set_id", "stream", "branch", "system", "project", unique=True,
              postgresql_where=text(LIVE_SIDE_TAG_SQL), sqlite_where=text(LIVE_SIDE_TAG_SQL)),
        # One request at a time for each hub: a new tag of our account is then surely this request's.
        Index("uq_side_tags_creating", "system", "project", unique=True,
              postgresql_where=text("state = 'creating'"), sqlite_where=text("state = 'creating'")),
        Index("uq_side_tags_name", "system", "project", "name", unique=True,
              postgresql_where=text("name <> ''"), sqlite_where=text("name <> ''")),
        Index("ix_side_tags_due", "due_at",
              postgresql_where=text(LIVE_SIDE_TAG_SQL), sqlite_where=text(LIVE_SIDE_TAG_SQL)),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    set_id: Mapped[str] = mapped_column(String(40))
    families: Mapped[list[str]] = mapped_column(Json)
    stream: Mapped[str] = mapped_column(String(20))
    branch: Mapped[str] = mapped_column(String(20))
    system: Mapped[str] = mapped_column(String(20))
    project: Mapped[str] = mapped_column(String(200))
    base_target: Mapped[str] = mapped_column(String(100))
    name: Mapped[str] = mapped_column(String(200), default="", server_default="")
    state: Mapped[str] = mapped_column(String(12), default=SideTagState.WANTED.value)
    reason: Mapped[str] = mapped_column(Words, default="")
    waived: Mapped[list[int]] = mapped_column(Json, default=list)
    given_up_by: Mapped[str] = mapped_column(String(100), default="", server_default="")
    fence: Mapped[dict[str, Any] | None] = mapped_column(Json)
    created_at: Mapped[datetime] = mapped_column(UtcTime)
    opened_at: Mapped[datetime | None] = mapped_column(UtcTime)
    observed_at: Mapped[datetime | None] = mapped_column(UtcTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcTime)
    due_at: Mapped[datetime | None] = mapped_column(UtcTime)
    tries: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    lease_token: Mapped[str | None] = mapped_column(String(40))
    lease_until: Mapped[datetime | None] = mapped_column(UtcTime)


class SideTagMember(Base):
    """A build that belongs to a side tag. ``prepared_at`` is since when it only waits for its turn."""

    __tablename__ = "side_tag_members"
    __table_args__ = (Index("ix_side_tag_members_side_tag", "side_tag_id"),)

    build_id: Mapped[int] = mapped_column(
        ForeignKey("package_builds.id"), primary_key=True, autoincrement=False
    )
    side_tag_id: Mapped[int] = mapped_column(ForeignKey("side_tags.id"))
    joined_at: Mapped[datetime] = mapped_column(UtcTime)
    prepared_at: Mapped[datetime | None] = mapped_column(UtcTime)

    side_tag: Mapped[SideTag] = relationship()


class SideTagEvent(Base):
    """One line of a side tag's append-only history."""

    __tablename__ = "side_tag_events"
    __table_args__ = (Index("ix_side_tag_events_side_tag", "side_tag_id", "id"),)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    side_tag_id: Mapped[int] = mapped_column(ForeignKey("side_tags.id"))
    at: Mapped[datetime] = mapped_column(UtcTime)
    old_state: Mapped[str] = mapped_column(String(12), default="")
    new_state: Mapped[str] = mapped_column(String(12), default="")
    text: Mapped[str] = mapped_column(Words, default="")


# Logs, diagnoses and remedies


class BuildLog(Base):
    """One stored log of a chroot or of the source step, or why there is none.

    ``blocks`` is the index of service/logs/blocks.py: ``[stored, plain, line]`` of each. A log whose file was
    removed keeps its row, with ``removed_at`` and the reason in ``problem``.
    """

    __tablename__ = "build_logs"
    __table_args__ = (
        UniqueConstraint("build_id", "chroot", "kind"),
        CheckConstraint(in_sql("kind", LOG_KINDS), name="kind"),
        CheckConstraint("sha256 <> '' OR problem <> ''", name="stored_or_why_not"),
        CheckConstraint("removed_at IS NULL OR problem <> ''", name="removed_says_why"),
        Index("ix_build_logs_kept", "stored_at", postgresql_where=text("removed_at IS NULL AND sha256 <> ''"),
              sqlite_where=text("removed_at IS NULL AND sha256 <> ''")),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    build_id: Mapped[int] = mapped_column(ForeignKey("package_builds.id"))
    chroot: Mapped[str] = mapped_column(String(60))
    kind: Mapped[str] = mapped_column(String(12))
    url: Mapped[str] = mapped_column(Words, default="")
    sha256: Mapped[str] = mapped_column(String(64), default="")
    plain_size: Mapped[int] = mapped_column(BigInteger, default=0)
    stored_size: Mapped[int] = mapped_column(BigInteger, default=0)
    lines: Mapped[int] = mapped_column(Integer, default=0)
    left_out: Mapped[int] = mapped_column(BigInteger, default=0)
    blocks: Mapped[list[Any]] = mapped_column(Json, default=list, deferred=True)
    stored_at: Mapped[datetime] = mapped_column(UtcTime)
    removed_at: Mapped[datetime | None] = mapped_column(UtcTime)
    problem: Mapped[str] = mapped_column(Words, default="")


class LogTail(Base):
    """The last bytes of a log that still grows, as fetched for somebody who looked at it. ``size`` is of the whole."""

    __tablename__ = "log_tails"
    __table_args__ = (UniqueConstraint("build_id", "chroot"),)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    build_id: Mapped[int] = mapped_column(ForeignKey("package_builds.id"))
    chroot: Mapped[str] = mapped_column(String(60))
    tail: Mapped[bytes] = mapped_column(LargeBinary, default=b"")
    size: Mapped[int] = mapped_column(BigInteger, default=0)
    problem: Mapped[str] = mapped_column(Words, default="")
    fetched_at: Mapped[datetime | None] = mapped_column(UtcTime)
    lease_token: Mapped[str | None] = mapped_column(String(40))
    lease_until: Mapped[datetime | None] = mapped_column(UtcTime)


class Diagnosis(Base):
    """The diagnosis of the logs of one chroot or of the source step.

    ``rule`` is empty while no rule and no person knows the cause: ``fingerprint`` then names its cluster. A rule that
    a person made is ``named-<id>``. ``excerpt`` is ``[number, text, decides]`` of each line, ``also`` more rules.
    """

    __tablename__ = "diagnoses"
    __table_args__ = (
        UniqueConstraint("build_id", "chroot"),
        Index("ix_diagnoses_rule", "rule", "id"),
        Index("ix_diagnoses_cluster", "fingerprint", "id"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    build_id: Mapped[int] = mapped_column(ForeignKey("package_builds.id"))
    chroot: Mapped[str] = mapped_column(String(60))
    log: Mapped[str] = mapped_column(String(12), default="")
    rule: Mapped[str] = mapped_column(String(60), default="")
    cause: Mapped[str] = mapped_column(Words)
    advice: Mapped[str] = mapped_column(Words, default="")
    fingerprint: Mapped[str] = mapped_column(String(16), default="")
    section: Mapped[str] = mapped_column(String(40), default="")
    excerpt: Mapped[list[Any]] = mapped_column(Json, default=list)
    also: Mapped[list[str]] = mapped_column(Json, default=list)
    lines: Mapped[int] = mapped_column(Integer, default=0)
    at: Mapped[datetime] = mapped_column(UtcTime)


class NamedCause(Base):
    """The cause that a person gave to a cluster of failures; it applies to every log of that fingerprint since."""

    __tablename__ = "named_causes"
    __table_args__ = (
        UniqueConstraint("fingerprint"),
        CheckConstraint(in_sql("fault", Fault), name="fault"),
        CheckConstraint(in_sql("retry", Retry), name="retry"),
        CheckConstraint("cause <> '' AND why <> '' AND named_by <> ''", name="says_who_and_why"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(16))
    cause: Mapped[str] = mapped_column(Words)
    advice: Mapped[str] = mapped_column(Words, default="")
    reference: Mapped[str] = mapped_column(Words, default="")
    fault: Mapped[str] = mapped_column(String(16))
    retry: Mapped[str] = mapped_column(String(8))
    why: Mapped[str] = mapped_column(Words)
    named_by: Mapped[str] = mapped_column(String(100))
    named_at: Mapped[datetime] = mapped_column(UtcTime)


class AppliedRemedy(Base):
    """The decision about the remedy of a failed build; ``attempt_id`` is the new build, None where only suggested.

    There is one row for a failed build and one for an attempt, so no remedy is applied twice.
    """

    __tablename__ = "remedies"
    __table_args__ = (
        UniqueConstraint("failed_id"),
        UniqueConstraint("attempt_id"),
        CheckConstraint(in_sql("kind", RemedyKind), name="kind"),
        CheckConstraint(in_sql("policy", (RemedyPolicy.AUTO, RemedyPolicy.SUGGEST)), name="policy"),
        CheckConstraint("(policy = 'auto') = (attempt_id IS NOT NULL)", name="applied_has_attempt"),
        CheckConstraint("attempt_id IS NULL OR attempt_id <> failed_id", name="not_of_itself"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    failed_id: Mapped[int] = mapped_column(ForeignKey("package_builds.id"))
    attempt_id: Mapped[int | None] = mapped_column(ForeignKey("package_builds.id"))
    rule: Mapped[str] = mapped_column(String(60))
    kind: Mapped[str] = mapped_column(String(12))
    policy: Mapped[str] = mapped_column(String(8))
    strategy: Mapped[str] = mapped_column(String(20), default="")
    reason: Mapped[str] = mapped_column(Words)
    at: Mapped[datetime] = mapped_column(UtcTime)


# Verification of built RPMs


class ChrootCheck(Base):
    """The verdict on the RPMs of one succeeded chroot."""

    __tablename__ = "chroot_checks"
    __table_args__ = (
        UniqueConstraint("build_id", "chroot"),
        CheckConstraint(in_sql("soundness", Soundness), name="soundness"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    build_id: Mapped[int] = mapped_column(ForeignKey("package_builds.id"))
    chroot: Mapped[str] = mapped_column(String(60))
    soundness: Mapped[str] = mapped_column(String(10))
    text: Mapped[str] = mapped_column(Words, default="")
    checked_at: Mapped[datetime] = mapped_column(UtcTime)


class BuiltRpm(Base):
    """One built RPM. ``size`` is in bytes, ``binaries`` counts its ELF files, ``go`` is their toolchain."""

    __tablename__ = "built_rpms"
    __table_args__ = (UniqueConstraint("build_id", "chroot", "nvra"),)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    build_id: Mapped[int] = mapped_column(ForeignKey("package_builds.id"))
    chroot: Mapped[str] = mapped_column(String(60))
    name: Mapped[str] = mapped_column(String(120))
    nvra: Mapped[str] = mapped_column(String(250))
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    binaries: Mapped[int] = mapped_column(Integer, default=0)
    go: Mapped[str] = mapped_column(String(40), default="")
    files: Mapped[list[Any]] = mapped_column(Json, default=list, deferred=True)


class CheckFinding(Base):
    """One finding in a built RPM. ``rule`` is a stable id, ``file`` is empty for the RPM's header."""

    __tablename__ = "check_findings"
    __table_args__ = (
        CheckConstraint(in_sql("grade", GRADES), name="grade"),
        Index("ix_check_findings_build", "build_id"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    build_id: Mapped[int] = mapped_column(ForeignKey("package_builds.id"))
    chroot: Mapped[str] = mapped_column(String(60))
    rpm: Mapped[str] = mapped_column(String(250))
    file: Mapped[str] = mapped_column(Words, default="")
    rule: Mapped[str] = mapped_column(String(40))
    grade: Mapped[str] = mapped_column(String(10))
    text: Mapped[str] = mapped_column(Words)


# Overrides of the catalogue, and proofs of its workarounds


class CatalogOverride(Base):
    """What a maintainer changed of one target, branch or stream. ``subject`` is f44-copr, f44 or cri-o/1.38."""

    __tablename__ = "catalog_overrides"
    __table_args__ = (
        UniqueConstraint("kind", "subject"),
        CheckConstraint(in_sql("kind", OVERRIDE_KINDS), name="kind"),
        CheckConstraint("why <> ''", name="why"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    kind: Mapped[str] = mapped_column(String(10))
    subject: Mapped[str] = mapped_column(String(100))
    changes: Mapped[dict[str, Any]] = mapped_column(Json)
    why: Mapped[str] = mapped_column(Words)
    actor: Mapped[str] = mapped_column(String(100))
    at: Mapped[datetime] = mapped_column(UtcTime)


class RuleProof(Base):
    """One proof of a workaround with one toolchain. A row is never changed.

    ``rule_sha256`` is of the row as it was proved, so that a changed row is seen to have no proof. ``simulates``
    is the toolchain fact that linker flags played, or empty. ``trials`` holds ``without`` and ``with``, each as
    ``service.domain.proofs.Trial`` in JSON.
    """

    __tablename__ = "rule_proofs"
    __table_args__ = (
        CheckConstraint(in_sql("verdict", Verdict), name="verdict"),
        Index("ix_rule_proofs_rule", "rule", "id"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    rule: Mapped[str] = mapped_column(String(40))
    rule_sha256: Mapped[str] = mapped_column(String(64))
    go: Mapped[str] = mapped_column(String(60))
    linker: Mapped[str] = mapped_column(String(200))
    compiler: Mapped[str] = mapped_column(String(200))
    machine: Mapped[str] = mapped_column(String(40))
    simulates: Mapped[str] = mapped_column(String(40), default="")
    verdict: Mapped[str] = mapped_column(String(20))
    symptom: Mapped[str] = mapped_column(Words, default="")
    trials: Mapped[dict[str, Any]] = mapped_column(Json)
    proved_at: Mapped[datetime] = mapped_column(UtcTime)
    proved_by: Mapped[str] = mapped_column(String(100))


# Access and the audit trail


class AccessToken(Base):
    """A bearer token. Its text is shown once; ``public_id`` finds the row, ``digest`` is the SHA-256 of all of it."""

    __tablename__ = "access_tokens"
    __table_args__ = (CheckConstraint("revoked_at IS NULL OR revoked_by IS NOT NULL", name="revoked_by"),)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(60), unique=True)
    public_id: Mapped[str] = mapped_column(String(16), unique=True)
    digest: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[list[str]] = mapped_column(Json)
    created_at: Mapped[datetime] = mapped_column(UtcTime)
    created_by: Mapped[str] = mapped_column(String(100))
    expires_at: Mapped[datetime | None] = mapped_column(UtcTime)
    last_used_at: Mapped[datetime | None] = mapped_column(UtcTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcTime)
    revoked_by: Mapped[str | None] = mapped_column(String(100))


class SignIn(Base):
    """One browser session, found by the SHA-256 of its cookie. It ends with the token ``token_id``, if there is one."""

    __tablename__ = "sign_ins"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    actor: Mapped[str] = mapped_column(String(100))
    scopes: Mapped[list[str]] = mapped_column(Json)
    token_id: Mapped[int | None] = mapped_column(ForeignKey("access_tokens.id"))
    created_at: Mapped[datetime] = mapped_column(UtcTime)
    expires_at: Mapped[datetime] = mapped_column(UtcTime, index=True)


class KeptAnswer(Base):
    """The answer to a request with an Idempotency-Key, stored in the transaction that carried the request out."""

    __tablename__ = "kept_answers"
    __table_args__ = (
        UniqueConstraint("actor", "request_key"),
        Index("ix_kept_answers_at", "at"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    actor: Mapped[str] = mapped_column(String(100))
    request_key: Mapped[str] = mapped_column(String(100))
    request_sha256: Mapped[str] = mapped_column(String(64))
    status: Mapped[int] = mapped_column(Integer, default=0)
    body: Mapped[str] = mapped_column(Words, default="")
    at: Mapped[datetime] = mapped_column(UtcTime)


class AuditEntry(Base):
    """One line of the audit trail: what a person asked for. Append-only: triggers refuse changes and deletions."""

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


# Servers that we talk to


class Contact(Base):
    """When another server was last reached or was not, and its last answer for a conditional request (ETag)."""

    __tablename__ = "contacts"

    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    ok_at: Mapped[datetime | None] = mapped_column(UtcTime)
    failed_at: Mapped[datetime | None] = mapped_column(UtcTime)
    problem: Mapped[str] = mapped_column(Words, default="")
    etag: Mapped[str] = mapped_column(Words, default="")
    body: Mapped[Any | None] = mapped_column(Json)


metadata = Base.metadata
"""All tables, for migrations and for the test that compares both."""
