"""Reads lists of builds, and everything about one build: chroots, history, attempts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, and_, or_, select
from sqlalchemy.orm import Session

from service.board.distgit import ChangeRow, changes_of
from service.board.pagination import LIMIT, Page, cut, newest_first, read_cursor
from service.domain.errors import DomainError
from service.domain.fedora import Chroot
from service.domain.states import LIVE_BUILD, BuildState, ChrootState
from service.domain.versions import Nvr, Version
from service.store.schema import BuildEvent, ChrootBuild, FollowUp, PackageBuild, UpstreamRelease

ATTEMPTS_SHOWN = 50
EVENTS_SHOWN = 500


@dataclass(frozen=True)
class ChrootRow:
    """One chroot of a build. ``arch`` is the last word of its name."""

    chroot: str
    arch: str
    state: str
    reason: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    result_url: str = ""
    log_url: str = ""


@dataclass(frozen=True)
class BuildRow:
    """One attempt to build one release for one target.

    ``nvr`` is what the build system calls the build, or what our SRPM is called; empty while neither is known.
    """

    id: int
    family: str
    stream: str
    package: str
    version: str
    nvr: str
    target: str
    branch: str
    system: str
    project: str
    attempt: int
    state: str
    reason: str
    note: str
    cause: str
    soundness: str
    shipped: str
    shipped_at: datetime | None
    external_id: str | None
    web_url: str
    requested_by: str | None
    created_at: datetime
    submitted_at: datetime | None
    ended_at: datetime | None
    spec_sha256: str | None
    srpm_name: str | None
    srpm_sha256: str | None
    chroots: tuple[ChrootRow, ...] = ()

    @property
    def is_live(self) -> bool:
        return self.state in LIVE_BUILD


@dataclass(frozen=True)
class BuildFilter:
    """The filters of a list of builds; None takes everything.

    ``arch`` asks for builds that have a chroot of it. ``ids`` is a given choice of builds.
    """

    family: str | None = None
    stream: str | None = None
    package: str | None = None
    version: str | None = None
    branch: str | None = None
    system: str | None = None
    states: tuple[str, ...] = ()
    arch: str | None = None
    since: datetime | None = None
    ids: Collection[int] | None = None


@dataclass(frozen=True)
class EventRow:
    """One line of a build's history. ``kind`` is state, chroot, submission, retry or request."""

    id: int
    at: datetime
    kind: str
    old_state: str
    new_state: str
    text: str
    chroot: str


@dataclass(frozen=True)
class ShippingLook:
    """The outcome of the last look at a build's tags, and when the next one is due; None after the last."""

    text: str
    due_at: datetime | None


@dataclass(frozen=True)
class BuildDetail:
    """One build with everything that its page shows. ``events`` are oldest first, and ``attempts`` newest first.

    ``last_good`` is the newest build of the same package and target that succeeded before this one. ``partial``
    says what the source archive lacks; empty for a whole one. ``dist_git`` is there for builds from dist-git.
    """

    build: BuildRow
    release_tag: str
    strategy: str
    workarounds: tuple[str, ...]
    submission_key: str | None
    submissions: int
    source_log_url: str
    observed_at: datetime | None
    deadline_at: datetime
    due_at: datetime | None
    tries: int
    cancel_requested: str | None
    events: tuple[EventRow, ...]
    attempts: tuple[BuildRow, ...]
    last_good: BuildRow | None
    shipping: ShippingLook | None = None
    partial: str = ""
    dist_git: ChangeRow | None = None


_B = PackageBuild
BUILD_COLUMNS = (
    _B.id, _B.family, _B.stream, _B.package, _B.version, _B.built_nvr, _B.release_number, _B.dist, _B.target, _B.branch,
    _B.system, _B.project, _B.attempt, _B.state, _B.reason, _B.note, _B.cause, _B.soundness,
    _B.shipped, _B.shipped_at, _B.external_id, _B.web_url, _B.requested_by, _B.created_at, _B.submitted_at,
    _B.ended_at, _B.options,
    _B.spec_sha256, _B.srpm_name, _B.srpm_sha256,
)  # fmt: skip


def build_row(row: Row[Any] | Mapping[str, Any], chroots: Iterable[ChrootRow] = ()) -> BuildRow:
    """Make a BuildRow from a row of BUILD_COLUMNS; a live build without chroots gets the planned ones."""
    values = dict(row._mapping) if isinstance(row, Row) else dict(row)
    options = values.pop("options") or {}
    told = values.pop("built_nvr"), values.pop("release_number"), values.pop("dist")
    found = tuple(chroots)
    if not found and values["state"] in LIVE_BUILD:
        found = planned_chroots(options)
    return BuildRow(nvr=nvr_text(values["package"], values["version"], *told), chroots=found, **values)


def build_rows(session: Session, rows: Iterable[Row[Any]]) -> tuple[BuildRow, ...]:
    """Make BuildRows with their chroots from rows of BUILD_COLUMNS, in one further statement for all."""
    found = list(rows)
    chroots = chroots_of(session, [row.id for row in found])
    return tuple(build_row(row, chroots.get(row.id, ())) for row in found)


def chroots_of(session: Session, build_ids: Iterable[int]) -> dict[int, list[ChrootRow]]:
    """Return the chroots of several builds, by build, in the order of their names."""
    ids = list(build_ids)
    chroots: dict[int, list[ChrootRow]] = {}
    if not ids:
        return chroots
    c = ChrootBuild
    statement = (
        select(
            c.build_id, c.chroot, c.state, c.reason, c.started_at, c.ended_at, c.result_url, c.log_url
        )
        .where(c.build_id.in_(ids))
        .order_by(c.build_id, c.chroot)
    )  # fmt: skip
    for build_id, chroot, state, reason, started_at, ended_at, result_url, log_url in session.execute(
        statement
    ):
        chroots.setdefault(build_id, []).append(
            ChrootRow(chroot, arch_of(chroot), state, reason, started_at, ended_at, result_url, log_url)
        )
    return chroots


def planned_chroots(options: Mapping[str, Any]) -> tuple[ChrootRow, ...]:
    """Return the chroots that a build was planned for, as pending."""
    names = options.get("chroots") or ()
    return tuple(ChrootRow(name, arch_of(name), ChrootState.PENDING.value) for name in sorted(names))


def arch_of(chroot: str) -> str:
    """Return the architecture of a chroot's name, ``x86_64`` of ``fedora-43-x86_64``; other names stay whole."""
    try:
        return Chroot.parse(chroot).arch
    except DomainError:
        return chroot


def nvr_text(package: str, version: str, built: str, number: int | None, dist: str) -> str:
    """Return a build's NVR: the build system's, else that of our SRPM with Release ``0.<number>``, else empty."""
    if built or number is None:
        return built
    return str(Nvr(package, Version.parse(version).rpm, f"0.{number}{dist}"))


def list_builds(
    session: Session, wanted: BuildFilter, *, cursor: str | None = None, limit: int = LIMIT
) -> Page[BuildRow]:
    """Return a page of the builds that match, newest first. Raises BadCursor."""
    statement = _cut_down(select(*BUILD_COLUMNS), wanted)
    page = newest_first(session, statement, PackageBuild.id, cursor, limit)
    return Page(build_rows(session, page.items), page.next)


def _cut_down(statement: Select[Any], wanted: BuildFilter) -> Select[Any]:
    b = PackageBuild
    equal = (
        (b.family, wanted.family), (b.stream, wanted.stream), (b.package, wanted.package),
        (b.version, wanted.version), (b.branch, wanted.branch), (b.system, wanted.system),
    )  # fmt: skip
    for column, value in equal:
        if value is not None:
            statement = statement.where(column == value)
    if wanted.states:
        statement = statement.where(b.state.in_(wanted.states))
    if wanted.since is not None:
        statement = statement.where(b.created_at >= wanted.since)
    if wanted.ids is not None:
        statement = statement.where(b.id.in_(wanted.ids))
    if wanted.arch is not None:
        of_arch = select(ChrootBuild.id).where(
            ChrootBuild.build_id == b.id, ChrootBuild.chroot.endswith(f"-{wanted.arch}", autoescape=True)
        )
        statement = statement.where(of_arch.exists())
    return statement


def build_detail(session: Session, build_id: int) -> BuildDetail | None:
    """Return one build, or None where there is none of that id."""
    b = PackageBuild
    row = session.execute(
        select(
            *BUILD_COLUMNS, b.release_id, b.sort_key, b.strategy, b.workarounds, b.submission_key,
            b.submissions,
            b.source_log_url, b.observed_at, b.deadline_at, b.due_at, b.tries, b.cancel_requested,
            UpstreamRelease.facts.label("release_facts"), b.options,
            FollowUp.outcome.label("tags_seen"), FollowUp.due_at.label("tags_due_at"),
        )
        .join(UpstreamRelease, UpstreamRelease.id == b.release_id)
        .outerjoin(FollowUp, and_(FollowUp.build_id == b.id, FollowUp.kind == "shipped"))
        .where(b.id == build_id)
    ).one_or_none()  # fmt: skip
    if row is None:
        return None
    attempts = session.execute(
        select(*BUILD_COLUMNS)
        .where(b.release_id == row.release_id, b.target == row.target)
        .order_by(b.attempt.desc())
        .limit(ATTEMPTS_SHOWN)
    ).all()
    good = session.execute(
        select(*BUILD_COLUMNS)
        .where(
            b.package == row.package, b.target == row.target, b.state == BuildState.SUCCEEDED.value,
            or_(b.sort_key < row.sort_key, and_(b.sort_key == row.sort_key, b.attempt < row.attempt)),
        )
        .order_by(b.sort_key.desc(), b.attempt.desc())
        .limit(1)
    ).one_or_none()  # fmt: skip
    names = [column.key for column in BUILD_COLUMNS]
    chroots = chroots_of(session, {build_id, *(attempt.id for attempt in attempts)})
    own = build_row({name: getattr(row, name) for name in names}, chroots.get(build_id, ()))
    from_dist_git = (row.options or {}).get("style") == "dist-git"
    shown = tuple(build_row(attempt, chroots.get(attempt.id, ())) for attempt in attempts)
    return BuildDetail(
        build=own,
        release_tag=f"v{row.version}",
        strategy=row.strategy,
        workarounds=tuple(row.workarounds),
        submission_key=row.submission_key,
        submissions=row.submissions,
        source_log_url=row.source_log_url,
        observed_at=row.observed_at,
        deadline_at=row.deadline_at,
        due_at=row.due_at,
        tries=row.tries,
        cancel_requested=row.cancel_requested,
        events=build_events(session, build_id, limit=EVENTS_SHOWN),
        attempts=shown,
        last_good=build_row(good) if good is not None else None,
        shipping=None if row.tags_seen is None else ShippingLook(row.tags_seen, row.tags_due_at),
        partial=str((row.release_facts or {}).get("partial", "")),
        dist_git=next(iter(changes_of(session, [build_id])), None) if from_dist_git else None,
    )


def build_events(
    session: Session, build_id: int, *, after: int | None = None, limit: int = LIMIT
) -> tuple[EventRow, ...]:
    """Return a build's history, oldest first: at most ``limit`` events with an id over ``after``."""
    e = BuildEvent
    statement = select(e.id, e.at, e.kind, e.old_state, e.new_state, e.text, e.chroot).where(
        e.build_id == build_id
    )
    if after is not None:
        statement = statement.where(e.id > after)
    return tuple(EventRow(*row) for row in session.execute(statement.order_by(e.id).limit(limit)))


def list_events(
    session: Session, build_id: int, *, cursor: str | None = None, limit: int = LIMIT
) -> Page[EventRow]:
    """Return a page of a build's history, oldest first. Raises BadCursor."""
    events = build_events(session, build_id, after=read_cursor(cursor), limit=limit + 1)
    return cut(events, [event.id for event in events], limit)


@dataclass(frozen=True)
class EndedBuild:
    """A build that ended or was held, with the time of that."""

    at: datetime
    state: str
    text: str
    event_id: int
    build: BuildRow


def latest_ends(session: Session, *, limit: int = LIMIT) -> tuple[EndedBuild, ...]:
    """Return the builds that ended or were held last, newest first, for the Atom feed."""
    e = BuildEvent
    told = [
        BuildState.SUCCEEDED.value, BuildState.FAILED.value, BuildState.ERRORED.value,
        BuildState.CANCELED.value, BuildState.HELD.value,
    ]  # fmt: skip
    events = session.execute(
        select(e.id, e.at, e.new_state, e.text, e.build_id)
        .where(e.kind == "state", e.new_state.in_(told))
        .order_by(e.id.desc())
        .limit(limit)
    ).all()
    rows = session.execute(
        select(*BUILD_COLUMNS).where(PackageBuild.id.in_({event.build_id for event in events}))
    )
    builds = {row.id: build_row(row) for row in rows}
    return tuple(
        EndedBuild(event.at, event.new_state, event.text, event.id, builds[event.build_id])
        for event in events
    )
