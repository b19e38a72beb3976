"""One worker that is killed once in the life of each release that it builds; whoever died is started again."""

from __future__ import annotations

import shutil
from pathlib import Path

from sqlalchemy import update

import service.catalog
from service.domain.states import ENDED_BUILD
from service.settings import Settings
from service.store.schema import FollowUp, PackageBuild, WebhookDelivery
from service.store.session import Database, database_now
from tests.flow.house import House
from tests.flow.processes import Worker, wait_for
from workers.machine.bootstrap import for_one_branch

SECONDS = 140


class Victim:
    """The worker, and the plan that it dies by. Starting it takes longer than a build, so it serves for many plans."""

    def __init__(self, house: House, settings: Settings, folder: Path) -> None:
        self._house = house
        self._log = folder / "worker.log"
        self._plan = folder / "plan"
        self._worker = Worker(settings, self._log, CRYOPACK_TEST_PLAN=str(self._plan))

    def build(self, tag: str, plan: str, *, patient: bool) -> PackageBuild:
        """Build a release, dying by the plan; what has been built. Fails where that does not come about.

        Leases of the dead end at once, as if their time had passed; with ``patient`` the time really passes.
        """
        self._plan.write_text(plan)
        self._house.announce(tag)
        if not self._worker.alive:
            self._worker.start()
        leases_end = not patient

        def revive() -> None:
            nonlocal leases_end
            if leases_end and not self._plan.exists():
                end_leases(self._house.context.db)
                leases_end = False
            if not self._worker.alive:
                self._worker.start()

        def ended() -> bool:
            builds = [build for build in self._house.builds() if f"v{build.version}" == tag]
            return not self._plan.exists() and bool(builds) and all(b.state in ENDED_BUILD for b in builds)

        try:
            wait_for(ended, SECONDS, revive)
        except TimeoutError:
            shown = [(b.target, b.version, b.state, b.reason) for b in self._house.builds()]
            died = not self._plan.exists()
            raise AssertionError(f"{plan}: died: {died}, builds: {shown}\n{self._said()}") from None
        (build,) = (build for build in self._house.builds() if f"v{build.version}" == tag)
        assert build.state == "succeeded", f"{plan}: {build.reason}\n{self._said()}"
        return build

    def close(self) -> None:
        """Kill it for good."""
        self._worker.kill()

    def _said(self) -> str:
        return self._log.read_text()[-3000:]


def end_leases(db: Database) -> None:
    """What anybody has leased is free now."""
    with db.transaction() as session:
        now = database_now(session)
        for table in (WebhookDelivery, PackageBuild, FollowUp):
            session.execute(update(table).where(table.lease_until > now).values(lease_until=now, due_at=now))


def one_target(folder: Path, target: str) -> None:
    """The built-in catalogue with a single target, so that exactly one build is due."""
    source = Path(service.catalog.__file__).parent
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    targets = folder / "targets.toml"
    branch, _, name = target.partition("-")
    head, *rows = targets.read_text().split("[[target]]\n")
    (row,) = (row for row in rows if f'id = "{{branch}}-{name}"' in row)
    targets.write_text(head + "[[target]]\n" + for_one_branch(row, branch))
