"""Kill workers at a chosen point: a real Celery worker by a plan, or a step in the test's own process."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

import service.catalog
from service.domain.states import ENDED_BUILD
from service.settings import Settings
from service.store.schema import FollowUp, PackageBuild, WebhookDelivery
from service.store.session import Database, database_now
from tests.flow.house import House
from tests.flow.processes import Worker, wait_for

SECONDS = 140


class Killed(BaseException):
    """Ends a step in the test's process as a SIGKILL would: nothing of the worker catches it."""


def die_once(monkeypatch: pytest.MonkeyPatch, when: str, owner: Any, name: str) -> list[str]:
    """Make the next call of ``owner``'s function raise Killed before or after it; the list is filled when it has."""
    died: list[str] = []
    real = getattr(owner, name)

    def deadly(*args: Any, **kwargs: Any) -> Any:
        if when == "before" and not died:
            died.append(name)
            raise Killed
        result = real(*args, **kwargs)
        if not died:
            died.append(name)
            raise Killed
        return result

    monkeypatch.setattr(owner, name, deadly)
    return died


class Victim:
    """A Celery worker that is killed once in the life of each release that it builds, and started again.

    Starting it takes longer than a build, so one worker serves for many plans.
    """

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
    """Let every running lease end now."""
    with db.transaction() as session:
        now = database_now(session)
        for table in (WebhookDelivery, PackageBuild, FollowUp):
            session.execute(update(table).where(table.lease_until > now).values(lease_until=now, due_at=now))


def forget_claims(db: Database) -> None:
    """Make every build that does not run yet, and every open follow-up, due as if it had never been claimed.

    So the leases of the dead end at once, and a claim that was killed counts no try.
    """
    with db.transaction() as session:
        now = database_now(session)
        free = {"lease_token": None, "lease_until": None, "due_at": now, "tries": 0}
        before_poll = PackageBuild.state.in_(["pending", "preparing", "submitting"])
        session.execute(update(PackageBuild).where(before_poll).values(**free))
        session.execute(update(FollowUp).where(FollowUp.ended_at.is_(None)).values(**free))


def one_target(folder: Path, target: str) -> None:
    """The built-in catalogue with a single target, so that exactly one build is due."""
    source = Path(service.catalog.__file__).parent
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    targets = folder / "targets.toml"
    head, *rest = targets.read_text().split("[[target]]")
    (kept,) = (part for part in rest if f'id = "{target}"' in part)
    targets.write_text(head + "[[target]]" + kept)
