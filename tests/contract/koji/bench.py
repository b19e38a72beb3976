"""The bench of Koji for the contract tests: the real adapter against the sandbox's hub, or against any real one."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sandbox.testing import Farm
from service.domain.fedora import Branch
from service.domain.planning import BuildTarget
from service.domain.reports import BuildRef, BuildReport, ScmCommit, Srpm
from service.domain.states import ChrootState
from tests.contract.copr.bench import srpm_at
from workers.buildsystems import AdapterConfig, BuildSystem, connect
from workers.buildsystems.koji.adapter import Koji

X86, ARM = "fedora-44-x86_64", "fedora-44-aarch64"
REPOSITORY = "https://src.example/rpms/cri-o1.34"
CANDIDATE, TESTING = "f44-updates-candidate", "f44-updates-testing"
_numbers = itertools.count(1)
FAST: Mapping[str, object] = {"call_timeout": 2.0, "build_timeout": 1.5, "login_timeout": 2.0}
REAL_URL = os.environ.get("CRYOPACK_TEST_KOJI_URL", "")
REAL_WAIT = 1800.0


def koji_target(*chroots: str, system_target: str = "f44-candidate", **options: object) -> BuildTarget:
    """A scratch target of Fedora 44; both of the sandbox's architectures unless told otherwise."""
    return BuildTarget(
        id="f44-koji",
        branch=Branch("f44", 44),
        system="koji",
        project="sandbox",
        chroots=chroots or (X86, ARM),
        options={"koji_target": system_target, **options},
    )


def sandbox_options(farm: Farm, **changes: object) -> dict[str, object]:
    """The adapter's options for the sandbox's hub and its account."""
    return {
        "profile": "sandbox",
        "config_file": str(farm.koji_config),
        "auth": "password",
        "user": "packbot",
        "password_file": str(farm.koji_config.with_name("koji-password")),
        **FAST,
        **changes,
    }


def without_topurl(farm: Farm, folder: Path) -> Path:
    """The hub's profile as somebody may write it who only wants to submit builds."""
    lines = farm.koji_config.read_text().splitlines(keepends=True)
    path = folder / "koji-without-files.conf"
    path.write_text("".join(line for line in lines if not line.startswith("topurl")))
    return path


def adapter(farm: Farm, state_dir: Path, **changes: object) -> Koji:
    """An adapter for the sandbox's hub."""
    system = connect("koji", AdapterConfig(state_dir, sandbox_options(farm, **changes)))
    assert isinstance(system, Koji)
    return system


def reset(farm: Farm) -> Farm:
    """The farm as it was begun, but for its tasks and builds: no faults, the newest hub, the target open."""
    farm.clear_faults()
    farm.koji.clear_outcomes()
    farm.koji.play("1.35.3")
    farm.koji.outage("")
    farm.koji.target("f44-candidate", "f44-build", CANDIDATE, "x86_64 aarch64")
    return farm


def fresh_commit(farm: Farm) -> ScmCommit:
    """A commit that builds into a name-version-release of its own."""
    number = next(_numbers)
    commit, nvr = f"{number:040x}", f"cri-o1.34-1.34.{number}-1.fc44"
    farm.koji.source(f"git+{REPOSITORY}#{commit}", nvr)
    return ScmCommit(REPOSITORY, commit, nvr)


def report_of(system: BuildSystem, ref: BuildRef) -> BuildReport:
    """What polling tells of a build that can be read."""
    told = system.poll([ref])[ref]
    assert isinstance(told, BuildReport), told
    return told


class KojiBench:
    """The sandbox's hub, with the changes there that the contract tests need. The fence ends every doubt at once."""

    spared = ChrootState.CANCELED
    doubt: Mapping[str, float] = {}

    def __init__(self, farm: Farm, srpm: Path, state_dir: Path) -> None:
        self.farm = farm
        self.state_dir = state_dir
        self.target = koji_target()
        self.work: Srpm | ScmCommit = srpm_at(srpm)
        self._before = len(farm.koji.tasks())
        self._password = farm.koji_config.with_name("koji-password").read_text().strip()
        farm.koji.user("packbot", password=self._password)
        self.system = self.another()

    def another(self) -> BuildSystem:
        """A second adapter on the same machine."""
        return adapter(self.farm, self.state_dir)

    def secrets(self) -> list[str]:
        """What no text may ever hold."""
        return [self._password]

    def count(self) -> int:
        """How many build tasks came since the bench was made."""
        return len(self.farm.koji.tasks()) - self._before

    def move_on(self, ref: BuildRef, steps: int) -> None:
        """Let the build go on by so many steps; Koji has twice as many as COPR."""
        self.farm.koji.step(int(ref.external_id), 2 * steps)

    def end(self, ref: BuildRef) -> None:
        """Let the build go on to its end."""
        self.farm.koji.step(int(ref.external_id), 40)

    def will_fail(self, chroot: str) -> None:
        """Let builds fail in one chroot."""
        self.farm.koji.set_outcome(chroot.rpartition("-")[2])

    def will_fail_at_source(self) -> None:
        """Let builds fail before any chroot begins."""
        self.farm.koji.set_outcome("srpm")

    def lose_next_answer(self) -> None:
        """The next submission arrives, and its answer does not."""
        self.farm.koji.fault("answer_lost", "build")

    def go_offline(self) -> None:
        """No connection is answered any more."""
        self.farm.koji.offline()

    def expire_login(self) -> None:
        """Our log-in is worth nothing any more."""
        self.farm.koji.user("packbot")
        self.farm.koji.sessions("close")

    def close_chroots(self) -> None:
        """The target is gone."""
        self.farm.koji.target("f44-candidate", "f44-build", CANDIDATE, "s390x")

    def vanished(self) -> BuildRef:
        """A build that the other side does not know."""
        return BuildRef("koji", self.target.project, "987654")


class RealKojiBench:
    """A hub that somebody else runs: CRYOPACK_TEST_KOJI_URL, its …_USER, …_PASSWORD, …_TARGET and …_CHROOTS.

    Tests that need a change which a real hub does not offer are skipped.
    """

    spared = ChrootState.CANCELED
    doubt: Mapping[str, float] = {}

    def __init__(self, srpm: Path, state_dir: Path) -> None:
        chroots = os.environ.get("CRYOPACK_TEST_KOJI_CHROOTS", f"{X86} {ARM}").split()
        system_target = os.environ.get("CRYOPACK_TEST_KOJI_TARGET", "f44-candidate")
        self.target = koji_target(*chroots, system_target=system_target)
        self.work: Srpm | ScmCommit = srpm_at(srpm)
        self.state_dir = state_dir
        self._password = os.environ["CRYOPACK_TEST_KOJI_PASSWORD"]
        base = REAL_URL.rstrip("/").removesuffix("/kojihub")
        config = state_dir / "koji.conf"
        config.write_text(
            f"[real]\nserver = {base}/kojihub\nweburl = {base}/koji\ntopurl = {base}/kojifiles\n"
        )
        password = state_dir / "password"
        password.write_text(self._password)
        self._options: dict[str, Any] = {
            "profile": "real", "config_file": str(config), "auth": "password",
            "user": os.environ["CRYOPACK_TEST_KOJI_USER"], "password_file": str(password),
        }  # fmt: skip
        self.system = self.another()

    def another(self) -> BuildSystem:
        """A second adapter on the same machine."""
        return connect("koji", AdapterConfig(self.state_dir, self._options))

    def secrets(self) -> list[str]:
        """What no text may ever hold."""
        return [self._password]

    def move_on(self, ref: BuildRef, steps: int) -> None:
        """A real hub moves by itself."""
        time.sleep(steps)

    def end(self, ref: BuildRef) -> None:
        """Wait for the end."""
        deadline = time.monotonic() + REAL_WAIT
        while time.monotonic() < deadline:
            answer: Any = self.system.poll([ref])[ref]
            if answer.vendor_state in {"closed", "failed", "canceled"}:
                return
            time.sleep(5)
        raise TimeoutError(f"task {ref.external_id} has not ended")

    def vanished(self) -> BuildRef:
        """A build that the other side does not know."""
        return BuildRef("koji", self.target.project, "2000000000")

    def __getattr__(self, name: str) -> Any:
        pytest.skip(f"a real hub does not offer '{name}'")
