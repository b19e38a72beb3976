"""Read what the verification of a chroot's RPMs needs, and record its verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from service.builds.follow_ups import FollowUpWork
from service.domain.fedora import Chroot
from service.domain.reports import BuildRef, ResultPlace
from service.domain.states import BuildState, ChrootState, Soundness
from service.domain.verification import (
    OWN_RELEASE,
    Expected,
    RpmFinding,
    RpmHeader,
    build_soundness,
    planned_dependencies,
)
from service.domain.versions import Nvr, Version
from service.store.options import target_of
from service.store.schema import BuiltRpm, CheckFinding, ChrootBuild, ChrootCheck, PackageBuild
from service.store.session import Database


@dataclass(frozen=True)
class CheckWork:
    """What was planned for one succeeded chroot, for its RPMs to be compared with.

    ``go_line`` is the go line of the release's go.mod, empty where unknown. ``before`` are the files of each RPM of the
    last good build by the RPM's name, with that build's version.
    """

    place: ResultPlace
    target: str
    expected: Expected
    go_line: str
    before: Mapping[str, Sequence[str]]
    version_before: str


@dataclass(frozen=True)
class CheckedRpm:
    """One RPM that was looked at. ``size`` in bytes; ``go`` is the toolchain's version, empty without Go."""

    header: RpmHeader
    size: int
    sha256: str
    binaries: int
    go: str


def check_work(db: Database, work: FollowUpWork) -> CheckWork | None:
    """Return what the verification of a chroot needs. Reads only.

    None where the chroot is not known, or the release number of a build that is not from dist-git.
    """
    with db.reader() as session:
        build = session.get_one(PackageBuild, work.build_id)
        row = session.scalars(
            select(ChrootBuild).where(ChrootBuild.build_id == build.id, ChrootBuild.chroot == work.subject)
        ).one_or_none()
        in_dist_git = target_of(build).dist_git is not None
        if row is None or (build.release_number is None and not in_dist_git):
            return None
        version = Version.parse(build.version).rpm
        release = _release(build, in_dist_git)
        values = {
            "name": build.package,
            "version": version,
            "release": OWN_RELEASE if release == build.dist else release,
        }
        before, version_before = _before(session, build, work.subject)
        ref = BuildRef(build.system, build.project, build.external_id or "", build.web_url)
        return CheckWork(
            place=ResultPlace(ref, row.chroot, row.result_url, row.log_url),
            target=build.target,
            expected=Expected(
                build.package, version, release, Chroot.parse(row.chroot).arch,
                planned_dependencies(build.spec_text or "", values), in_dist_git,
            ),
            go_line=str(build.release.facts.get("go", "")),
            before=before,
            version_before=version_before,
        )  # fmt: skip


def _release(build: PackageBuild, in_dist_git: bool) -> str:
    """The RPM release: of the build's NVR where it is known, else as we counted it; for dist-git only its dist tag."""
    if build.built_nvr:
        return Nvr.parse(build.built_nvr).release
    return build.dist if in_dist_git else f"0.{build.release_number}{build.dist}"


def _before(session: Session, build: PackageBuild, chroot: str) -> tuple[dict[str, list[str]], str]:
    """The files of the newest older build of this cell whose RPMs were looked at."""
    last = session.execute(
        select(PackageBuild.id, PackageBuild.version)
        .join(BuiltRpm, BuiltRpm.build_id == PackageBuild.id)
        .where(
            PackageBuild.package == build.package, PackageBuild.target == build.target,
            PackageBuild.id < build.id, BuiltRpm.chroot == chroot,
        )
        .order_by(PackageBuild.sort_key.desc(), PackageBuild.attempt.desc())
        .limit(1)
    ).one_or_none()  # fmt: skip
    if last is None:
        return {}, ""
    rows = session.execute(
        select(BuiltRpm.name, BuiltRpm.files).where(BuiltRpm.build_id == last.id, BuiltRpm.chroot == chroot)
    )
    return {name: list(files) for name, files in rows}, Version.parse(last.version).rpm


def record_check(
    session: Session,
    build: PackageBuild,
    now: datetime,
    *,
    chroot: str,
    soundness: Soundness,
    text: str,
    rpms: Sequence[CheckedRpm],
    found: Sequence[RpmFinding],
    demanded: bool,
) -> None:
    """Record one chroot's verdict and roll the build's soundness up from all of them. The caller commits.

    It replaces what was recorded of the chroot. ``demanded``: the target demands a sound build, so that a degraded one
    gets a note that it must not be shipped.
    """
    for table in (ChrootCheck, BuiltRpm, CheckFinding):
        session.execute(delete(table).where(table.build_id == build.id, table.chroot == chroot))
    session.add(
        ChrootCheck(build_id=build.id, chroot=chroot, soundness=soundness.value, text=text, checked_at=now)
    )
    for rpm in rpms:
        session.add(
            BuiltRpm(
                build_id=build.id, chroot=chroot, name=rpm.header.name[:120], nvra=rpm.header.nvra[:250],
                size=rpm.size, sha256=rpm.sha256, binaries=rpm.binaries, go=rpm.go[:40],
                files=list(rpm.header.files),
            )
        )  # fmt: skip
    for one in found:
        session.add(
            CheckFinding(
                build_id=build.id, chroot=chroot, rpm=one.rpm[:250], file=one.file, rule=one.id,
                grade=str(one.grade), text=one.text,
            )
        )  # fmt: skip
    session.flush()
    checks = session.scalars(select(ChrootCheck).where(ChrootCheck.build_id == build.id))
    verdicts = {check.chroot: check.soundness for check in checks}
    good = [row.chroot for row in build.chroots if row.state == ChrootState.SUCCEEDED]
    build.soundness = build_soundness(good, verdicts).value
    if demanded and build.soundness == Soundness.DEGRADED and build.state == BuildState.SUCCEEDED:
        build.note = "not to be shipped: this target demands a sound build, and this one is degraded"
