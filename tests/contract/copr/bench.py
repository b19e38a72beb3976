"""The bench of COPR for the contract tests: the real adapter and client library against the sandbox's server."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sandbox.testing import Farm
from service.domain.fedora import Branch
from service.domain.planning import BuildTarget
from service.domain.reports import BuildRef, Srpm
from service.domain.states import ChrootState
from workers.buildsystems import AdapterConfig, connect
from workers.buildsystems.copr.adapter import Copr

X86, ARM = "fedora-44-x86_64", "fedora-44-aarch64"
UPLOAD = "/api_3/build/create/upload"
CONFIG = "[copr-cli]\nlogin = {login}\ntoken = {token}\ncopr_url = {url}\nencrypted = {encrypted}\n"
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


def copr_at(
    folder: Path,
    url: str,
    *,
    login: str = "login",
    token: str = "token",
    encrypted: bool = False,
    **options: object,
) -> Copr:
    """An adapter for another server, with short times; its configuration is ``copr-config`` in the folder."""
    path = folder / "copr-config"
    path.write_text(CONFIG.format(login=login, token=token, url=url, encrypted=encrypted))
    return Copr(AdapterConfig(folder, {"config_file": path, **FAST, **options}))


class CoprBench:
    """The sandbox's COPR, with the changes there that the contract tests need. ``doubt`` outlives every request."""

    spared = ChrootState.SUCCEEDED

    def __init__(self, farm: Farm, srpm: Path, state_dir: Path, project: str) -> None:
        self.farm = farm
        self.fence: dict[str, Any] = {}
        self.doubt = {"doubt_seconds": FAST["request_timeout"]}
        self.state_dir = state_dir
        self.target = copr_target(f"packbot/{project}")
        self.work = srpm_at(srpm)
        self.system = self.another()

    @classmethod
    def fresh(cls, farm: Farm, srpm: Path, state_dir: Path, test: str, *chroots: str) -> CoprBench:
        """A bench for one test: a project of its own, no faults, and only these chroots active."""
        farm.clear_faults()
        farm.clear_outcomes()
        farm.only_chroots(*(chroots or (X86, ARM)))
        return cls(farm, srpm, state_dir, f"p{abs(hash(test))}")

    def another(self, **options: object) -> Copr:
        """A second adapter on the same machine."""
        config = {"config_file": str(self.farm.copr_config), **FAST, **options}
        system = connect("copr", AdapterConfig(self.state_dir, config))
        assert isinstance(system, Copr)
        return system

    def write_login(self, account: Mapping[str, object]) -> None:
        """Put an account's login and token into the configuration file."""
        lines = []
        for line in self.farm.copr_config.read_text().splitlines():
            name = line.partition(" = ")[0]
            lines.append(f"{name} = {account[name]}" if name in account and name != "expiration" else line)
        self.farm.copr_config.write_text("\n".join(lines) + "\n")

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
