"""A held build that is resumed finds dist-git where the catalogue has it by now; one that is at a forge stays there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from service.catalog import Catalog
from service.commands import add_release, resume_build
from service.distgit import begin_change
from service.domain.distgit import DistGitPolicy
from service.domain.fedora import Branch
from service.domain.planning import BuildTarget
from service.domain.pull_requests import ForgeKind, ForgePolicy
from service.domain.states import BuildState
from service.progress import end_build
from service.pull_requests import ask_for_pull
from service.store.session import Database
from tests.store.claims import claim

WITHOUT = DistGitPolicy(repository="https://old.example/rpms/{package}")
FORGE = ForgePolicy(ForgeKind.PAGURE, "https://src.example", "https://src.example/forks/{user}/{package}")
WITH = replace(WITHOUT, repository="https://src.example/rpms/{package}", forge=FORGE)


@pytest.fixture
def official(catalog: Catalog) -> Catalog:
    """The catalogue with one target of dist-git that names no forge."""
    target = BuildTarget(
        id="f44-dist-git",
        branch=Branch("f44", 44),
        system="koji",
        project="fedora",
        chroots=("fedora-44-x86_64",),
        families=("cri-o",),
        style="dist-git",
        dist_git=WITHOUT,
        options={"koji_target": "f44-candidate", "scratch": False},
    )
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
