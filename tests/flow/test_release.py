"""One release from its webhook to finished builds, and what may go wrong on the way."""

from __future__ import annotations

import pytest

from service.builds.commands import request_build
from service.domain.errors import CommandRefused
from service.domain.states import BuildState
from tests.flow.house import SUCCESS, House
from tests.store.deliveries import release
from workers.builds import deliveries, steps


def test_a_release_walks_through(house: House) -> None:
    house.announce("v1.32.1")
    house.run()
    builds = house.builds()
    assert [(b.package, b.branch, b.state) for b in builds] == [
        ("cri-o1.32", branch, "succeeded") for branch in ("f43", "f44", "f45", "rawhide")
    ]
    for build in builds:
        assert house.story(build.id) == SUCCESS
        word = build.branch.removeprefix("f") if build.branch != "rawhide" else "rawhide"
        chroots = house.chroots(build.id)
        assert set(chroots) == {f"fedora-{word}-x86_64", f"fedora-{word}-aarch64"}
        for chroot in chroots.values():
            assert chroot.state == "succeeded" and chroot.result_url and chroot.log_url.endswith(".gz")
            assert chroot.started_at and chroot.ended_at
        assert build.web_url.endswith(f"/coprs/build/{build.external_id}")
    assert len(house.farm.builds()) == 4
    # One content, one SRPM, one number for all four branches.
    assert {(b.srpm_name, b.release_number) for b in builds} == {("cri-o1.32-1.32.1-0.1.src.rpm", 1)}
    assert len({b.srpm_sha256 for b in builds}) == 1
    facts = release(house.context.db, "1.32.1").facts  # type: ignore[union-attr]
    assert facts["go"].startswith("1.23") and facts["wazero"] == "v1.8.2" and len(facts["commit"]) == 40


def test_the_release_number_rises_with_each_content(sqlite_house: House) -> None:
    house = sqlite_house
    house.only("f45-copr")
    for tag in ("v1.32.1", "v1.32.2"):
        house.announce(tag)
        house.run()
    names = [build.srpm_name for build in house.builds()]
    assert names == ["cri-o1.32-1.32.1-0.1.src.rpm", "cri-o1.32-1.32.2-0.2.src.rpm"]


def test_a_failed_chroot_fails_the_build_and_says_where(sqlite_house: House) -> None:
    house = sqlite_house
    house.only("f44-copr")
    house.farm.set_outcome("failed", chroot="fedora-44-aarch64", log="ld: undefined reference")
    build = house.build_one("v1.34.3")
    assert build.state == "failed"
    assert build.reason.startswith("failed in 1 of 2 chroots (fedora-44-aarch64):")
    assert house.chroots(build.id)["fedora-44-x86_64"].state == "succeeded"


def test_a_source_step_that_fails_ends_the_build_for_all_chroots(sqlite_house: House) -> None:
    house = sqlite_house
    house.only("f44-copr")
    house.farm.set_outcome("failed", chroot="srpm-builds")
    build = house.build_one("v1.34.3")
    assert build.state == "failed" and "source" in build.reason
    assert {c.state for c in house.chroots(build.id).values()} == {"failed"}


def test_an_inactive_chroot_is_skipped_with_its_reason(sqlite_house: House) -> None:
    house = sqlite_house
    house.only("f44-copr")
    house.farm.deactivate("fedora-44-aarch64")
    build = house.build_one("v1.34.3")
    assert build.state == "succeeded"
    skipped = house.chroots(build.id)["fedora-44-aarch64"]
    assert (skipped.state, skipped.reason) == ("skipped", "COPR has no such active chroot now")


def test_no_active_chroot_is_a_refusal(sqlite_house: House) -> None:
    house = sqlite_house
    house.only("f44-copr")
    house.farm.only_chroots("fedora-45-x86_64")
    build = house.build_one("v1.34.3")
    assert build.state == "failed" and "none of the target's chroots" in build.reason


def test_a_rebuild_is_a_new_attempt_with_the_same_srpm(sqlite_house: House) -> None:
    house = sqlite_house
    house.only("f44-copr")
    house.announce("v1.34.3")
    house.run(lambda builds: any(b.state == BuildState.RUNNING for b in builds))
    with pytest.raises(CommandRefused, match="running"):
        request_build(house.context.db, house.context.catalog, 1, by="a maintainer")
    house.run()
    request_build(house.context.db, house.context.catalog, 1, by="a maintainer")
    house.run()
    first, second = house.builds()
    assert (second.attempt, second.state, second.requested_by) == (2, "succeeded", "a maintainer")
    assert first.srpm_sha256 == second.srpm_sha256
    assert first.submission_key != second.submission_key and len(house.farm.builds()) == 2


def test_a_day_that_upstream_s_list_corrects_makes_no_other_content(sqlite_house: House) -> None:
    house = sqlite_house
    house.farm.publish("v1.34.3")
    house.announce("v1.34.3", publish=False, published_at="2026-11-20T10:00:00Z")
    house.process_inbox()
    steps.advance(house.context, 1)
    deliveries.reconcile(house.context)
    house.run()
    assert {build.srpm_name for build in house.builds()} == {"cri-o1.34-1.34.3-0.1.src.rpm"}
    assert len({build.srpm_sha256 for build in house.builds()}) == 1
