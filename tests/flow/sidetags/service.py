"""A service that builds a set of three families in side tags of the sandbox's Koji, driven by hand."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sqlalchemy import select, update

from sandbox.forge.dist_git import DistGit
from sandbox.testing import Farm
from service.builds.commands import add_release
from service.domain.distgit import DistGitPolicy
from service.domain.side_tags import SideTagPolicy
from service.overrides import LiveCatalog
from service.settings import Settings
from service.sidetags.lifecycle import give_up_side_tag
from service.store.schema import PackageBuild, SideTag, SideTagEvent
from service.store.session import database_now
from tests.flow.distgit.service import koji_settings
from tests.flow.house import House
from tests.store.targets import dist_git_target
from tests.workers.sources.archives import Made, tree
from tests.workers.sources.upstream import Handler, Upstream, whole

FAMILIES = ("kubernetes", "cri-tools", "cri-o")
POLICY = SideTagPolicy("kubernetes", FAMILIES)
MODULES = {"kubernetes": "k8s.io/kubernetes", "cri-tools": "sigs.k8s.io/cri-tools"}
BRANCH, MINOR = "f44", "1.35"


def upstream() -> Upstream:
    """All three projects' archives, by the address that is asked for."""

    def answer(handler: Handler) -> None:
        name = handler.path.rpartition("/")[2].removesuffix(".tar.gz")
        family, _, version = name.rpartition("-")
        files = tree(version)
        if family in MODULES:
            files["go.mod"] = f"module {MODULES[family]}\n\ngo 1.25.0\n".encode()
            files["vendor/modules.txt"] = b"# github.com/spf13/pflag v1.0.5\n## explicit\n"
        whole(Made(files=files, root=name).packed(), etag=f'"{name}"')(handler)

    return Upstream([answer])


class SideTagHouse(House):
    """The target is f44-dist-git, whose builds share a side tag for each minor."""

    def __init__(
        self, farm: Farm, make: Callable[..., Settings], url: str, origin: str, **changes: Any
    ) -> None:
        template = origin + "/{repository}/archive/{tag}/{name}-{version}.tar.gz"
        looks = {"shipped_look_seconds": 0.2, "shipped_look_max_seconds": 0.3}
        super().__init__(
            farm, koji_settings(make, farm, url, source_url_template=template, **looks, **changes)
        )
        self.grants = DistGit(farm.state_dir / "dist-git")
        packages = tuple(f"{family}{MINOR}" for family in FAMILIES)
        for package in packages:
            self.grants.grant(package, BRANCH)
        policy = DistGitPolicy(repository=self.grants.pattern, direct_push=packages)
        target = dist_git_target(policy, FAMILIES, side_tag=POLICY)
        catalog = replace(self.context.catalog, targets=(target,), side_tag_sets={POLICY.set_id: POLICY})
        self.context.live_catalog = LiveCatalog(self.context.db, catalog)

    def release_all(self, *families: str, patch: int = 0) -> None:
        """Announce a patch of these families, by default of all."""
        for family in families or FAMILIES:
            add_release(self.context.db, self.context.catalog, family, f"v{MINOR}.{patch}", by="ana")

    def side_tags(self) -> list[SideTag]:
        """Every side tag's row, oldest first, detached."""
        with self.context.db.reader() as session:
            rows = list(session.scalars(select(SideTag).order_by(SideTag.id)))
            session.expunge_all()
            return rows

    def tag_story(self, side_tag_id: int = 1) -> list[str]:
        """The states that a side tag went through."""
        with self.context.db.reader() as session:
            found = session.scalars(
                select(SideTagEvent.new_state)
                .where(SideTagEvent.side_tag_id == side_tag_id, SideTagEvent.new_state != "")
                .order_by(SideTagEvent.id)
            )
            return list(found)

    def build_of(self, family: str) -> PackageBuild:
        """The newest build of a family."""
        return [build for build in self.builds() if build.family == family][-1]

    def live_tags(self) -> list[str]:
        """The side tags that the hub has."""
        return [tag["name"] for tag in self.farm.koji.side_tags() if not tag["removed"]]

    def ship(self, tag: str, *, leave: bool = False) -> None:
        """Bodhi gives the builds in the side tag a tag of its own; with ``leave`` they leave the side tag."""
        (held,) = [one for one in self.farm.koji.side_tags() if not one["removed"]]
        for nvr in held["holds"]:
            self.farm.koji.move(nvr, tag, held["name"] if leave else None)

    def give_up(self, why: str) -> None:
        """A person gives the newest side tag up."""
        give_up_side_tag(self.context.db, self.side_tags()[-1].id, by="ana", why=why)

    def wait(self, seen: Callable[[], bool], seconds: float = 60.0) -> None:
        """Turn until ``seen()``. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while not seen():
            if time.monotonic() > deadline:
                shown = [(b.family, b.state, b.shipped, b.reason) for b in self.builds()]
                raise TimeoutError(f"{shown}, {[(t.state, t.reason) for t in self.side_tags()]}")
            if not self.turn():
                time.sleep(0.03)

    def hurry(self) -> None:
        """Everything that waits is due now, and leases are over."""
        with self.context.db.transaction() as session:
            now = database_now(session)
            for table in (PackageBuild, SideTag):
                session.execute(
                    update(table)
                    .where(table.ended_at.is_(None), table.due_at.is_not(None))
                    .values(lease_token=None, lease_until=None, due_at=now, tries=0)
                )
