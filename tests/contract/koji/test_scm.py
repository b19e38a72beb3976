"""Tests real builds from dist-git: what success means, and what an NVR that exists already means."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import httpx2
import pytest

from sandbox.forge.dist_git import DistGit, run_git
from sandbox.testing import Farm
from service.domain.reports import BuildRef, PollProblem, ResultPlace, ScmCommit, SubmissionKey
from tests.contract.koji.bench import (
    CANDIDATE,
    REPOSITORY,
    TESTING,
    adapter,
    fresh_commit,
    koji_target,
    report_of,
    without_topurl,
)
from tests.servers import NO_TLS
from workers.buildsystems import (
    BuildSystem,
    BuildSystemUnavailable,
    BuildVanished,
    KeepsOutput,
    NeedsPerson,
    SubmissionRefused,
)
from workers.buildsystems.koji import queries

pytestmark = pytest.mark.timeout(60)
TARGET = koji_target(scratch=False)
BUILDING, COMPLETE, DELETED, FAILED, CANCELED = range(5)


_keys = itertools.count(1)


def submit(system: BuildSystem, work: ScmCommit, target: Any = TARGET) -> BuildRef:
    key = SubmissionKey.fresh(next(_keys))
    return system.submit(work, target, key, system.open(target))


def problem(system: BuildSystem, ref: BuildRef) -> PollProblem:
    told = system.poll([ref])[ref]
    assert isinstance(told, PollProblem), told
    return told


def test_success_is_closed_complete_ours_and_tagged(farm: Farm, system: BuildSystem) -> None:
    work = fresh_commit(farm)
    ref = submit(system, work)
    assert farm.koji.tasks()[-1]["request"][:2] == [f"git+{REPOSITORY}#{work.commit}", "f44-candidate"]
    assert "scratch" not in farm.koji.tasks()[-1]["request"][2]
    seen, names = [], []
    for _ in range(25):
        told = report_of(system, ref)
        seen.append(told.ended)
        names.append(told.nvr)
        farm.koji.step(int(ref.external_id))
    assert seen[-1] == "succeeded" and "succeeded" not in seen[:20]
    assert report_of(system, ref).facts["tags"] == CANDIDATE
    learned = names.index(work.nvr)
    assert seen[learned] == "" and set(names[:learned]) == {""} and set(names[learned:]) == {work.nvr}


def test_a_build_that_stays_has_its_rpms_where_the_hub_keeps_them(farm: Farm, system: BuildSystem) -> None:
    """Its task's own files are purged after some days; these are not."""
    work = fresh_commit(farm)
    ref = submit(system, work)
    farm.koji.step(int(ref.external_id), 30)
    found = {}
    for one in report_of(system, ref).chroots:
        place = ResultPlace(ref, one.chroot, one.result_url, one.log_url)
        (found[one.chroot],) = system.rpm_addresses(place)
    name, version, release = work.nvr.rsplit("-", 2)
    for chroot, url in found.items():
        arch = chroot.rpartition("-")[2]
        kept = f"packages/{name}/{version}/{release}/{arch}/{work.nvr}.{arch}.rpm"
        assert url == f"{farm.koji_url}/kojifiles/{kept}"
        path = farm.state_dir / "koji" / kept
        assert httpx2.get(url, trust_env=False, verify=NO_TLS).status_code == 404, (
            "a simulated build has no package"
        )
        path.write_bytes(b"a package")
        assert httpx2.get(url, trust_env=False, verify=NO_TLS).content == b"a package"


def test_a_tag_that_has_moved_on_is_still_in_the_history(farm: Farm, system: BuildSystem) -> None:
    work = fresh_commit(farm)
    ref = submit(system, work)
    farm.koji.step(int(ref.external_id), 30)
    farm.koji.move(work.nvr, TESTING, CANDIDATE)
    assert (report_of(system, ref).ended, report_of(system, ref).facts["tags"]) == ("succeeded", TESTING)


def test_a_failed_tag_step_fails_the_build_and_no_chroot(farm: Farm, system: BuildSystem) -> None:
    farm.koji.set_outcome("tag", code=1003, text="tag f44-updates-candidate is locked")
    ref = submit(system, fresh_commit(farm))
    farm.koji.step(int(ref.external_id), 30)
    told = report_of(system, ref)
    assert told.ended == "errored" and "is locked" in told.reason
    assert {one.state.value for one in told.chroots} == {"succeeded"}


def test_a_build_that_was_never_tagged_is_looked_at_again(farm: Farm, system: BuildSystem) -> None:
    ref = submit(system, fresh_commit(farm))
    farm.koji.step(int(ref.external_id), 30)
    farm.koji.target("f44-candidate", "f44-build", "f44-elsewhere", "x86_64 aarch64")
    assert "was never tagged f44-elsewhere" in problem(system, ref).reason


def test_the_same_commit_complete_already_is_adopted(farm: Farm, system: BuildSystem) -> None:
    work = fresh_commit(farm)
    first = submit(system, work)
    farm.koji.step(int(first.external_id), 30)
    before = len(farm.koji.tasks())
    again = submit(system, work)
    assert again.external_id == first.external_id and len(farm.koji.tasks()) == before
    assert report_of(system, again).ended == "succeeded"


def test_the_same_commit_being_built_is_adopted(farm: Farm, system: BuildSystem) -> None:
    work = fresh_commit(farm)
    first = submit(system, work)
    farm.koji.step(int(first.external_id), 10)
    assert submit(system, work).external_id == first.external_id


@pytest.mark.parametrize(
    ("state", "more", "told"),
    [
        (
            COMPLETE,
            {"task": 1, "source": "git+https://src.example/rpms/cri-o1.34#other"},
            "already \\(complete\\), made from",
        ),
        (
            BUILDING,
            {"task": 1, "source": "git+https://src.example/rpms/cri-o1.34#other"},
            "already \\(building\\), made from",
        ),
        (DELETED, {}, "deleted it; the name is used up: raise the release"),
        (COMPLETE, {"source": "SAME"}, "imported without a task"),
    ],
)
def test_a_name_that_somebody_else_has_taken_is_refused_with_what_to_do(
    farm: Farm, system: BuildSystem, state: int, more: dict[str, Any], told: str
) -> None:
    work = fresh_commit(farm)
    if more.get("source") == "SAME":
        more = {**more, "source": f"git+{work.url}#{work.commit}"}
    farm.koji.build(work.nvr, state, **more)
    before = len(farm.koji.tasks())
    with pytest.raises(SubmissionRefused, match=told):
        submit(system, work)
    assert len(farm.koji.tasks()) == before


@pytest.mark.parametrize("state", [FAILED, CANCELED])
def test_a_failed_or_cancelled_name_is_built_again(farm: Farm, system: BuildSystem, state: int) -> None:
    work = fresh_commit(farm)
    farm.koji.build(work.nvr, state, task=1, source="git+https://src.example/rpms/cri-o1.34#old")
    ref = submit(system, work)
    farm.koji.step(int(ref.external_id), 30)
    assert report_of(system, ref).ended == "succeeded"


def test_a_name_taken_between_the_look_and_the_build_is_explained(farm: Farm, system: BuildSystem) -> None:
    work = fresh_commit(farm)
    ref = submit(system, work)
    farm.koji.build(work.nvr, COMPLETE, task=1, source="git+https://src.example/rpms/cri-o1.34#fast")
    farm.koji.step(int(ref.external_id), 30)
    told = report_of(system, ref)
    assert told.ended == "errored" and "name-version-release is taken" in told.reason


def test_one_version_twice_is_one_name_and_a_commit_without_a_spec_none(
    farm: Farm, system: BuildSystem
) -> None:
    """Two branches that count alike: what really happens where a branch was made anew."""
    package = "cri-o1.33"
    grants = DistGit(farm.state_dir / "dist-git")
    grants.grant(package, "f44", "again")
    spec = f"Name: {package}\nVersion: 1.33.4\nRelease: %autorelease\n"
    commits = [
        grants.edit(package, branch, f"For {branch}", {f"{package}.spec": spec})
        for branch in ("f44", "again")
    ]
    ends = []
    for number in (*commits, run_git("-C", str(grants.path(package)), "rev-parse", f"{commits[0]}^")):
        ref = submit(system, ScmCommit(f"file://{grants.path(package)}", number))
        farm.koji.step(int(ref.external_id), 40)
        ends.append(report_of(system, ref))
    first, second, bare = ends
    assert (first.ended, first.nvr) == ("succeeded", f"{package}-1.33.4-1.fc44")
    assert (second.ended, second.nvr) == ("errored", "")
    assert "Build already exists" in second.reason and f"#{commits[0]}" in second.reason
    assert (bare.ended, bare.reason) == ("failed", "No spec file found")


def test_a_package_that_the_tag_does_not_list_is_not_at_fault(farm: Farm, system: BuildSystem) -> None:
    work = fresh_commit(farm)
    farm.koji.unlist("cri-o1.34")
    ref = submit(system, work)
    farm.koji.step(int(ref.external_id), 30)
    told = report_of(system, ref)
    farm.koji.unlist("cri-o1.34", unlisted=False)
    assert told.ended == "errored" and "not in list for tag" in told.reason


def test_a_locked_tag_holds_the_build(farm: Farm, system: BuildSystem) -> None:
    farm.koji.target("f44-candidate", "f44-build", CANDIDATE, "x86_64 aarch64", locked=True)
    with pytest.raises(NeedsPerson, match="is locked; wait until it is open"):
        system.open(TARGET)
    assert system.open(koji_target())["session_id"]


def test_an_unknown_nvr_is_not_asked_for(farm: Farm, system: BuildSystem) -> None:
    work = fresh_commit(farm)
    submit(system, ScmCommit(work.url, work.commit))
    assert "getBuild" not in farm.koji.calls()[-4:]


def test_without_the_address_of_its_files_the_hub_itself_is_asked_for_logs(
    farm: Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = without_topurl(farm, tmp_path)
    system = adapter(farm, tmp_path, config_file=str(config))
    assert isinstance(system, KeepsOutput)
    ref = submit(system, fresh_commit(farm))
    farm.koji.step(int(ref.external_id), 40)
    chroot = report_of(system, ref).chroots[0]
    place = ResultPlace(ref, chroot.chroot, chroot.result_url, chroot.log_url)
    (address,) = system.log_addresses(place)["builder"]
    number = int(chroot.result_url.rpartition("=")[2])
    assert chroot.log_url == "" and address == f"koji-task:{number}/build.log"
    written = farm.state_dir / "koji" / "work" / "tasks" / str(number % 10000) / str(number) / "build.log"
    # Bytes that are no text, and whose last piece is a whole one.
    written.write_bytes(bytes(range(256)) * 30)
    monkeypatch.setattr(queries, "PIECE", 2560)
    pieces: list[bytes] = []
    system.read_output(address, pieces.append, seconds=20)
    assert b"".join(pieces) == written.read_bytes() and len(pieces) == 3
    with pytest.raises(BuildVanished, match="no file"):
        system.read_output(f"koji-task:{number}/other.log", pieces.append, seconds=20)
    with pytest.raises(BuildVanished, match="is no output of a Koji task"):
        system.read_output("koji-task:../build.log", pieces.append, seconds=20)
    with pytest.raises(NeedsPerson, match=r"'sandbox' has no 'topurl'.*CRYOPACK_KOJI_CONFIG"):
        system.rpm_addresses(place)
    farm.koji.outage("Server disabled for maintenance")
    with pytest.raises(BuildSystemUnavailable, match="maintenance"):
        system.read_output(address, pieces.append, seconds=20)
    farm.koji.outage("")
