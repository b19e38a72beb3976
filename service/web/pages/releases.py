"""The pages of releases and builds: the lists, and one release or build in full."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service import board
from service.board.changes import changes_since_good
from service.board.checks import build_checks
from service.board.logs import logs_of
from service.domain.states import BuildState, ReleaseState
from service.domain.versions import Stream
from service.web.access.auth import page_needs
from service.web.api.builds import known_build
from service.web.base.context import context_of
from service.web.base.parameters import known_id, known_word, word
from service.web.base.problems import Problem
from service.web.base.render import page

router = APIRouter(include_in_schema=False, dependencies=[page_needs("read")])


@router.get("/releases")
def show_releases(request: Request) -> Response:
    """Show upstream's releases, last seen first."""
    context = context_of(request)
    values = {name: word(request.query_params, name) for name in ("stream", "state", "cursor")}
    now = datetime.now(UTC)
    with context.db.reader() as session:
        found = board.list_releases(
            session,
            stream=values["stream"] or None,
            state=values["state"] or None,
            cursor=values["cursor"],
        )
        streams = board.streams(session, context.catalog, now)
    return page(
        request,
        "releases.html",
        {
            "releases": found.items,
            "next": found.next,
            "values": values,
            "all_streams": [row.stream for row in streams],
            "all_states": list(ReleaseState),
            "now": now,
        },
    )


@router.get("/releases/{family}/{version}")
def show_release(request: Request, family: str, version: str) -> Response:
    """Show one release as a timeline: delivery, decision, source, spec, SRPM, builds."""
    context = context_of(request)
    known_word(family + version, "release")
    now = datetime.now(UTC)
    with context.db.reader() as session:
        detail = board.release_detail(session, context.catalog, now, family, version.removeprefix("v"))
        if detail is None:
            raise Problem(404, f"We know no release {version} of {family}.")
        with_spec = [build for build in detail.latest if build.spec_sha256]
        wanted = word(request.query_params, "target")
        shown = next((build for build in with_spec if build.target == wanted), None)
        shown = shown or (with_spec[0] if with_spec else None)
        change = board.spec_change(session, shown.id) if shown else None
        changes = board.changes_of(session, [build.id for build in detail.latest])
        side_tags = board.side_tags_of(session, [build.id for build in detail.latest])
        beside = board.spec_beside(session, shown.id) if shown else None
    srpms = {build.srpm_name: build.srpm_sha256 for build in detail.latest if build.srpm_name}
    values = {
        "detail": detail,
        "change": change,
        "changes": changes,
        "side_tags": side_tags,
        "beside": beside,
        "with_spec": with_spec,
        "srpms": sorted(srpms.items()),
        "now": now,
    }
    return page(request, "release.html", values)


@router.get("/builds")
def show_builds(request: Request) -> Response:
    """Show the builds that match the filters, newest first."""
    context = context_of(request)
    names = ("package", "branch", "system", "state", "arch", "version", "cursor")
    values = {name: word(request.query_params, name) for name in names}
    now = datetime.now(UTC)
    with context.db.reader() as session:
        found = board.list_builds(
            session,
            board.BuildFilter(
                package=values["package"] or None,
                branch=values["branch"] or None,
                system=values["system"] or None,
                version=values["version"] or None,
                states=(values["state"],) if values["state"] else (),
                arch=values["arch"] or None,
            ),
            cursor=values["cursor"],
        )
        streams = board.streams(session, context.catalog, now)
    columns = board.columns_of(context.catalog, now.date())
    return page(
        request,
        "builds.html",
        {
            "builds": found.items,
            "next": found.next,
            "values": values,
            "filtered": any(values.values()),
            "all_packages": [row.package for row in streams],
            "all_branches": list(dict.fromkeys(column.branch for column in columns)),
            "all_systems": sorted({column.system for column in columns}),
            "all_states": list(BuildState),
            "all_arches": sorted({board.arch_of(chroot) for column in columns for chroot in column.chroots}),
            "now": now,
        },
    )


@router.get("/builds/{build_id}")
def show_build(request: Request, build_id: str) -> Response:
    """Show one build: state, architectures, what changed since the last good one, history."""
    context = context_of(request)
    number = known_id(build_id, "build")
    with context.db.reader() as session:
        detail = known_build(session, number)
        change = board.spec_change(session, number) if detail.build.spec_sha256 else None
        changes = board.changes_of(session, [number])
        side_tags = board.side_tags_of(session, [number])
        diagnoses = board.diagnoses_of(session, context.catalog, number)
        remedy, remedy_of = board.remedies_of(session, number)
        since = changes_since_good(session, detail)
        checks = build_checks(session, number)
        with_logs = {row.chroot for row in logs_of(session, number)}
    values = {
        "detail": detail,
        "build": detail.build,
        "change": change,
        "changes": changes,
        "side_tags": side_tags,
        "with_logs": with_logs,
        "checks": checks,
        "diagnoses": diagnoses,
        "remedy": remedy,
        "remedy_of": remedy_of,
        "since": since,
        "partial": detail.partial,
        "confirmed": context.catalog.is_confirmed(detail.build.family, Stream.parse(detail.build.stream)),
    }
    return page(request, "build.html", values)
