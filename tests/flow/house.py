"""A service driven by hand: what Celery would do, in the test's own process and in its own order."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import select

from sandbox.testing import Farm
from service.builds.claims import find_due
from service.domain.states import ENDED_BUILD, BuildState
from service.overrides import LiveCatalog
from service.releases.intake import Incoming, accept_deliveries
from service.settings import Settings
from service.store.schema import BuildEvent, ChrootBuild, FollowUp, PackageBuild
from tests.store.deliveries import payload
from workers import follow_ups
from workers.builds import deliveries, polling, side_tags, steps
from workers.context import Context


class House:
    """Settings, context and farm; ``turn`` does once what is due now."""

    def __init__(self, farm: Farm, settings: Settings) -> None:
        self.farm = farm
        self.settings = settings
        self.context = Context.create(settings)

    def close(self) -> None:
        self.context.close()

    def only(self, *target_ids: str) -> None:
        """Plan for these targets only."""
        catalog = self.context.catalog
        targets = tuple(target for target in catalog.targets if target.id in target_ids)
        self.context.live_catalog = LiveCatalog(self.context.db, replace(catalog, targets=targets))

    def announce(
        self, tag: str, action: str = "published", *, publish: bool = True, **changes: object
    ) -> None:
        """Publish a tag at the mirror and deliver its webhook."""
        if publish:
            self.farm.publish(tag)
        body = payload(tag, action, **changes)
        accept_deliveries(self.context.db, [Incoming(str(uuid.uuid4()), "release", body)])

    def process_inbox(self) -> None:
        """Process what the inbox holds, and nothing else."""
        for delivery in find_due(self.context.db).deliveries:
            deliveries.process(self.context, delivery)

    def turn(self) -> int:
        """Do everything that is due now, once; the number of things done."""
        due = find_due(self.context.db)
        for delivery in due.deliveries:
            deliveries.process(self.context, delivery)
        for build in due.builds:
            steps.advance(self.context, build)
        for system, project in due.projects:
            polling.poll_project(self.context, system, project)
        for follow_up in due.follow_ups:
            follow_ups.run_follow_up(self.context, follow_up)
        for side_tag in due.side_tags:
            side_tags.advance_side_tag(self.context, side_tag)
        done = len(due.deliveries) + len(due.builds) + len(due.projects) + len(due.follow_ups)
        return done + len(due.side_tags)

    def run(self, until: Callable[[list[PackageBuild]], bool] | None = None, seconds: float = 120.0) -> None:
        """Turn until ``until(builds)``, by default until every build has ended. Raises TimeoutError."""
        done = until or (lambda builds: bool(builds) and all(build.state in ENDED_BUILD for build in builds))
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not self.turn():
                if done(self.builds()):
                    return
                time.sleep(0.03)
        shown = [(b.id, b.target, b.version, b.state, b.reason) for b in self.builds()]
        raise TimeoutError(f"still not so after {seconds} s: {shown}")

    def run_to(self, state: str, seconds: float = 120.0) -> None:
        """Turn until the first build is in this state. Raises TimeoutError."""
        self.run(lambda builds: bool(builds) and builds[0].state == state, seconds)

    def build_one(self, tag: str) -> PackageBuild:
        """Announce a release, run to the end of its only build, and return it, detached. Raises TimeoutError."""
        self.announce(tag)
        self.run()
        (build,) = self.builds()
        return build

    def set_past_deadline(self, build_id: int) -> None:
        """Make a build's deadline lie further back than any grace."""
        with self.context.db.transaction() as session:
            row = session.get_one(PackageBuild, build_id)
            row.deadline_at = row.created_at - timedelta(hours=2)

    def settle(self, seconds: float = 60.0) -> None:
        """Turn until no follow-up is open."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.turn()
            with self.context.db.reader() as session:
                if not session.scalars(select(FollowUp.id).where(FollowUp.ended_at.is_(None))).all():
                    return
            time.sleep(0.03)
        raise TimeoutError("follow-ups are still open")

    def builds(self) -> list[PackageBuild]:
        """Every build, oldest first, detached."""
        with self.context.db.reader() as session:
            rows = list(session.scalars(select(PackageBuild).order_by(PackageBuild.id)))
            session.expunge_all()
            return rows

    def chroots(self, build_id: int) -> dict[str, ChrootBuild]:
        """The chroots of a build by name, detached."""
        with self.context.db.reader() as session:
            rows = session.scalars(select(ChrootBuild).where(ChrootBuild.build_id == build_id)).all()
            session.expunge_all()
            return {row.chroot: row for row in rows}

    def kinds(self) -> list[str]:
        """The kinds of all follow-ups that there are or were."""
        with self.context.db.reader() as session:
            return list(session.scalars(select(FollowUp.kind)))

    def told(self, build_id: int) -> list[str]:
        """Every line of a build's history, oldest first."""
        with self.context.db.reader() as session:
            statement = select(BuildEvent.text).where(BuildEvent.build_id == build_id)
            return list(session.scalars(statement.order_by(BuildEvent.id)))

    def story(self, build_id: int) -> list[str]:
        """The states that a build went through, in order."""
        with self.context.db.reader() as session:
            rows = session.scalars(
                select(BuildEvent.new_state)
                .where(BuildEvent.build_id == build_id, BuildEvent.kind == "state")
                .order_by(BuildEvent.id)
            )
            return list(rows)


SUCCESS = [state.value for state in (BuildState.PENDING, BuildState.PREPARING, BuildState.SUBMITTING,
                                     BuildState.RUNNING, BuildState.SUCCEEDED)]  # fmt: skip
