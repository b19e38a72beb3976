"""A database with a build in every state, brought there by the service's own functions only."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import select

from service.builds.claims import BuildWork, back_off, claim_build, end_build
from service.builds.commands import request_build, request_cancel
from service.builds.follow_ups import stage_record
from service.builds.polls import claim_polls, record_report
from service.builds.submissions import (
    begin_submit,
    record_source_facts,
    record_submission,
    reserve_release_number,
)
from service.catalog import Catalog
from service.contacts import record_contact
from service.domain.reports import BuildRef, BuildReport, ChrootReport, SubmissionKey
from service.domain.shipping import Shipping, Stage
from service.domain.sources import SourceFacts
from service.domain.specs import ChangelogEntry, SpecRequest
from service.domain.states import BuildState, ChrootState
from service.domain.versions import Version
from service.releases.intake import Incoming, accept_deliveries
from service.specs.render import render_spec
from service.store.schema import PackageBuild
from service.store.session import Database
from tests.store.deliveries import deliver, payload

FACTS = SourceFacts(
    origin="archive", go="1.24.3", wazero="v1.9.0", nri="v0.9.0", commit="5f2b0c9e" * 5,
    sha256="9d" * 32, url="https://example.org/cri-o/archive/v1.34.2.tar.gz", size=12_345_678,
)  # fmt: skip
LONG = 3600.0
HOSTILE = (
    "error: <script>alert(1)</script> \x1b[31mlinker: undefined reference to `memmove'\x1b[0m \u202egnp.exe"
)


class Scene:
    """A database whose builds can be brought to any state, by version and target id."""

    def __init__(self, db: Database, catalog: Catalog) -> None:
        self.db = db
        self.catalog = catalog
        self._external = 10_000

    def announce(self, tag: str, **changes: Any) -> None:
        """Store and process a release's webhook."""
        deliver(self.db, self.catalog, payload(tag, **changes), guid=f"guid-{tag}")

    def build_id(self, version: str, target: str) -> int:
        """Return the id of the latest attempt."""
        with self.db.reader() as session:
            found = session.scalars(
                select(PackageBuild.id)
                .where(PackageBuild.version == version, PackageBuild.target == target)
                .order_by(PackageBuild.attempt.desc())
            ).first()
        assert found is not None, (version, target)
        return found

    def prepare(self, version: str, target: str) -> BuildWork:
        """Bring a build to preparing."""
        work = claim_build(self.db, self.build_id(version, target), lease_seconds=LONG, max_tries=6)
        assert work is not None
        return work

    def submit(self, version: str, target: str) -> BuildWork:
        """Bring a build to submitting, with its spec and SRPM."""
        work = self.prepare(version, target)
        record_source_facts(self.db, work.release_id, FACTS)
        number = reserve_release_number(
            self.db,
            work,
            content_sha256=hashlib.sha256(version.encode()).hexdigest(),
            why=f"Update to {version}",
        )
        spec = render_spec(
            SpecRequest(
                family=work.family,
                package=work.package,
                version=Version.parse(version),
                branch=work.branch,
                strategy=work.strategy,
                facts=FACTS,
                release_number=number.number,
                released_on=date(2026, 11, 20),
                changelog=(ChangelogEntry(date(2026, 11, 20), f"{version}-0.{number.number}", "Update"),),
            ),
            self.catalog,
        )
        going = begin_submit(
            self.db,
            work,
            spec=spec,
            srpm_name=f"{work.package}-{version}-0.{number.number}.src.rpm",
            srpm_sha256="ab" * 32,
            release_number=number.number,
            key=SubmissionKey.fresh(work.id),
            fence={},
            lease_seconds=LONG,
        )
        assert going is not None
        return going

    def run(self, version: str, target: str) -> None:
        """Bring a build to running."""
        work = self.submit(version, target)
        self._external += 1
        ref = BuildRef(
            "copr", work.target.project, str(self._external), f"https://example.org/build/{self._external}"
        )
        record_submission(
            self.db, work, ref, skipped={}, adopted=False, poll_seconds=-1.0, surplus_seconds=LONG
        )

    def report(self, version: str, target: str, chroots: Mapping[str, tuple[ChrootState, str]]) -> None:
        """Record one poll's answer; architectures that are not named have succeeded."""
        self.run(version, target)
        build_id = self.build_id(version, target)
        for poll in claim_polls(self.db, "copr", self._project(), lease_seconds=LONG, max_tries=9):
            if poll.build_id == build_id:
                now = datetime.now(UTC)
                rows = []
                for chroot in self._chroots(target):
                    state, reason = chroots.get(chroot.rpartition("-")[2], (ChrootState.SUCCEEDED, ""))
                    ended = state not in (ChrootState.PENDING, ChrootState.RUNNING)
                    rows.append(
                        ChrootReport(
                            chroot, state, now, now if ended else None, f"https://example.org/{chroot}/",
                            f"https://example.org/{chroot}/builder-live.log.gz", reason,
                        )
                    )  # fmt: skip
                record_report(self.db, poll, BuildReport(poll.ref, tuple(rows)), poll_seconds=LONG)

    def succeed(self, version: str, *targets: str) -> None:
        """Bring builds to succeeded, on every architecture."""
        for target in targets:
            self.report(version, target, {})

    def ship(self, version: str, target: str, stage: Stage) -> None:
        """Record what a look at a build's tags saw."""
        seen = Shipping(stage, datetime.now(UTC), ended=False, text=f"it is {stage}")
        with self.db.transaction() as session:
            build = session.get_one(PackageBuild, self.build_id(version, target))
            stage_record(seen, "")(session, build, datetime.now(UTC))

    def _project(self) -> str:
        return self.catalog.targets[0].project

    def _chroots(self, target: str) -> tuple[str, ...]:
        found = self.catalog.target(target)
        assert found is not None
        return found.chroots


def play(db: Database, catalog: Catalog) -> Scene:
    """Fill an empty database with a build in every state, and deliveries in every state."""
    scene = Scene(db, catalog)
    everywhere = [target.id for target in catalog.targets]
    for tag in ("v1.29.4", "v1.31.9", "v1.32.4", "v1.33.0", "v1.34.1", "v1.35.0"):
        scene.announce(tag)
    for version in ("1.31.9", "1.32.4", "1.33.0", "1.34.1"):
        scene.succeed(version, *everywhere)
    scene.succeed("1.35.0", "f43-copr")
    scene.ship("1.35.0", "f43-copr", Stage.TESTING)

    scene.announce("v1.34.2")
    scene.succeed("1.34.2", "f43-copr")
    scene.report("1.34.2", "f44-copr", {"aarch64": (ChrootState.FAILED, HOSTILE)})
    scene.report("1.34.2", "f45-copr", {"aarch64": (ChrootState.RUNNING, "")})
    end_build(
        db, scene.prepare("1.34.2", "rawhide-copr"), BuildState.ERRORED,
        "gave up after 6 tries: the source archive could not be fetched (HTTP 502); retry when it answers",
    )  # fmt: skip
    request_build(db, catalog, scene.build_id("1.34.2", "f44-copr"), by="maintainer")
    scene.report(
        "1.34.2", "f44-copr", {"aarch64": (ChrootState.FAILED, "rpmbuild: %check failed: text relocations")}
    )

    scene.announce("v1.33.1")
    end_build(
        db, scene.prepare("1.33.1", "f43-copr"), BuildState.HELD,
        "the COPR project has no chroot fedora-43-x86_64: enable it, then resume",
    )  # fmt: skip
    scene.submit("1.33.1", "f44-copr")
    back_off(
        db,
        scene.prepare("1.33.1", "f45-copr"),
        "COPR does not answer (time-out); next look in 30 s",
        delay_seconds=30,
    )
    request_cancel(db, scene.build_id("1.33.1", "rawhide-copr"), by="maintainer")
    claim_build(db, scene.build_id("1.33.1", "rawhide-copr"), lease_seconds=LONG, max_tries=6)

    scene.announce("v1.32.5")
    scene.announce("v1.32.6")
    scene.announce("v1.99.0")
    scene.announce("v1.35.1-rc.1", prerelease=True)
    deliver(db, catalog, payload("nightly"), guid="guid-odd-tag")
    deliver(
        db, catalog, b'{"zen": "Keep it logically awesome.", "repository": 7}', event="star", guid="guid-star"
    )
    accept_deliveries(db, [Incoming("guid-waiting", "release", payload("v1.31.10"))])
    record_contact(db, "copr")
    record_contact(db, "github", "api answered 403: rate limit exceeded")
    return scene
