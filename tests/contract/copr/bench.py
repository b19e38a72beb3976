"""COPR for the contract suite: the real adapter and client library against the sandbox's server."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from sandbox.testing import Farm
from service.domain.fedora import Branch
from service.domain.planning import BuildTarget
from service.domain.reports import BuildRef, Srpm
from service.domain.states import ChrootState
from workers.buildsystems import AdapterConfig, BuildSystem, connect

X86, ARM = "fedora-44-x86_64", "fedora-44-aarch64"
UPLOAD = "/api_3/build/create/upload"
FAST = {"connect_timeout": 2.0, "read_timeout": 1.5, "request_timeout": 5.0}


def copr_target(project: str, *chroots: str, **options: object) -> BuildTarget:
    """A target of Fedora 44 in this project; both of the sandbox's architectures unless told otherwise."""
    return BuildTarget(
        id="f44-copr",
        branch=Branch("f44", 44),
        system="copr",
        project=project,
        chroots=chroots or (X86, ARM),
        options=options,
    )


def srpm_at(path: Path) -> Srpm:
    """The source RPM of a file."""
    content = path.read_bytes()
    return Srpm(path, path.name, hashlib.sha256(content).hexdigest(), len(content))


class CoprBench:
    """The other side's levers that a contract test may pull. ``doubt`` outlives every request."""

    spared = ChrootState.SUCCEEDED

    def __init__(self, farm: Farm, srpm: Path, state_dir: Path, project: str) -> None:
        self.farm = farm
        self.fence: dict[str, Any] = {}
        self.doubt = {"doubt_seconds": FAST["request_timeout"]}
        self.state_dir = state_dir
        self.target = copr_target(f"packbot/{project}")
        self.work = srpm_at(srpm)
        self.system = self.another()

    def another(self) -> BuildSystem:
        """A second adapter on the same machine."""
        return connect(
            "copr", AdapterConfig(self.state_dir, {"config_file": str(self.farm.copr_config), **FAST})
        )

    def secrets(self) -> list[str]:
        """What no text may ever hold."""
        lines = self.farm.copr_config.read_text().splitlines()
        values = dict(line.split(" = ", 1) for line in lines if " = " in line)
        return [values["token"], values["login"]]

    def count(self) -> int:
        """How many builds the other side has in our project."""
        name = self.target.project.partition("/")[2]
        return sum(build["projectname"] == name for build in self.farm.builds())

    def move_on(self, ref: BuildRef, steps: int) -> None:
        """Let the build go on by so many steps."""
        self.farm.step(int(ref.external_id), steps)

    def end(self, ref: BuildRef) -> None:
        """Let the build go on to its end."""
        self.farm.step(int(ref.external_id), 20)

    def will_fail(self, chroot: str) -> None:
        """Let builds fail in one chroot."""
        self.farm.set_outcome("failed", chroot=chroot)

    def will_fail_at_source(self) -> None:
        """Let builds fail before any chroot begins."""
        self.farm.set_outcome("failed", chroot="srpm-builds")

    def lose_next_answer(self) -> None:
        """The next submission arrives, and its answer does not."""
        self.farm.fault("answer_lost", UPLOAD, method="POST")

    def go_offline(self) -> None:
        """No connection is answered any more."""
        self.farm.offline()

    def expire_login(self) -> None:
        """Our log-in is worth nothing any more."""
        self.farm.fault("expired_token", times=None, method="P*")
        self.farm.fault("expired_token", "/api_3/auth-check", times=None)

    def close_chroots(self) -> None:
        """None of the target's chroots is active."""
        self.farm.only_chroots("fedora-43-x86_64")

    def vanished(self) -> BuildRef:
        """A build that the other side does not know."""
        return BuildRef("copr", self.target.project, "987654")
