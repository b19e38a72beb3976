"""Changes of dist-git on both databases: where a resumed build finds it, and whose time it is while one waits."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from service.builds.claims import end_build, find_due
from service.builds.commands import add_release, resume_build
from service.catalog import Catalog
from service.distgit.changes import Change, OtherChange, begin_change
from service.distgit.pull_requests import ask_for_pull
from service.domain.distgit import DistGitPolicy, ForgeKind, ForgePolicy, PullRequest, PullState
from service.domain.specs import SpecFile
from service.domain.states import BuildState
from service.settings import Settings
from service.store.schema import PackageBuild
from service.store.session import Database
from tests.store.claims import change, claim
from tests.store.targets import dist_git_target
from workers.distgit import commit
from workers.distgit.git import BranchMoved

WITHOUT = DistGitPolicy(repository="https://old.example/rpms/{package}")
FORGE = ForgePolicy(ForgeKind.PAGURE, "https://src.example", "https://src.example/forks/{user}/{package}")
WITH = replace(WITHOUT, repository="https://src.example/rpms/{package}", forge=FORGE)


@pytest.fixture
def official(catalog: Catalog) -> Catalog:
    """The catalogue with one target of dist-git that names no forge."""
    target = dist_git_target(WITHOUT, ("cri-o",), project="fedora", chroots=("fedora-44-x86_64",))
    return replace(catalog, targets=(target,))


@pytest.mark.parametrize("asked", [False, True])
def test_what_was_put_right_in_the_catalogue_counts_until_a_forge_was_asked(
    db: Database, official: Catalog, asked: bool
) -> None:
    (build_id,) = add_release(db, official, "cri-o", "v1.35.1", by="ana").builds
    work = claim(db, build_id)
    begin_change(db, work, repository=WITHOUT.repository_url(work.package), files={})
    assert not asked or ask_for_pull(db, work, look_seconds=60)
    assert end_build(db, work, BuildState.HELD, "it names no forge")
    mended = replace(official, targets=(replace(official.targets[0], dist_git=WITH),))
    resume_build(db, mended, build_id, by="ana")
    again = claim(db, build_id)
    assert again.target.dist_git == (WITHOUT if asked else WITH)
    # The lock on the branch is one of the repository where it is now.
    (other_id,) = add_release(db, mended, "cri-o", "v1.35.2", by="ana").builds
    other = begin_change(db, claim(db, other_id), repository=WITH.repository_url(work.package), files={})
    assert (getattr(other, "build_id", None) == build_id) is not asked


def test_waiting_for_another_builds_merge_is_not_the_builds_time(db: Database, official: Catalog) -> None:
    url = WITHOUT.repository_url("cri-o1.35")
    older, newer = (
        claim(db, add_release(db, official, "cri-o", tag, by="ana").builds[0])
        for tag in ("v1.35.1", "v1.35.2")
    )
    begin_change(db, older, repository=url, files={})

    def deadline() -> timedelta:
        with db.reader() as session:
            build = session.get_one(PackageBuild, newer.id)
            return build.deadline_at - build.created_at

    with db.reader() as session:
        change(db, newer.id, deadline_at=session.get_one(PackageBuild, newer.id).created_at)
    assert deadline() == timedelta()
    assert begin_change(db, newer, repository=url, files={}) == OtherChange(older.id, ended=False, soon=False)
    assert deadline() > timedelta(hours=23)


def test_a_merge_that_dist_git_does_not_show_yet_is_waited_for(db: Database, official: Catalog) -> None:
    work = claim(db, add_release(db, official, "cri-o", "v1.35.1", by="ana").builds[0])
    begun = begin_change(db, work, repository=WITHOUT.repository_url(work.package), files={})
    assert isinstance(begun, Change)
    # Pagure names no commit of a merge; until the branch has moved, what it has is what it had before.
    merged = replace(
        begun, pull=PullRequest(7, "https://src.example/7", PullState.MERGED), pull_base="a" * 40
    )
    repository: Any = SimpleNamespace(read=lambda *_: "Version: 1.35.0\n", contains=lambda *_: False)
    ctx: Any = SimpleNamespace(db=db, settings=Settings())
    spec = SpecFile("cri-o1.35.spec", "Version: 1.35.1\n", "0" * 64, version="1.35.1")
    assert commit._found(ctx, work, repository, "a" * 40, spec, merged, "") == ""
    with db.reader() as session:
        build = session.get_one(PackageBuild, work.id)
        assert (build.state, build.lease_token) == ("preparing", None)
        assert build.reason.endswith("is merged, which dist-git does not show yet")


def test_a_branch_that_seems_to_move_for_ever_is_not_hammered(
    db: Database, official: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def moved(*_: object) -> str:
        raise BranchMoved("[remote rejected] (cannot lock ref 'refs/heads/f44': Permission denied)")

    monkeypatch.setattr(commit, "prepare_commit_files", lambda *_: (None, None))
    monkeypatch.setattr(commit, "fetched_head", moved)
    ctx: Any = SimpleNamespace(db=db, settings=Settings(state_dir=tmp_path))
    (build_id,) = add_release(db, official, "cri-o", "v1.35.1", by="ana").builds
    pushed = replace(WITHOUT, direct_push=("cri-o1.35",))
    due = []
    for _ in range(2):
        assert commit.prepare_commit(ctx, claim(db, build_id), pushed) is None
        due.append(find_due(db).builds)
    assert due == [(build_id,), ()]
