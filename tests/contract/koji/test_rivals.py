"""Tests builds of somebody else with our NVR: before us or at the same time, from the same commit or another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sandbox.testing import Farm
from service.domain.reports import BuildRef, ScmCommit, SubmissionKey
from service.domain.states import ChrootState
from tests.contract.koji.bench import ARM, REPOSITORY, X86, adapter, koji_target, report_of
from workers.buildsystems import BuildSystem, NameTaken
from workers.buildsystems.koji.nvr import same_source

pytestmark = pytest.mark.timeout(60)
# As fedpkg and the web pages of the forge write it.
THEIRS = f"{REPOSITORY}.git"
TARGET = koji_target(scratch=False)
COMPLETE = 1
_numbers = iter(range(1, 100))


@pytest.fixture
def rival(farm: Farm, tmp_path: Path) -> BuildSystem:
    """A maintainer with an account of their own."""
    password = tmp_path / "password"
    password.write_text(str(farm.koji.user("maintainer")["password"]))
    return adapter(farm, tmp_path, user="maintainer", password_file=str(password))


class Race:
    """One name-version-release, the commit that we build into it, and that of the other one."""

    def __init__(self, farm: Farm, *, same: bool = True) -> None:
        self.number = next(_numbers)
        self.nvr = f"cri-o1.34-1.34.{self.number}-1.fc44"
        commit = f"{self.number:040x}"
        # dist-git counts releases by itself, so what the name will be is not known before.
        self.ours = ScmCommit(REPOSITORY, commit)
        self.theirs = ScmCommit(THEIRS, commit if same else f"{self.number + 1000:040x}")
        for work in (self.ours, self.theirs):
            farm.koji.source(f"git+{work.url}#{work.commit}", self.nvr)


def submit(system: BuildSystem, work: ScmCommit) -> BuildRef:
    ref = system.submit(work, TARGET, SubmissionKey.fresh(next(_numbers)), system.open(TARGET))
    return replace(ref, chroots=TARGET.chroots)


def step(farm: Farm, ref: BuildRef, count: int) -> None:
    farm.koji.step(int(ref.external_id), count)


@pytest.mark.parametrize("ahead", [10, 30])
def test_the_same_commit_that_is_there_first_is_followed_instead(
    farm: Farm, system: BuildSystem, rival: BuildSystem, ahead: int
) -> None:
    race = Race(farm)
    theirs, ours = submit(rival, race.theirs), submit(system, race.ours)
    # 10 steps: they are building; 30: they are done.
    step(farm, theirs, ahead)
    step(farm, ours, 10)
    told = report_of(system, ours)
    assert told.instead is not None and told.instead.external_id == theirs.external_id
    assert (told.ended, told.chroots) == ("running", ()) and "same commit" in told.reason
    assert told.instead.web_url.endswith(f"taskID={theirs.external_id}")
    if ahead == 10:
        assert report_of(system, told.instead).ended == ""
    step(farm, theirs, 30)
    end = report_of(system, told.instead)
    assert end.ended == "succeeded" and end.nvr == race.nvr and end.tagged
    # Their task says nothing of chroots; ours are told all the same.
    assert {one.chroot: one.state for one in end.chroots} == {
        X86: ChrootState.SUCCEEDED,
        ARM: ChrootState.SUCCEEDED,
    }


def test_one_that_fails_after_we_gave_way_fails_for_both(
    farm: Farm, system: BuildSystem, rival: BuildSystem
) -> None:
    race = Race(farm)
    theirs, ours = submit(rival, race.theirs), submit(system, race.ours)
    step(farm, theirs, 8)
    step(farm, ours, 10)
    farm.koji.set_outcome("x86_64")
    step(farm, theirs, 30)
    farm.koji.clear_outcomes()
    followed = report_of(system, ours).instead
    assert followed is not None and report_of(system, followed).ended == "failed"


@pytest.mark.parametrize("ahead", [10, 30])
def test_another_commit_under_the_name_is_told_and_not_the_packages_fault(
    farm: Farm, system: BuildSystem, rival: BuildSystem, ahead: int
) -> None:
    race = Race(farm, same=False)
    theirs, ours = submit(rival, race.theirs), submit(system, race.ours)
    step(farm, theirs, ahead)
    step(farm, ours, 10)
    told = report_of(system, ours)
    assert told.ended == "errored" and told.instead is None
    assert "raise the release" in told.reason
    assert f"task {theirs.external_id} has it, made from git+{THEIRS}#{race.theirs.commit}" in told.reason


def test_an_imported_build_has_the_name(farm: Farm, system: BuildSystem) -> None:
    race = Race(farm)
    ours = submit(system, race.ours)
    farm.koji.build(race.nvr, COMPLETE, source=f"git+{race.ours.url}#{race.ours.commit}")
    step(farm, ours, 10)
    told = report_of(system, ours)
    assert told.ended == "errored" and "an imported build has it" in told.reason


def test_a_winner_that_the_hub_does_not_know_proves_nothing(
    farm: Farm, system: BuildSystem, rival: BuildSystem
) -> None:
    race = Race(farm)
    theirs, ours = submit(rival, race.theirs), submit(system, race.ours)
    step(farm, theirs, 10)
    step(farm, ours, 10)
    farm.koji.forget(int(theirs.external_id))
    told = report_of(system, ours)
    # A task that nobody knows proves nothing about its source.
    assert told.ended == "errored" and "name-version-release is taken" in told.reason


@pytest.mark.parametrize("same", [True, False])
def test_a_name_that_is_known_before_is_looked_up_before(
    farm: Farm, system: BuildSystem, rival: BuildSystem, same: bool
) -> None:
    race = Race(farm, same=same)
    theirs = submit(rival, race.theirs)
    step(farm, theirs, 30)
    before = len(farm.koji.tasks())
    known = replace(race.ours, nvr=race.nvr)
    if same:
        assert submit(system, known).external_id == theirs.external_id
    else:
        with pytest.raises(NameTaken, match="raise the release"):
            submit(system, known)
    assert len(farm.koji.tasks()) == before


COMMIT = "a" * 40


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (f"git+https://src.example/rpms/p#{COMMIT}", True),
        (f"git+https://src.example/rpms/p.git#{COMMIT}", True),
        (f"git+ssh://me@src.example/rpms/p.git#{COMMIT}", True),
        (f"git+https://src.example/rpms/p?#{COMMIT}", True),
        (f"git+https://src.example/rpms/q#{COMMIT}", False),
        (f"git+https://src.example/forks/me/rpms/p#{COMMIT}", False),
        (f"git+https://src.example/rpms/p#{'b' * 40}", False),
        ("git+https://src.example/rpms/p#f44", False),
        ("cli-build/1/p.src.rpm", False),
        (None, False),
    ],
)
def test_one_commit_has_several_addresses(other: object, same: bool) -> None:
    assert same_source(other, f"git+https://src.example/rpms/p#{COMMIT}") is same
