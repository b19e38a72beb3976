"""Reads upstream's releases with the status of their builds, one release in full, and a package's SRPMs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.board.builds import BUILD_COLUMNS, BuildRow, build_rows
from service.board.deliveries import DeliveryRow, delivery_row
from service.board.pagination import LIMIT, Page, newest_first
from service.catalog import Catalog
from service.domain.planning import NotPlanned, plan
from service.domain.sources import Disagreement, disagreements
from service.domain.states import LIVE_BUILD, BuildState, ReleaseState
from service.domain.versions import Stream, Version
from service.store.schema import PackageBuild, PackageSrpm, UpstreamRelease


@dataclass(frozen=True)
class ReleaseRow:
    """One upstream release. ``state`` is our decision; ``status`` sums up its builds.

    ``builds`` counts the latest attempts of its targets by state.
    """

    id: int
    family: str
    version: str
    stream: str
    tag: str
    commit: str
    prerelease: bool
    published_at: datetime | None
    first_seen_at: datetime
    origin: str
    html_url: str
    state: str
    reason: str
    mark: str
    status: str = ""
    builds: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ReleaseDetail:
    """One release with its decision, its source and its builds, newest attempt of a target first.

    ``not_planned`` is what the catalogue says today of the targets that do not build it, and ``disagreements``
    where its facts are not the source's. ``confirmed`` is False until a person has looked at the stream.
    """

    release: ReleaseRow
    package: str
    facts: Mapping[str, Any]
    delivery: DeliveryRow | None
    builds: tuple[BuildRow, ...]
    not_planned: tuple[NotPlanned, ...]
    disagreements: tuple[Disagreement, ...] = ()
    confirmed: bool = True
    bugs: tuple[int, ...] = ()

    @property
    def latest(self) -> tuple[BuildRow, ...]:
        """The latest attempt on each target."""
        seen: dict[str, BuildRow] = {}
        for build in self.builds:
            seen.setdefault(build.target, build)
        return tuple(seen.values())


@dataclass(frozen=True)
class SrpmRow:
    """One content of a package's SRPM: its number n in Release ``0.<n>``, and why it was made."""

    number: int
    version: str
    made_on: datetime
    why: str


_R = UpstreamRelease
_COLUMNS = (
    _R.id, _R.family, _R.version, _R.stream, _R.tag, _R.commit, _R.prerelease, _R.published_at,
    _R.first_seen_at, _R.origin, _R.html_url, _R.state, _R.reason, _R.mark,
)  # fmt: skip


def status_of(states: Iterable[str]) -> str:
    """Sum up the states of a release's latest builds in one word; ``planned`` where it has none yet.

    What needs somebody comes first: work under way, then held, failed, errored, canceled; success last.
    """
    present = set(states)
    if not present:
        return ReleaseState.PLANNED.value
    if present & (LIVE_BUILD - {BuildState.HELD}):
        return BuildState.RUNNING.value
    for state in (BuildState.HELD, BuildState.FAILED, BuildState.ERRORED, BuildState.CANCELED):
        if state in present:
            return state.value
    return BuildState.SUCCEEDED.value if BuildState.SUCCEEDED in present else BuildState.SUPERSEDED.value


def list_releases(
    session: Session,
    *,
    family: str | None = None,
    stream: str | None = None,
    state: str | None = None,
    cursor: str | None = None,
    limit: int = LIMIT,
) -> Page[ReleaseRow]:
    """Return a page of releases with their status, last seen first. Raises BadCursor."""
    statement = select(*_COLUMNS)
    for column, value in ((_R.family, family), (_R.stream, stream), (_R.state, state)):
        if value is not None:
            statement = statement.where(column == value)
    page = newest_first(session, statement, _R.id, cursor, limit)
    states = _latest_states(session, [row.id for row in page.items])
    return Page(tuple(_release_row(row, states.get(row.id, ())) for row in page.items), page.next)


def newest_of_stream(
    session: Session, family: str, stream: str, *, limit: int = LIMIT
) -> tuple[ReleaseRow, ...]:
    """Return the releases of a stream, highest version first."""
    rows = session.execute(
        select(*_COLUMNS)
        .where(_R.family == family, _R.stream == stream)
        .order_by(_R.sort_key.desc())
        .limit(limit)
    ).all()
    states = _latest_states(session, [row.id for row in rows])
    return tuple(_release_row(row, states.get(row.id, ())) for row in rows)


def release_detail(
    session: Session, catalog: Catalog, now: datetime, family: str, version: str
) -> ReleaseDetail | None:
    """Return one release with its builds, or None where we do not know it."""
    row = session.execute(
        select(*_COLUMNS, _R.facts, _R.delivery_id, _R.bugs).where(_R.family == family, _R.version == version)
    ).one_or_none()
    if row is None:
        return None
    b = PackageBuild
    builds = build_rows(
        session,
        session.execute(
            select(*BUILD_COLUMNS).where(b.release_id == row.id).order_by(b.target, b.attempt.desc())
        ).all(),
    )
    order = {target.id: place for place, target in enumerate(catalog.targets)}
    ordered = tuple(sorted(builds, key=lambda build: (order.get(build.target, len(order)), build.target)))
    newest = {build.target: build.state for build in reversed(ordered)}
    *_, facts, delivery_id, bugs = row
    release = _release_row(row[: len(_COLUMNS)], newest.values())
    package, not_planned = _decision(release, catalog, now)
    return ReleaseDetail(
        release=release,
        package=ordered[0].package if ordered else package,
        facts=facts,
        delivery=delivery_row(session, delivery_id) if delivery_id is not None else None,
        builds=ordered,
        not_planned=not_planned,
        disagreements=_disagreements(release, facts, catalog),
        confirmed=catalog.is_confirmed(release.family, Stream.parse(release.stream)),
        bugs=tuple(bugs),
    )


def _disagreements(
    release: ReleaseRow, facts: Mapping[str, Any], catalog: Catalog
) -> tuple[Disagreement, ...]:
    family = catalog.families.get(release.family)
    policy = family.policy(Stream.parse(release.stream)) if family else None
    return disagreements(facts, policy.facts) if policy else ()


def _decision(release: ReleaseRow, catalog: Catalog, now: datetime) -> tuple[str, tuple[NotPlanned, ...]]:
    """Return the package's name, and the targets that would not build the release today; empty without a family."""
    family = catalog.families.get(release.family)
    if family is None:
        return "", ()
    version = Version.parse(release.version)
    decision = plan(
        version,
        family=family.with_prereleases() if release.state == ReleaseState.PLANNED else family,
        targets=catalog.targets,
        branches=catalog.branches,
        today=now.date(),
        marked_prerelease=release.prerelease,
    )
    return family.package(version.stream), decision.skipped


def _release_row(values: Sequence[Any], states: Iterable[str]) -> ReleaseRow:
    row = ReleaseRow(*values)
    found = tuple(states)
    status = status_of(found) if row.state == ReleaseState.PLANNED else row.state
    return replace(row, status=status, builds=dict(Counter(found)))


def list_srpms(session: Session, package: str, *, limit: int = LIMIT) -> tuple[SrpmRow, ...]:
    """Return the contents of a package's SRPM, newest first."""
    p = PackageSrpm
    rows = session.execute(
        select(p.number, p.version, p.made_on, p.why)
        .where(p.package == package)
        .order_by(p.number.desc())
        .limit(limit)
    )
    return tuple(SrpmRow(*row) for row in rows)


def _latest_states(session: Session, release_ids: list[int]) -> dict[int, tuple[str, ...]]:
    """Return for each release the states of the latest attempts on its targets; reads over the unique index."""
    if not release_ids:
        return {}
    b = PackageBuild
    rows = session.execute(
        select(b.release_id, b.target, b.state).where(b.release_id.in_(release_ids)).order_by(b.attempt)
    )
    latest: dict[int, dict[str, str]] = {}
    for release_id, target, state in rows:
        latest.setdefault(release_id, {})[target] = state
    return {release_id: tuple(states.values()) for release_id, states in latest.items()}
