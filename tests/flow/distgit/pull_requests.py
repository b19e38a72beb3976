"""A service whose dist-git changes are proposed at the sandbox's forge, and a maintainer who decides about them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sandbox.testing import Farm
from service.domain.distgit import ForgeKind, ForgePolicy
from service.settings import Settings
from service.store.schema import FollowUp, PackageBuild
from tests.flow.distgit.service import PACKAGE, DistGitHouse, koji_settings


class PullHouse(DistGitHouse):
    """No package may be pushed to directly; forks are pushed to over HTTP with the bot's token."""

    def __init__(
        self, farm: Farm, make: Callable[..., Settings], url: str, kind: ForgeKind = ForgeKind.PAGURE,
        **changes: Any,
    ) -> None:  # fmt: skip
        settings = koji_settings(
            make, farm, url, **({"forge_token": farm.forge.token, "forge_seconds": 0.5} | changes)
        )
        where = ForgePolicy(kind, f"{farm.mirror_url}/{kind}", farm.forge.fork_pattern)
        super().__init__(farm, settings, direct_push=(), forge=where)

    def pulls(self) -> list[dict[str, Any]]:
        """The pull requests of the package, oldest first."""
        return self.farm.forge.pulls(PACKAGE)

    def propose(self, tag: str) -> PackageBuild:
        """Announce a release and run until its build waits for the merge."""
        build = self.release(tag)
        assert build.state == "held" and build.reason.startswith("waits for the merge of"), build.reason
        return build

    def until(self, done: Callable[[list[PackageBuild]], bool]) -> PackageBuild:
        """Run until ``done(builds)``; the newest build."""
        self.run(until=done)
        return self.builds()[-1]

    def watches(self) -> list[FollowUp]:
        """What follows pull requests, oldest first, detached."""
        with self.context.db.reader() as session:
            rows = list(session.query(FollowUp).where(FollowUp.kind == "pull-request").order_by(FollowUp.id))
            session.expunge_all()
            return rows
