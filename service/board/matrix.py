"""Reads the matrix, package × (branch × build system), in two statements whatever the number of builds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime

from sqlalchemy import String, column, literal, select, values
from sqlalchemy.orm import Session, aliased

from service.board.builds import BUILD_COLUMNS, BuildRow, build_row, chroots_of, nvr_text
from service.catalog import Catalog
from service.domain.planning import Family, plan, refusal
from service.domain.states import BuildState, ReleaseState
from service.domain.versions import Stream, Version
from service.store.schema import PackageBuild, PackageStream, UpstreamRelease

BUILDABLE = (ReleaseState.KNOWN.value, ReleaseState.PLANNED.value)
FAILING = frozenset({BuildState.FAILED, BuildState.ERRORED, BuildState.HELD})


@dataclass(frozen=True)
class Good:
    """The last version that succeeded in a cell."""

    build_id: int
    version: str
    nvr: str
    ended_at: datetime
    shipped: str = ""


@dataclass(frozen=True)
class Cell:
    """One package on one target. ``build`` is the newest version's latest attempt.

    ``behind``: upstream has a newer release that this cell should have and that has not succeeded in it.
    ``refusal`` says why the catalogue plans nothing here; empty where it does.
    """

    package: str
    target: str
    branch: str
    system: str
    build: BuildRow | None = None
    good: Good | None = None
    behind: bool = False
    refusal: str = ""
    style: str = "srpm"

    @property
    def state(self) -> str:
        """The build's state; ``empty`` without a build."""
        return self.build.state if self.build else "empty"


@dataclass(frozen=True)
class Column:
    """One target of the catalogue. ``is_eol``: the branch gets no new builds since ``eol``.

    ``style`` tells official builds, made from dist-git, from those of the same branch and system that are not.
    """

    target: str
    branch: str
    system: str
    project: str
    chroots: tuple[str, ...]
    strategy: str
    enabled: bool
    eol: date | None
    is_eol: bool
    style: str


@dataclass(frozen=True)
class StreamRow:
    """One stream, its package and its cells in the columns' order.

    ``newest`` is upstream's newest release not withdrawn, ``buildable`` the newest that we would build.
    ``refusal`` says why the stream is not built. ``confirmed`` is False until a person has looked at it.
    """

    family: str
    stream: str
    package: str
    confirmed: bool
    eol: date | None
    is_eol: bool
    refusal: str
    newest: str | None
    buildable: str | None
    cells: tuple[Cell, ...] = ()


@dataclass(frozen=True)
class Matrix:
    """All rows and columns, newest stream first. ``now`` is the time for which ends of life and ages hold."""

    now: datetime
    columns: tuple[Column, ...]
    rows: tuple[StreamRow, ...]

    @property
    def cells(self) -> Iterable[Cell]:
        return (cell for row in self.rows for cell in row.cells)

    @property
    def counts(self) -> Mapping[str, int]:
        """The number of cells in each state, and of those ``behind`` and ``failing``."""
        counts = Counter(cell.state for cell in self.cells)
        counts["behind"] = sum(cell.behind for cell in self.cells)
        counts["failing"] = sum(cell.state in FAILING for cell in self.cells)
        return counts

    @property
    def has_builds(self) -> bool:
        return any(cell.build for cell in self.cells)


def matrix(
    session: Session,
    catalog: Catalog,
    now: datetime,
    *,
    family: str | None = None,
    stream: str | None = None,
    package: str | None = None,
    branch: str | None = None,
    system: str | None = None,
) -> Matrix:
    """Return the matrix, filtered by the names given. A name that does not exist gives an empty matrix."""
    today = now.date()
    columns = tuple(
        col for col in columns_of(catalog, today)
        if branch in (None, col.branch) and system in (None, col.system)
    )  # fmt: skip
    rows = {
        (row.family, row.stream): row
        for row in streams(session, catalog, now)
        if family in (None, row.family) and stream in (None, row.stream) and package in (None, row.package)
    }
    found = _cells(session, [row.package for row in rows.values()], [col.target for col in columns])
    return Matrix(
        now=now,
        columns=columns,
        rows=tuple(_fill(row, columns, catalog, today, found) for row in rows.values()),
    )


def columns_of(catalog: Catalog, today: date) -> tuple[Column, ...]:
    """Return the catalogue's targets as columns, oldest branch first, rawhide last."""
    columns = []
    for target in sorted(catalog.targets, key=lambda target: (target.branch, target.system, target.id)):
        policy = catalog.branches.get(target.branch.name)
        columns.append(
            Column(
                target=target.id,
                branch=target.branch.name,
                system=target.system,
                project=target.project,
                chroots=target.chroots,
                strategy=target.strategy,
                enabled=target.enabled,
                eol=policy.eol if policy else None,
                is_eol=policy is not None and policy.is_eol(today),
                style=target.style,
            )
        )
    return tuple(columns)


def streams(session: Session, catalog: Catalog, now: datetime) -> tuple[StreamRow, ...]:
    """Return every stream that has releases or that the catalogue builds, newest first, without cells."""
    s, r = PackageStream, UpstreamRelease
    of_stream = (
        select(r.version)
        .where(r.family == s.family, r.stream == s.stream)
        .order_by(r.sort_key.desc())
        .limit(1)
        .correlate(s)
    )
    statement = select(
        s.family,
        s.stream,
        s.package,
        of_stream.where(r.state != ReleaseState.WITHDRAWN.value).scalar_subquery().label("newest"),
        of_stream.where(r.state.in_(BUILDABLE)).scalar_subquery().label("buildable"),
    )
    rows: dict[tuple[str, str], StreamRow] = {}
    for name, stream, package, newest, buildable in session.execute(statement):
        rows[name, stream] = _stream_row(
            catalog.families.get(name), name, Stream.parse(stream), package, now.date(), newest, buildable
        )
    for family in filter(lambda each: catalog.is_built(each.name), catalog.families.values()):
        for known, policy in family.streams.items():
            if policy.build and (family.name, str(known)) not in rows:
                rows[family.name, str(known)] = _stream_row(
                    family, family.name, known, family.package(known), now.date(), None, None
                )
    return tuple(
        sorted(rows.values(), key=lambda row: (row.family, [-n for n in _numbers(Stream.parse(row.stream))]))
    )


def only_branch(row: StreamRow, branch: str) -> StreamRow:
    """Return the row with the cells of one branch only; all of them for an empty name."""
    return replace(row, cells=tuple(cell for cell in row.cells if branch in ("", cell.branch)))


def _numbers(stream: Stream) -> tuple[int, int]:
    return stream.major, stream.minor


def _stream_row(
    family: Family | None,
    name: str,
    stream: Stream,
    package: str,
    today: date,
    newest: str | None,
    buildable: str | None,
) -> StreamRow:
    policy = family.policy(stream) if family else None
    if family is None:
        why_not = f"the catalogue has no family {name} any more"
    else:
        specimen = _specimen(stream, buildable)
        why_not = refusal(specimen, _willing(family, specimen), today)
    return StreamRow(
        family=name,
        stream=str(stream),
        package=package,
        confirmed=policy is not None and policy.confirmed,
        eol=policy.eol if policy else None,
        is_eol=policy is not None and policy.is_eol(today),
        refusal=why_not,
        newest=newest,
        buildable=buildable,
    )


def _willing(family: Family, specimen: Version) -> Family:
    """Return the family, taking pre-releases if the specimen is one: such a release was asked for by hand."""
    return family.with_prereleases() if specimen.is_prerelease else family


def _specimen(stream: Stream, buildable: str | None) -> Version:
    """Return a version to plan with: the newest buildable one, or the stream's first where none is known yet."""
    return Version.parse(buildable) if buildable else Version(stream.major, stream.minor, 0)


@dataclass(frozen=True)
class _Found:
    build: BuildRow
    good: Good | None


def _cells(session: Session, packages: list[str], targets: list[str]) -> dict[tuple[str, str], _Found]:
    """Return the builds in the cells: one statement of index look-ups, and one for the chroots."""
    if not packages or not targets:
        return {}
    package = (
        values(column("name", String), name="package").data([(name,) for name in packages]).cte("package")
    )
    target = values(column("id", String), name="target").data([(name,) for name in targets]).cte("target")
    b = aliased(PackageBuild)
    in_cell = (
        select(b.id)
        .where(b.package == package.c.name, b.target == target.c.id)
        .order_by(b.sort_key.desc(), b.attempt.desc())
        .limit(1)
        .correlate(package, target)
    )
    cell = select(
        in_cell.scalar_subquery().label("newest"),
        in_cell.where(b.state == BuildState.SUCCEEDED.value).scalar_subquery().label("good"),
    ).select_from(package.join(target, literal(True))).cte("cell")  # fmt: skip
    good = aliased(PackageBuild)
    rows = session.execute(
        select(
            *BUILD_COLUMNS, good.id, good.version, good.built_nvr, good.release_number, good.dist, good.ended_at,
            good.shipped,
        )
        .select_from(cell)
        .join(PackageBuild, PackageBuild.id == cell.c.newest)
        .outerjoin(good, good.id == cell.c.good)
    ).all()  # fmt: skip
    chroots = chroots_of(session, [row[0] for row in rows])
    width = len(BUILD_COLUMNS)
    names = [col.key for col in BUILD_COLUMNS]
    found = {}
    for row in rows:
        build = build_row(dict(zip(names, row[:width], strict=True)), chroots.get(row[0], ()))
        good_id, version, built, number, dist, ended_at, shipped = row[width:]
        last = None
        if good_id is not None:
            nvr = nvr_text(build.package, version, built, number, dist)
            last = Good(good_id, version, nvr, ended_at, shipped)
        found[build.package, build.target] = _Found(build, last)
    return found


def _fill(
    row: StreamRow,
    columns: tuple[Column, ...],
    catalog: Catalog,
    today: date,
    found: Mapping[tuple[str, str], _Found],
) -> StreamRow:
    reasons = _refusals(row, catalog, today)
    cells = []
    for col in columns:
        here = found.get((row.package, col.target))
        why_not = reasons.get(col.target, f"target {col.target} does not take the family {row.family}")
        cells.append(
            Cell(
                package=row.package,
                target=col.target,
                branch=col.branch,
                system=col.system,
                build=here.build if here else None,
                good=here.good if here else None,
                behind=not why_not and _is_behind(row.buildable, here),
                refusal=why_not,
                style=col.style,
            )
        )
    return replace(row, cells=tuple(cells))


def _refusals(row: StreamRow, catalog: Catalog, today: date) -> dict[str, str]:
    """Return for each target why it would not build this stream; empty text where it would."""
    family = catalog.families.get(row.family)
    if family is None or row.refusal:
        return {target.id: row.refusal for target in catalog.targets}
    specimen = _specimen(Stream.parse(row.stream), row.buildable)
    decision = plan(
        specimen,
        family=_willing(family, specimen),
        targets=catalog.targets,
        branches=catalog.branches,
        today=today,
    )
    return {
        **{skipped.target_id: skipped.reason for skipped in decision.skipped},
        **{planned.target.id: "" for planned in decision.builds},
    }


def _is_behind(buildable: str | None, here: _Found | None) -> bool:
    """Whether upstream's newest release has not succeeded here; a first build under way is not behind."""
    if buildable is None:
        return False
    if here is not None and here.good is not None:
        return Version.parse(here.good.version) < Version.parse(buildable)
    return here is None or not here.build.is_live
