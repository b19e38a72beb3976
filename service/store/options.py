"""Stores a build's target in ``package_builds.options``, and reads it back as it was planned."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from service.domain.distgit import DistGitPolicy
from service.domain.fedora import Branch
from service.domain.planning import BuildTarget
from service.domain.shipping import StageTags
from service.domain.side_tags import SideTagPolicy
from service.store.schema import PackageBuild


def stored_options(target: BuildTarget) -> dict[str, Any]:
    """Return what a build keeps of its target beside its own columns, as JSON; ``target_of`` reads it."""
    dist_git = target.dist_git.as_json() if target.dist_git else None
    own: dict[str, Any] = {"chroots": list(target.chroots), "style": target.style, "dist_git": dist_git}
    if target.side_tag is not None:
        own["side_tag"] = target.side_tag.as_json()
    if target.stages is not None:
        own["stages"] = target.stages.as_json()
    return {**own, "deadline_seconds": target.deadline.total_seconds(), **target.options}


def target_of(build: PackageBuild) -> BuildTarget:
    """Return the target as it was when the build was planned: the catalogue may have changed since."""
    options = dict(build.options)
    chroots = tuple(options.pop("chroots", ()))
    options.pop("deadline_seconds", None)
    style = str(options.pop("style", "srpm"))
    dist_git = DistGitPolicy.from_json(options.pop("dist_git", None))
    side_tag = SideTagPolicy.from_json(options.pop("side_tag", None))
    stages = StageTags.from_json(options.pop("stages", None))
    number = int(build.dist.removeprefix(".fc"))
    return BuildTarget(
        id=build.target,
        branch=Branch(build.branch, number),
        system=build.system,
        project=build.project,
        chroots=chroots,
        families=(build.family,),
        strategy=build.strategy,
        style=style,
        deadline=deadline_of(build),
        options=options,
        dist_git=dist_git,
        side_tag=side_tag,
        stages=stages,
    )


def deadline_of(build: PackageBuild) -> timedelta:
    """Return how long the build may take from its first claim, or from its last resume."""
    seconds = build.options.get("deadline_seconds")
    if isinstance(seconds, (int, float)):
        return timedelta(seconds=seconds)
    return max(build.deadline_at - build.created_at, timedelta())
