"""Fill a database as years of use would: 100,000 builds with five chroots each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import insert

from service.catalog import Catalog
from service.domain.states import BuildState
from service.domain.versions import Stream, Version
from service.store.schema import ChrootBuild, PackageBuild, PackageStream, UpstreamRelease
from service.store.session import Database

BUILDS = 100_000
CHROOTS = ("x86_64", "aarch64", "ppc64le", "s390x", "i686")
CHUNK = 2_000
START = datetime(2024, 1, 1, tzinfo=UTC)


def populate(db: Database, catalog: Catalog) -> None:
    """Fill the database; about a minute. Every stream of the family, every target, several attempts."""
    family = catalog.families["cri-o"]
    streams = sorted(stream for stream, policy in family.streams.items() if policy.build)
    releases = BUILDS // (len(catalog.targets) * 10)
    with db.transaction() as session:
        session.execute(
            insert(PackageStream),
            [
                {"family": "cri-o", "stream": str(s), "sort_key": f"{s.major:06d}.{s.minor:06d}",
                 "package": family.package(s)}
                for s in streams
            ],
        )  # fmt: skip
        session.execute(insert(UpstreamRelease), [_release(n, streams) for n in range(releases)])
    for first in range(0, BUILDS, CHUNK):
        rows = [_build(n, releases, streams, catalog) for n in range(first, min(first + CHUNK, BUILDS))]
        chroots = [
            {"build_id": row["id"], "chroot": f"fedora-43-{arch}", "state": "succeeded", "reason": "",
             "result_url": "https://results.example/", "log_url": "https://results.example/log.gz",
             "ended_at": row["ended_at"]}
            for row in rows for arch in CHROOTS
        ]  # fmt: skip
        with db.transaction() as session:
            session.execute(insert(PackageBuild), rows)
            session.execute(insert(ChrootBuild), chroots)


def _version(n: int, streams: list[Stream]) -> Version:
    stream = streams[n % len(streams)]
    return Version(stream.major, stream.minor, n // len(streams))


def _release(n: int, streams: list[Stream]) -> dict[str, object]:
    version = _version(n, streams)
    return {
        "id": n + 1, "family": "cri-o", "version": str(version), "sort_key": version.sort_key,
        "stream": str(version.stream), "tag": version.tag, "commit": "", "prerelease": False,
        "first_seen_at": START + timedelta(hours=n), "origin": "webhook", "html_url": "", "state": "planned",
        "reason": "", "mark": "", "facts": {},
    }  # fmt: skip


def _build(n: int, releases: int, streams: list[Stream], catalog: Catalog) -> dict[str, object]:
    release, rest = n % releases, n // releases
    target = catalog.targets[rest % len(catalog.targets)]
    version = _version(release, streams)
    at = START + timedelta(minutes=n)
    state = BuildState.FAILED if n % 7 == 0 else BuildState.SUCCEEDED
    return {
        "id": n + 1, "release_id": release + 1, "target": target.id, "attempt": rest // len(catalog.targets) + 1,
        "family": "cri-o", "stream": str(version.stream), "package": f"cri-o{version.stream}",
        "version": str(version), "sort_key": version.sort_key, "release_number": 1, "branch": target.branch.name,
        "dist": target.branch.dist, "system": target.system, "project": target.project, "options": {},
        "strategy": "default", "workarounds": [], "state": state.value, "soundness": "unknown",
        "reason": "failed in 1 of 2 chroots" if state is BuildState.FAILED else "", "note": "", "web_url": "",
        "source_log_url": "", "external_id": str(n), "created_at": at, "ended_at": at, "deadline_at": at,
    }  # fmt: skip
