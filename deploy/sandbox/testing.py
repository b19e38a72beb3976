"""Starts, kills and steers a sandbox in a process of its own, for tests; it comes back on the same ports."""

from __future__ import annotations

import http.client
import json
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from sandbox.forge.testing import Forge
from sandbox.koji.testing import Hub

STARTUP_SECONDS = 30.0
STOP_SECONDS = 5.0
ENTRY = Path(__file__).parent


class SandboxFailed(RuntimeError):
    """The sandbox did not start, or did not understand a command."""


class Farm:
    """A sandbox in a process of its own, with the commands of ``/_sandbox`` as methods.

    Attributes when started: ``copr_url``, ``koji_url``, ``mirror_url``, and the paths ``copr_config`` and
    ``koji_config``. ``koji`` has the commands of the hub, ``forge`` those of the forge. ``pace`` is in seconds per
    step of a build's life. With ``go_cache`` it really compiles.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        pace: float = 0.05,
        publish: str = "latest",
        hold_back: tuple[str, ...] = (),
        go_cache: Path | None = None,
        options: tuple[str, ...] = (),
    ) -> None:
        self.state_dir = Path(state_dir)
        self.pace = pace
        self._options = ["--publish", publish, *(["--hold-back", *hold_back] if hold_back else [])]
        self._options += options
        if go_cache is not None:
            self._options += ["--real-builds", "on", "--go-cache", str(go_cache)]
        self._ports = (0, 0, 0)
        self._process: subprocess.Popen[str] | None = None
        self.copr_url = self.koji_url = self.mirror_url = ""
        self.copr_config = self.koji_config = Path()
        self.koji = Hub(self)
        self.forge = Forge(self)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start, or start again on the ports of the last time. Raises SandboxFailed."""
        command = [sys.executable, str(ENTRY), "--state-dir", str(self.state_dir), "--pace", str(self.pace)]
        for name, port in zip(("copr", "koji", "mirror"), self._ports, strict=True):
            command += [f"--{name}-port", str(port)]
        command += self._options
        # The pipe at its input closes when this process dies in any way, and the sandbox ends with it.
        command.append("--stop-at-eof")
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], STARTUP_SECONDS)
        line = self._process.stdout.readline() if readable else ""
        ready = json.loads(line or "{}")
        if "copr_url" not in ready:
            self.kill()
            raise SandboxFailed(ready.get("error", "the sandbox did not say that it is ready"))
        self.copr_url, self.koji_url, self.mirror_url = (
            ready[f"{name}_url"] for name in ("copr", "koji", "mirror")
        )
        self.copr_config, self.koji_config = Path(ready["copr_config"]), Path(ready["koji_config"])
        urls = (self.copr_url, self.koji_url, self.mirror_url)
        self._ports = tuple(urlsplit(url).port or 0 for url in urls)

    @property
    def pid(self) -> int:
        """Return the process id of the running sandbox."""
        assert self._process is not None, "the sandbox is not running"
        return self._process.pid

    def stop(self) -> int | None:
        """Stop with SIGTERM; return the exit status, or None where nothing ran."""
        if self._process is None:
            return None
        self._process.terminate()
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise SandboxFailed("the sandbox did not stop at SIGTERM") from None
        finally:
            self._forget()

    def kill(self) -> None:
        """Stop with SIGKILL, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_SECONDS)
            self._forget()

    def _forget(self) -> None:
        if self._process is not None:
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
        self._process = None

    def restart(self) -> None:
        """Kill and start again."""
        self.kill()
        self.start()

    def call(self, method: str, path: str, /, **data: Any) -> Any:
        """Send a command below ``/_sandbox``. Raises SandboxFailed with the sandbox's own words."""
        connection = http.client.HTTPConnection(urlsplit(self.copr_url).netloc, timeout=30)
        try:
            headers = {"Content-Type": "application/json"}
            connection.request(method, f"/_sandbox{path}", json.dumps(data), headers)
            answer = connection.getresponse()
            body = json.loads(answer.read())
        finally:
            connection.close()
        if answer.status != 200:
            raise SandboxFailed(body.get("error", f"status {answer.status}"))
        return body

    def state(self) -> dict[str, Any]:
        """Return pace, pause, chroots and addresses."""
        return dict(self.call("GET", "/state"))

    def builds(self) -> list[dict[str, Any]]:
        """Return every build, oldest first: the API's shape plus ``build_chroots``."""
        return list(self.call("GET", "/builds"))

    def requests(self, method: str = "", path: str = "") -> list[dict[str, Any]]:
        """Return requests outside of ``/_sandbox`` since this start, oldest first; by method and path prefix."""
        seen = self.call("GET", "/requests")
        return [one for one in seen if method in {"", one["method"]} and one["path"].startswith(path)]

    def set_pace(self, seconds: float) -> None:
        """Set the seconds per step, also for builds under way and for the next start."""
        self.call("POST", "/pace", seconds=seconds)
        self.pace = seconds

    def pause(self) -> None:
        """Let builds move only through ``step`` from now on, also after a restart."""
        self.call("POST", "/pause", paused=True)

    def resume(self) -> None:
        """Let builds move by the clock again."""
        self.call("POST", "/pause", paused=False)

    def step(self, build: int | None = None, count: int = 1) -> list[dict[str, Any]]:
        """Move one build, or all that are live, by ``count`` steps; answers like ``builds``."""
        return list(self.call("POST", "/step", build=build, count=count))

    def wait(
        self, until: Callable[[list[dict[str, Any]]], bool], seconds: float = 20.0
    ) -> list[dict[str, Any]]:
        """Return the builds once ``until(builds)`` is true. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            builds = self.builds()
            if until(builds):
                return builds
            time.sleep(0.02)
        raise TimeoutError(
            f"still not so after {seconds} s: {[(b['id'], b['state']) for b in self.builds()]}"
        )

    def set_outcome(self, outcome: str, *, package: str = "*", chroot: str = "*", log: str = "") -> int:
        """Set how matching builds end: ``succeeded``, ``failed`` (with ``log``), ``canceled``, ``pending``.

        ``package`` matches the package's or the uploaded file's name, ``chroot`` a chroot, and
        ``chroot="srpm-builds"`` or ``"import"`` those two steps. The newest rule wins.
        Rules outlive a restart.
        """
        rule = self.call("POST", "/outcomes", outcome=outcome, package=package, chroot=chroot, log=log)
        return int(rule["id"])

    def clear_outcomes(self) -> None:
        """Let every build succeed again."""
        self.call("DELETE", "/outcomes")

    def activate(self, chroot: str) -> None:
        """Make a chroot active, adding it if the farm does not know it."""
        self.call("POST", "/chroots", name=chroot, active=True)

    def deactivate(self, chroot: str, *, cancel: bool = False) -> None:
        """Make a chroot inactive: pending builds in it wait for ever, or end as canceled (end of life)."""
        self.call("POST", "/chroots", name=chroot, active=False, cancel=cancel)

    def only_chroots(self, *chroots: str) -> None:
        """Make exactly these chroots active."""
        self.call("POST", "/chroots", only=list(chroots))

    def fault(
        self,
        kind: str,
        path: str = "*",
        *,
        method: str = "*",
        times: int | None = 1,
        skip: int = 0,
        **options: Any,
    ) -> int:
        """Spoil ``times`` requests (None: all) that match, after ``skip`` good ones; return the rule's id.

        Kinds are those of ``sandbox.faults.KINDS``; options: ``seconds``, ``when="after"`` (a canned answer
        although the request was handled), ``states``, ``by``, ``status``, ``json``, ``body``, ``headers``.
        """
        data = {"kind": kind, "path": path, "method": method, "times": times, "skip": skip, **options}
        return int(self.call("POST", "/faults", **data)["id"])

    def clear_faults(self, rule: int | None = None) -> None:
        """Remove one rule, or all."""
        self.call("DELETE", "/faults", **({} if rule is None else {"id": rule}))

    def offline(self) -> int:
        """Drop every connection but those of the control endpoints, until ``clear_faults``."""
        return self.fault("dropped", times=None)

    def account(self, name: str, *groups: str) -> dict[str, str]:
        """Make an account or renew its token; it joins ``groups`` (``@name``).

        Answers ``{"login", "token", "expiration"}``. The file ``copr_config`` follows at the next start only.
        """
        return dict(self.call("POST", "/accounts", name=name, groups=list(groups)))

    def publish(self, tag: str, **changes: Any) -> dict[str, Any]:
        """Release a tag on the mirror, and return GitHub's shape of it.

        ``changes``: published_at, commit, draft, prerelease, facts (go, wazero, commands).
        """
        return dict(self.call("POST", "/releases", tag=tag, **changes))

    def withdraw(self, tag: str, *, keep_tag: bool = False) -> None:
        """Delete a release, and its tag unless that is kept."""
        self.call("DELETE", "/releases", tag=tag, keep_tag=keep_tag)

    def move_tag(self, tag: str, commit: str | None = None) -> str:
        """Let a tag point to another commit with other content; return the commit."""
        return str(self.call("POST", "/releases/move", tag=tag, commit=commit)["commit"])
