"""A copy of a dist-git repository that a killed git has broken is made anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox.forge.dist_git import run_git
from workers.distgit import git
from workers.distgit.git import GitTrouble, Repository


def stale_lock(copy: Path) -> None:
    (copy / "refs/remotes/origin/f44.lock").touch()


def half_made(copy: Path) -> None:
    (copy / "HEAD").write_text("")


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A repository with one branch."""
    run_git("init", "--quiet", "--initial-branch=f44", str(tmp_path / "origin"))
    return commit(tmp_path / "origin", "first")


def commit(origin: Path, text: str) -> Path:
    (origin / "spec").write_text(text)
    run_git("-C", str(origin), "add", "spec")
    run_git("-C", str(origin), "commit", "--quiet", "-m", text)
    return origin


@pytest.mark.parametrize("damage", [stale_lock, half_made])
def test_a_broken_copy_is_made_anew(tmp_path: Path, origin: Path, damage: Callable[[Path], None]) -> None:
    repository = Repository(tmp_path / "copy.git", f"file://{origin}")
    repository.fetch()
    damage(tmp_path / "copy.git")
    commit(origin, "second")
    repository.fetch()
    assert repository.read(repository.head("f44"), "spec") == "second"


def test_a_whole_copy_outlives_an_outage(
    tmp_path: Path, origin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = Repository(tmp_path / "copy.git", f"file://{origin}")
    repository.fetch()

    def away(*_: object, **__: object) -> None:
        raise GitTrouble("the other side is away")

    monkeypatch.setattr(Repository, "_fetch", away)
    monkeypatch.setattr(git.shutil, "rmtree", away)
    with pytest.raises(GitTrouble, match="other side is away"):
        repository.fetch()
    assert repository.read(repository.head("f44"), "spec") == "first"
