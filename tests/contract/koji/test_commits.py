"""Tests the NVR that a commit of dist-git gets at the sandbox's hub, or the failure of its source step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox.forge.dist_git import DistGit, run_git
from sandbox.koji.sources import NoSource, read_commit

PACKAGE, BRANCH = "cri-o1.35", "f44"
SPEC = f"{PACKAGE}.spec"


def spec(version: str = "1.35.1", release: str = "%autorelease", more: str = "") -> str:
    """A spec with those tags; what comes after the preamble names others, which do not count."""
    return (
        f"%global goipath github.com/cri-o/cri-o\n{more}Name:           {PACKAGE}\nVersion:        {version}\n"
        f"Release:        {release}\n\n%description\nVersion: 9\n%changelog\n"
    )


@pytest.fixture
def grants(tmp_path: Path) -> DistGit:
    made = DistGit(tmp_path)
    made.grant(PACKAGE, BRANCH)
    return made


def named(grants: DistGit, commit: str, dist: str = ".fc44") -> str:
    """The release, or the log of the step that failed."""
    found = read_commit(grants.path(PACKAGE), PACKAGE, commit, dist)
    if isinstance(found, NoSource):
        return found.log
    assert found[:1] == (PACKAGE,)
    return "-".join(found[1:])


def test_the_commits_of_a_version_are_counted(grants: DistGit) -> None:
    def edit(text: str | Callable[[str], str] | None, name: str = SPEC) -> str:
        return grants.edit(PACKAGE, BRANCH, "An edit", {name: text})

    first = edit(spec())
    second = edit("--- a\n+++ b\n", "fix.patch")
    other = edit(spec("1.35.2"))
    back = edit(spec("1.35.1"))
    told = [named(grants, commit) for commit in (first, second, other, back)]
    assert told == ["1.35.1-1.fc44", "1.35.1-2.fc44", "1.35.2-1.fc44", "1.35.1-1.fc44"]
    assert named(grants, second, ".fc45") == "1.35.1-2.fc45"


def test_a_merge_goes_on_with_the_longest_way_of_its_version(grants: DistGit) -> None:
    """A pull request that is merged with a merge commit is one commit more than the change itself."""
    repository = str(grants.path(PACKAGE))
    before = grants.edit(PACKAGE, BRANCH, "Before", {SPEC: spec()})
    change = grants.edit(PACKAGE, BRANCH, "Update to 1.35.2", {SPEC: spec("1.35.2")})
    run_git("-C", repository, "update-ref", f"refs/heads/{BRANCH}", before)
    theirs = grants.edit(PACKAGE, BRANCH, "A file more", {"README": "x\n"})
    tree = run_git("-C", repository, "rev-parse", f"{change}^{{tree}}")
    merge = run_git("-C", repository, "commit-tree", tree, "-p", theirs, "-p", change, "-m", "Merge")
    told = [named(grants, commit) for commit in (theirs, change, merge)]
    assert told == ["1.35.1-2.fc44", "1.35.2-1.fc44", "1.35.2-2.fc44"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (spec(release="3%{?dist}"), "1.35.1-3.fc44"),
        (spec("%{upstream}~rc.1", "%{autorelease}", "%global upstream 1.35.2\n"), "1.35.2~rc.1-1.fc44"),
        (spec(release="%autorelease -b 7"), "does not know what Release '%autorelease -b 7' expands to"),
        (spec("1.35.1 # by hand"), "Version is no single word that rpm takes: '1.35.1 # by hand'"),
        (spec("%{version_of_somebody}"), "does not know what Version '%{version_of_somebody}' expands to"),
        (spec("", "1"), "Version field must be present"),
    ],
)
def test_what_a_spec_says(grants: DistGit, text: str, told: str) -> None:
    found = named(grants, grants.edit(PACKAGE, BRANCH, "An edit", {SPEC: text}))
    assert found == told if "1.35" in told[:4] else told in found and "error building srpm" in found


def test_what_is_not_there_fails_as_a_check_out_does(grants: DistGit) -> None:
    assert named(grants, grants.head(PACKAGE, BRANCH)).endswith("No spec file found")
    assert "git reset --hard" in named(grants, "e" * 40)
