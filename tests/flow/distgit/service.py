"""A service whose one target builds from the sandbox's dist-git at the sandbox's Koji."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sqlalchemy import select

from sandbox.forge.dist_git import DistGit
from sandbox.testing import Farm
from service.domain.distgit import DistGitPolicy
from service.overrides import LiveCatalog
from service.settings import Settings
from service.store.schema import DistGitChange, FollowUp, PackageBuild
from tests.flow.house import House
from tests.store.targets import dist_git_target

PACKAGE, BRANCH = "cri-o1.35", "f44"
SPEC = f"{PACKAGE}.spec"


def koji_settings(make: Callable[..., Settings], farm: Farm, url: str, **changes: Any) -> Settings:
    """Settings with the sandbox's Koji account and short looks."""
    return make(
        url,
        koji_profile="sandbox",
        koji_config=farm.koji_config,
        koji_auth="password",
        koji_user="packbot",
        koji_password_file=farm.koji_config.with_name("koji-password"),
        distgit_look_seconds=0.2,
        **changes,
    )


class DistGitHouse(House):
    """``grants`` are the sandbox's dist-git repositories; the target is f44-dist-git."""

    def __init__(self, farm: Farm, settings: Settings, **policy: Any) -> None:
        super().__init__(farm, settings)
        self.grants = DistGit(farm.state_dir / "dist-git")
        values: dict[str, Any] = {
            "repository": self.grants.pattern,
            "direct_push": (PACKAGE,),
            "lookaside": f"{farm.mirror_url}/lookaside/upload.cgi",
        }
        target = dist_git_target(DistGitPolicy(**(values | policy)), ("cri-o",))
        catalog = replace(self.context.catalog, targets=(target,))
        self.context.live_catalog = LiveCatalog(self.context.db, catalog)

    def release(self, tag: str) -> PackageBuild:
        """Announce a release and run until its build has ended or waits for a person."""
        self.announce(tag)
        self.process_inbox()
        self.run(until=lambda builds: builds[-1].ended_at is not None or builds[-1].state == "held")
        return self.builds()[-1]

    def changes(self) -> list[DistGitChange]:
        """Every change of dist-git, oldest first, detached."""
        with self.context.db.reader() as session:
            rows = list(session.scalars(select(DistGitChange).order_by(DistGitChange.id)))
            session.expunge_all()
            return rows

    def scm_builds(self) -> list[str]:
        """What Koji was asked to build from dist-git."""
        return [task["request"][0] for task in self.farm.koji.tasks()]

    def outcome(self) -> str:
        """What the newest look for a repository came to."""
        with self.context.db.reader() as session:
            found = session.scalars(
                select(FollowUp.outcome)
                .where(FollowUp.kind == "repository")
                .order_by(FollowUp.id.desc())
                .limit(1)
            ).one_or_none()
            return found or ""
