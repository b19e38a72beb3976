"""Targets for tests that the built-in catalogue does not have."""

from __future__ import annotations

from typing import Any

from service.domain.distgit import DistGitPolicy
from service.domain.fedora import Branch
from service.domain.planning import BuildTarget


def dist_git_target(policy: DistGitPolicy, families: tuple[str, ...], **changes: Any) -> BuildTarget:
    """A target of Koji that builds from dist-git on f44, in the project ``sandbox``; ``changes`` override."""
    values: dict[str, Any] = {
        "id": "f44-dist-git",
        "branch": Branch("f44", 44),
        "system": "koji",
        "project": "sandbox",
        "chroots": ("fedora-44-x86_64", "fedora-44-aarch64"),
        "families": families,
        "style": "dist-git",
        "dist_git": policy,
        "options": {"koji_target": "f44-candidate", "scratch": False},
    }
    return BuildTarget(**(values | changes))
