"""What a Koji build left at its hub: RPMs that are judged, logs that are kept and read for their cause."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from sandbox.testing import Farm
from service import board
from service.board.checks import build_checks
from service.board.logs import logs_of
from service.settings import Settings
from service.store.schema import FollowUp, LogTail, PackageBuild
from service.store.session import database_now
from tests.contract.koji.bench import without_topurl
from tests.diagnosis_corpus import FOLDERS, read
from tests.flow.distgit.service import PACKAGE, DistGitHouse
from tests.flow.distgit.service import koji_settings as distgit_settings
from tests.flow.house import House
from tests.flow.results.test_verification import rpm_like_planned
from tests.logs.bucket import KEY_ID, REGION, SECRET, Bucket
from tests.web.live import serving
from tests.workers.results.built_rpms import HARD, MAIN, TEXT_RELOCATION, compile_program
from workers import follow_ups
from workers.results import build_logs

BAD, GOOD = "fedora-44-aarch64", "fedora-44-x86_64"
OPEN = 1
native = pytest.mark.skipif(
    shutil.which("gcc") is None or platform.machine() != "x86_64",
    reason="the RPMs are made by gcc for x86_64",
)


@pytest.fixture
def house(
    farm: Farm, make_settings: Callable[..., Settings], koji_settings: dict[str, Any], sqlite_url: str
) -> Iterator[House]:
    """A service with one target, at the hub."""
    house = House(farm, make_settings(sqlite_url, **koji_settings))
    house.only("f44-koji")
    yield house
    house.close()


def hold(monkeypatch: pytest.MonkeyPatch, kind: str) -> Callable[[], None]:
    """Let no follow-up of this kind run until the returned function is called."""
    runners = dict(follow_ups.RUNNERS)
    monkeypatch.setattr(follow_ups, "RUNNERS", {name: run for name, run in runners.items() if name != kind})
    return lambda: monkeypatch.setattr(follow_ups, "RUNNERS", runners)


def output(house: House, arch: str) -> Path:
    """Where the hub keeps what the newest task of an architecture has written."""
    number = [task["id"] for task in house.farm.koji.tasks("buildArch") if task["label"] == arch][-1]
    return house.farm.state_dir / "koji" / "work" / "tasks" / str(number % 10000) / str(number)


def verified(
    house: House, tag: str, monkeypatch: pytest.MonkeyPatch, make: Callable[[PackageBuild], Path | None]
) -> tuple[PackageBuild, str]:
    """Let the hub build a release, put what ``make`` makes in its package's place, and verify: build and verdict."""
    go_on = hold(monkeypatch, "verify")
    house.announce(tag)
    house.run()
    number = house.builds()[-1].id
    with house.context.db.reader() as session:
        made = make(session.get_one(PackageBuild, number))
    if made is not None:
        (simulated,) = output(house, "x86_64").glob("*.x86_64.rpm")
        shutil.copyfile(made, simulated)
    go_on()
    house.settle(60)
    with house.context.db.reader() as session:
        checks = build_checks(session, number)
    return house.builds()[-1], "\n".join(check.text for check in checks.chroots)


@native
def test_the_rpms_of_a_scratch_build_are_judged(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.farm.koji.target("f44-candidate", "f44-build", "f44-updates-candidate", "x86_64")
    good = compile_program(tmp_path / "good", MAIN, *HARD)
    build, told = verified(house, "v1.35.4", monkeypatch, lambda row: rpm_like_planned(tmp_path, row, good))
    assert (build.state, build.soundness) == ("succeeded", "sound"), told
    assert "sound: 1 RPMs with 1 programs" in told
    bad = compile_program(tmp_path / "bad", TEXT_RELOCATION, *HARD, "-Wl,-z,notext")
    build, told = verified(house, "v1.35.5", monkeypatch, lambda row: rpm_like_planned(tmp_path, row, bad))
    assert (build.state, build.soundness) == ("succeeded", "degraded"), told
    assert "/usr/bin/crio" in told and "text relocations" in told
    build, told = verified(house, "v1.35.6", monkeypatch, lambda row: None)
    assert (build.state, build.soundness) == ("succeeded", "unknown"), "no package is no broken package"
    assert told.startswith("not verified: ") and "simulated" in told


@native
def test_the_rpms_of_a_build_from_dist_git_are_judged_where_the_hub_keeps_them(
    farm: Farm,
    make_settings: Callable[..., Settings],
    sqlite_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its release is the one that the hub told, and a maintainer has taken a Conflicts out of the spec."""
    house = DistGitHouse(farm, distgit_settings(make_settings, farm, sqlite_url))
    farm.koji.target("f44-candidate", "f44-build", "f44-updates-candidate", "x86_64")
    house.grants.grant(PACKAGE, "f44")
    go_on = hold(monkeypatch, "verify")
    built = house.release("v1.35.1")
    assert built.state == "succeeded", built.reason
    program = compile_program(tmp_path, MAIN, *HARD)
    with house.context.db.reader() as session:
        row = session.get_one(PackageBuild, built.id)
        made = rpm_like_planned(tmp_path, row, program, leave_out="conflicts: crio", release="1.fc44")
    (kept,) = (farm.state_dir / "koji" / "packages").rglob("*.x86_64.rpm")
    shutil.copyfile(made, kept)
    go_on()
    # Whether it is shipped stays an open question here.
    house.run(lambda builds: builds[0].soundness != "unknown", seconds=60)
    with house.context.db.reader() as session:
        checks = build_checks(session, built.id)
    assert [(one.rule, one.grade) for one in checks.findings] == [("missing-conflicts", "note")]
    assert house.builds()[0].soundness == "sound", checks.chroots[0].text
    house.close()


def test_the_logs_of_every_architecture_are_followed_kept_and_understood(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = hold(monkeypatch, "logs")
    house.farm.pause()
    house.announce("v1.32.1")
    house.run_to("running")
    (build,) = house.builds()
    task = int(build.external_id or 0)
    while not any(
        one["label"] == "aarch64" and one["state"] == OPEN for one in house.farm.koji.tasks("buildArch")
    ):
        house.farm.koji.step(task)
    log = output(house, "aarch64") / "build.log"
    log.write_text("x" * 100_000 + "\nnow compiling crio\n")
    house.run(lambda _: house.chroots(build.id)[BAD].state == "running")
    build_logs.tail_log(house.context, build.id, BAD)
    url, changes = house.settings.database(), {"state_dir": house.settings.state_dir}
    with serving(url, **changes) as live:
        assert "now compiling crio" in live.get(f"/builds/{build.id}/logs/{BAD}").text
    with house.context.db.transaction() as session:
        tail = session.scalars(select(LogTail)).one()
        assert len(tail.tail) <= build_logs.TAIL_BYTES < tail.size, "its end, by a range of the file"
        tail.fetched_at = database_now(session) - timedelta(minutes=1)
    log.write_text("x" * 100_000 + "\nnow compiling crio\nnow linking crio\n")
    build_logs.tail_log(house.context, build.id, BAD)
    with serving(url, **changes) as live:
        assert "now linking crio" in live.get(f"/builds/{build.id}/logs/{BAD}").text

    house.farm.koji.set_outcome("aarch64")
    house.farm.resume()
    house.run(lambda builds: builds[0].state == "failed")
    # What Fedora's builder wrote, word for word (its source is in the corpus).
    real = read(FOLDERS["known"] / "wazero-cri-o-8860.log", "known")
    log.write_text("\n".join(real.lines))
    go_on()
    house.settle(60)
    for one in house.farm.koji.tasks("buildArch"):
        house.farm.koji.forget(one["id"], output=True)
    assert not log.exists(), "the hub has purged them"
    with house.context.db.reader() as session:
        kept = {(row.chroot, row.kind): row.is_stored for row in logs_of(session, build.id)}
        found_causes = board.diagnoses_of(session, house.context.catalog, build.id)
    assert kept == {(chroot, kind): True for chroot in (BAD, GOOD) for kind in ("builder", "root", "backend")}
    (cause,) = found_causes
    assert (cause.chroot, cause.rule, cause.log) == (BAD, "wazero-undefined", "builder")
    with serving(url, **changes) as live:
        page = live.get(f"/builds/{build.id}").text
        assert "wazero&#39;s assembly is not linked" in page or "wazero's assembly is not linked" in page
        assert "undefined reference to" in page, "the decisive line, without opening a log"
        assert "undefined reference to" in live.get(f"/builds/{build.id}/logs/{BAD}").text
        assert "SIMULATED" in live.get(f"/builds/{build.id}/logs/{BAD}?kind=root").text
        assert "SIMULATED" in live.get(f"/builds/{build.id}/logs/{GOOD}?kind=backend").text


def test_a_source_step_that_failed_has_its_log_and_what_never_began_has_none(house: House) -> None:
    house.farm.koji.set_outcome("srpm", text="error: Bad source: crio.tar.gz: No such file or directory")
    house.announce("v1.35.5")
    house.run()
    house.farm.koji.clear_outcomes()
    house.farm.koji.set_outcome("x86_64")
    house.announce("v1.35.6")
    house.run()
    house.settle(60)
    early, late = house.builds()
    with house.context.db.reader() as session:
        (source,) = logs_of(session, early.id)
        ended = select(FollowUp.outcome).where(FollowUp.build_id == late.id, FollowUp.kind == "logs")
        told = session.scalars(ended.where(FollowUp.subject == BAD)).one()
    assert (source.chroot, source.kind, source.is_stored) == ("source", "source", True)
    assert early.cause == "A file that the spec names is not in the source package: crio.tar.gz"
    assert told == "no log: koji names no address of one, as where nothing had begun"


def test_without_topurl_logs_come_by_the_hubs_own_api_and_rpms_say_what_to_set(
    farm: Farm,
    make_settings: Callable[..., Settings],
    koji_settings: dict[str, Any],
    sqlite_url: str,
    tmp_path: Path,
) -> None:
    config = without_topurl(farm, tmp_path)
    house = House(farm, make_settings(sqlite_url, **{**koji_settings, "koji_config": config}))
    house.only("f44-koji")
    farm.koji.set_outcome("aarch64")
    house.announce("v1.35.4")
    house.run()
    house.settle(60)
    (build,) = house.builds()
    with house.context.db.reader() as session:
        kept = {(row.chroot, row.kind): (row.is_stored, row.url[:10]) for row in logs_of(session, build.id)}
        (checked,) = build_checks(session, build.id).chroots
    kinds = [(chroot, kind) for chroot in (BAD, GOOD) for kind in ("builder", "root", "backend")]
    assert kept == dict.fromkeys(kinds, (True, "koji-task:"))
    assert (
        checked.chroot == GOOD
        and "has no 'topurl'" in checked.text
        and "CRYOPACK_KOJI_CONFIG" in checked.text
    )
    url, changes = house.settings.database(), {"state_dir": house.settings.state_dir}
    with serving(url, **changes) as live:
        page = live.get(f"/builds/{build.id}/logs/{BAD}").text
        assert "error building package" in page and "koji-task:" not in page
    house.close()


def test_logs_may_lie_in_a_bucket_and_its_outage_is_waited_for(
    farm: Farm, make_settings: Callable[..., Settings], koji_settings: dict[str, Any], sqlite_url: str
) -> None:
    with Bucket() as bucket:
        account = {
            "log_store_url": bucket.url, "log_store_region": REGION, "log_store_key_id": KEY_ID,
            "log_store_secret": SECRET,
        }  # fmt: skip
        house = House(farm, make_settings(sqlite_url, **koji_settings, **account))
        house.only("f44-koji")
        farm.koji.set_outcome("x86_64", text="error: the gizmo is odd")
        bucket.down = 503
        house.announce("v1.35.6")
        house.run()
        for _ in range(40):
            house.turn()
        with house.context.db.reader() as session:
            row = session.scalars(
                select(FollowUp).where(FollowUp.kind == "logs", FollowUp.subject == GOOD)
            ).one()
            assert row.ended_at is None and row.tries <= 1 and "the log store 127.0.0.1" in row.outcome
        bucket.down = 0
        house.settle(60)
        (build,) = house.builds()
        assert bucket.kept and not (house.settings.state_dir / "logs").exists()
        with serving(house.settings.database(), state_dir=house.settings.state_dir, **account) as live:
            page = f"/builds/{build.id}/logs/{GOOD}"
            assert "the gizmo is odd" in live.get(page).text
            bucket.down = 503
            assert "the log store 127.0.0.1" in live.get(page).text and SECRET not in live.get(page).text
        house.close()
