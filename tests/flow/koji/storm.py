"""Submissions to a hub whose every call may fail in every way, by workers that are killed at any moment."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy import func, select, update

from sandbox.testing import Farm
from service.catalog import load
from service.settings import Settings
from service.store.schema import PackageBuild
from service.store.session import Database
from tests.flow.processes import ROOT, environment
from tests.store.deliveries import deliver, payload

WORKERS = 3
EARLY = 0.4
LIFE = (0.2, 8.0)
PR_SET_PDEATHSIG = 1
SLOW = 1.0
KINDS = (
    "dropped",
    "answer_lost",
    "truncated",
    "unavailable",
    "bare_500",
    "slow_answer",
    "late_commit",
    "hang",
    "twice",
)
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass
class Outcome:
    """What came of a storm. ``tasks`` maps each submission key to its task ids, ``followed`` to the one we record."""

    seconds: float = 0.0
    kills: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    submissions: int = 0
    attempts: int = 0
    tasks: dict[str, list[int]] = field(default_factory=dict)
    followed: dict[str, int] = field(default_factory=dict)
    unsubmitted: list[tuple[int, str, str]] = field(default_factory=list)

    @property
    def duplicates(self) -> int:
        """Tasks beyond the first of each submission."""
        return sum(len(ids) - 1 for ids in self.tasks.values())

    def summary(self) -> str:
        """One line for people."""
        faults = ", ".join(f"{kind} {count}" for kind, count in sorted(self.faults.items()))
        return (
            f"{self.submissions} submissions, {self.attempts} attempts, {self.kills} workers killed, "
            f"{self.faults.total()} faults ({faults}), {self.duplicates} duplicates, "
            f"{len(self.unsubmitted)} lost, {self.seconds:.0f} s"
        )


class Storm:
    """``submissions`` builds for the four Koji targets; the same ``seed`` draws the same faults."""

    def __init__(self, farm: Farm, settings: Settings, srpm: Path, submissions: int, seed: int) -> None:
        self.farm, self.settings, self.srpm = farm, settings, srpm
        self.random = random.Random(seed)
        self.outcome = Outcome()
        self.db = Database(settings.database())
        self._over = threading.Event()
        self._plan(submissions)

    def _plan(self, submissions: int) -> None:
        """Builds that a person asked for, so that none is superseded by a newer patch."""
        catalog = load(self.settings.catalog_dir, copr_owner="packbot", koji_profile="sandbox")
        catalog = replace(catalog, targets=tuple(one for one in catalog.targets if one.system == "koji"))
        for patch in range(submissions // len(catalog.targets)):
            deliver(self.db, catalog, payload(f"v1.35.{patch}"))
            with self.db.transaction() as session:
                session.execute(update(PackageBuild).values(requested_by="storm"))

    def run(self, seconds: float) -> Outcome:
        """Go on until every build is submitted, at most so many seconds."""
        started = time.monotonic()
        faults = threading.Thread(target=self._weather, daemon=True)
        faults.start()
        # The first one dies early, so that also a small storm on a quick machine kills somebody at work.
        workers = [Victim(self, EARLY if place == 0 else None) for place in range(WORKERS)]
        try:
            while self._open() and time.monotonic() - started < seconds:
                time.sleep(0.05)
                for place, worker in enumerate(workers):
                    if worker.is_doomed():
                        worker.kill()
                        workers[place] = Victim(self)
                        self.outcome.kills += 1
        finally:
            self._over.set()
            faults.join(30)
            for worker in workers:
                worker.kill()
        # Calls that were held back arrive within this time, or never.
        time.sleep(SLOW + 0.5)
        self.farm.clear_faults()
        self.outcome.seconds = time.monotonic() - started
        self._count()
        self.db.dispose()
        return self.outcome

    def _weather(self) -> None:
        """One fault after the other, counted in calls, so that a slow machine has no worse weather than a fast one."""
        hub = self.farm.koji
        while not self._over.is_set():
            kind = self.random.choice((*KINDS, "outage", "sessions"))
            with contextlib.suppress(OSError):
                if kind == "outage":
                    hub.outage(self.random.choice(("database outage", "Server disabled for maintenance")))
                    self._over.wait(0.1)
                    hub.outage("")
                elif kind == "sessions":
                    hub.sessions(self.random.choice(("expire", "close", "delete")))
                elif self.random.random() < 0.5:
                    self._wait_for(hub.fault(kind, "build", skip=self.random.randrange(2), seconds=SLOW))
                else:
                    self._wait_for(hub.fault(kind, "*", skip=self.random.randrange(16), seconds=SLOW))
                self.outcome.faults[kind] += 1
        hub.outage("")

    def _wait_for(self, rule: int) -> None:
        """Wait until the rule has spoiled its call."""
        while not self._over.wait(0.05):
            rules = {one["id"]: one for one in self.farm.call("GET", "/faults")["rules"]}
            if rules[rule]["served"] > rules[rule]["skip"]:
                self.farm.clear_faults(rule)
                return

    def _open(self) -> int:
        with self.db.reader() as session:
            statement = (
                select(func.count()).select_from(PackageBuild).where(PackageBuild.external_id.is_(None))
            )
            return session.scalar(statement) or 0

    def _count(self) -> None:
        outcome = self.outcome
        with self.db.reader() as session:
            rows = session.scalars(select(PackageBuild).order_by(PackageBuild.id)).all()
            outcome.submissions = len(rows)
            outcome.attempts = sum(row.submissions for row in rows)
            for row in rows:
                if row.external_id is None:
                    outcome.unsubmitted.append((row.id, row.state, row.reason))
                elif row.submission_key:
                    outcome.followed[row.submission_key] = int(row.external_id)
        for task in self.farm.koji.tasks():
            token = task["request"][2]["custom_user_metadata"]["cryopack_submission"]
            outcome.tasks.setdefault(token, []).append(task["id"])


class Victim:
    """A worker that lives for a random while once it is at work: one that is killed as it starts teaches nothing."""

    def __init__(self, storm: Storm, life: float | None = None) -> None:
        self._life = life or storm.random.uniform(*LIFE)
        self._doom = 0.0
        path = os.pathsep.join([str(ROOT), str(ROOT / "deploy")])
        variables: dict[str, Any] = {
            **os.environ, **environment(storm.settings), "PYTHONPATH": path, "CRYOPACK_TEST_SRPM": str(storm.srpm),
        }  # fmt: skip
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.flow.koji.storm_worker"], env=variables, cwd=ROOT,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            preexec_fn=lambda: _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
        )  # fmt: skip
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)

    def is_doomed(self) -> bool:
        """Whether its time has come; a worker that ended by itself is replaced too."""
        assert self._process.stdout is not None
        if not self._doom and self._process.stdout.read(1):
            self._doom = time.monotonic() + self._life
        return self._process.poll() is not None or 0 < self._doom < time.monotonic()

    def kill(self) -> None:
        """SIGKILL, wherever it stands."""
        self._process.kill()
        self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()
