"""New attempts at many cells at once: one cell, a branch, a stream, or all that failed of a release."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.access.audit import note_audit
from service.catalog import Catalog
from service.domain.errors import BadName, CommandRefused, NotFound
from service.domain.planning import BuildTarget, Family, PlannedBuild, plan
from service.domain.states import LIVE_BUILD, BuildState, ReleaseState
from service.domain.versions import Stream, Version
from service.releases.announce import add_attempt, lock_stream
from service.store.schema import PackageBuild, UpstreamRelease
from service.store.session import Database, database_now

FAILED = frozenset({BuildState.FAILED.value, BuildState.ERRORED.value})
# One press of a button: more than this is a mistake, or deserves a second thought.
AT_ONCE = 200


@dataclass(frozen=True)
class Wish:
    """Which cells to build again. At least one of stream, version, branch and target; they compose.

    Without a version it is each stream's newest planned release. ``failed_only``: cells whose last attempt failed
    or errored. ``strategy`` is instead of the target's own.
    """

    family: str
    stream: str | None = None
    version: str | None = None
    branch: str | None = None
    system: str | None = None
    target: str | None = None
    failed_only: bool = False
    strategy: str | None = None


@dataclass(frozen=True)
class CellWish:
    """One cell that a wish meets, its last attempt, and why it is not built again; empty where it is."""

    package: str
    version: str
    target: str
    branch: str
    system: str
    last_build: int | None
    last_state: str
    refusal: str
    build: int | None = None


@dataclass(frozen=True)
class Rebuilt:
    """What became of each cell; ``builds`` are the ids of the new ones, now due."""

    cells: tuple[CellWish, ...]
    builds: tuple[int, ...]


def check_strategy(catalog: Catalog, strategy: str | None, stream: Stream) -> str:
    """Why a strategy cannot be used for a stream; empty text where it can, or where none was asked for."""
    if strategy is None:
        return ""
    known = catalog.strategies.get(strategy)
    if known is None:
        return f"the catalogue has no strategy {strategy[:40]}; it has {', '.join(catalog.strategies)}"
    if known.first_stream is not None and stream < known.first_stream:
        return f"strategy {strategy} works from stream {known.first_stream} on"
    return ""


def check_retry(db: Database, catalog: Catalog, build_id: int, strategy: str | None) -> None:
    """Raise CommandRefused where a strategy cannot be used for a build; what else forbids a retry, its command says."""
    with db.reader() as session:
        build = session.get(PackageBuild, build_id)
        refusal = check_strategy(catalog, strategy, _stream(build.stream)) if build else ""
    if refusal:
        raise CommandRefused(refusal)


def preview_rebuild(db: Database, catalog: Catalog, wish: Wish) -> Rebuilt:
    """What ``request_rebuild`` would do now, without doing it. Raises what it raises."""
    with db.reader() as session:
        at = database_now(session)
        cells = tuple(shown for shown, _, _ in _cells(session, catalog, wish, at, lock=False))
    return Rebuilt(_some(cells), ())


def request_rebuild(db: Database, catalog: Catalog, wish: Wish, *, by: str, address: str = "") -> Rebuilt:
    """A new attempt at every cell of the wish that may have one, in one transaction, which commits.

    A cell with a live attempt is left alone: never two. Raises NotFound, and CommandRefused where no cell may be
    built again, with the first cell's reason.
    """
    with db.transaction() as session:
        at = database_now(session)
        cells, builds = [], []
        for shown, release, target in _cells(session, catalog, wish, at, lock=True):
            if shown.refusal:
                cells.append(shown)
                continue
            planned = PlannedBuild(shown.package, target, wish.strategy or target.strategy)
            build = add_attempt(session, release, planned, at=at, requested_by=by)
            builds.append(build.id)
            cells.append(_with_build(shown, build.id))
        _some(cells)
        refused = [cell for cell in cells if cell.refusal]
        if not builds:
            raise CommandRefused(f"nothing can be built again: {refused[0].target}: {refused[0].refusal}")
        note_audit(
            session, at=at, by=by, address=address, action="rebuild", subject=_subject(wish),
            detail=f"{len(builds)} builds, {len(refused)} cells left alone",
            before={cell.target + " " + cell.version: cell.last_state for cell in cells if cell.build},
            after={"builds": builds, "strategy": wish.strategy},
        )  # fmt: skip
        return Rebuilt(tuple(cells), tuple(builds))


def _cells(
    session: Session, catalog: Catalog, wish: Wish, at: datetime, *, lock: bool
) -> Iterable[tuple[CellWish, UpstreamRelease, BuildTarget]]:
    family = catalog.families.get(wish.family)
    if family is None:
        raise NotFound(f"the catalogue has no family {wish.family[:40]}")
    if not (wish.stream or wish.version or wish.branch or wish.target):
        raise CommandRefused("say which cells: a stream, a version, a branch or a target")
    for release in _releases(session, family, wish, lock=lock):
        version = Version.parse(release.version)
        refused = _refusals(catalog, family, release, version, at)
        last = _last_attempts(session, release)
        for target in catalog.targets:
            if family.name not in target.families or not _meets(target, wish):
                continue
            build = last.get(target.id)
            if wish.failed_only and (build is None or build.state not in FAILED):
                continue
            refusal = refused.get(target.id, "") or check_strategy(catalog, wish.strategy, version.stream)
            if build is not None and build.state in LIVE_BUILD:
                refusal = f"build {build.id} of this cell is {build.state}; cancel it or wait for its end"
            yield (
                CellWish(
                    package=family.package(version.stream),
                    version=release.version,
                    target=target.id,
                    branch=target.branch.name,
                    system=target.system,
                    last_build=build.id if build else None,
                    last_state=build.state if build else "",
                    refusal=refusal,
                ),
                release,
                target,
            )


def _meets(target: BuildTarget, wish: Wish) -> bool:
    return (
        wish.branch in (None, target.branch.name)
        and wish.system in (None, target.system)
        and wish.target in (None, target.id)
    )


def _releases(session: Session, family: Family, wish: Wish, *, lock: bool) -> list[UpstreamRelease]:
    """The releases of a wish, each stream's newest where no version is named; their streams are locked in order."""
    r = UpstreamRelease
    statement = select(r).where(r.family == family.name)
    if wish.version is not None:
        statement = statement.where(r.version == wish.version.removeprefix("v"))
    else:
        statement = statement.where(r.state == ReleaseState.PLANNED.value)
    if wish.stream is not None:
        statement = statement.where(r.stream == wish.stream)
    newest: dict[str, UpstreamRelease] = {}
    for release in session.scalars(statement.order_by(r.sort_key)):
        newest[release.stream] = release
    if not newest:
        what = (
            f"release {wish.version}" if wish.version else f"planned release of stream {wish.stream or 'any'}"
        )
        raise NotFound(f"we know no {what[:80]} of {family.name}")
    for stream in sorted(newest, key=_stream) if lock else ():
        lock_stream(session, family, _stream(stream))
    return [newest[stream] for stream in sorted(newest, key=_stream, reverse=True)]


def _stream(text: str) -> Stream:
    try:
        return Stream.parse(text)
    except BadName as error:
        raise CommandRefused(str(error)) from None


def _refusals(
    catalog: Catalog, family: Family, release: UpstreamRelease, version: Version, at: datetime
) -> dict[str, str]:
    """Why each target would not build the release today."""
    if release.state == ReleaseState.WITHDRAWN:
        return {target.id: f"{version.tag} is withdrawn: {release.reason}" for target in catalog.targets}
    decision = plan(
        version,
        family=family.with_prereleases() if release.state == ReleaseState.PLANNED else family,
        targets=catalog.targets,
        branches=catalog.branches,
        today=at.date(),
        marked_prerelease=release.prerelease,
    )
    if not decision.builds and not decision.skipped:
        return {target.id: decision.reason for target in catalog.targets}
    return {skipped.target_id: skipped.reason for skipped in decision.skipped}


def _last_attempts(session: Session, release: UpstreamRelease) -> dict[str, PackageBuild]:
    rows = session.scalars(
        select(PackageBuild).where(PackageBuild.release_id == release.id).order_by(PackageBuild.attempt)
    )
    return {build.target: build for build in rows}


def _some(cells: Iterable[CellWish]) -> tuple[CellWish, ...]:
    found = tuple(cells)
    if not found:
        raise CommandRefused("no cell is like that: nothing was built there, or nothing has failed")
    if sum(not cell.refusal for cell in found) > AT_ONCE:
        raise CommandRefused(f"these are more than {AT_ONCE} cells; ask for fewer at once")
    return found


def _with_build(cell: CellWish, build_id: int) -> CellWish:
    return CellWish(**{**vars(cell), "build": build_id})


def _subject(wish: Wish) -> str:
    words = (wish.family, wish.version or wish.stream, wish.branch, wish.system, wish.target)
    return "cells " + " ".join(word for word in words if word) + (" failed" if wish.failed_only else "")
