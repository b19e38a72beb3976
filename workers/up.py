"""`cryopack up`, behind `make run`: everything on one machine, started in order and stopped in order."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import redis
from sqlalchemy.exc import SQLAlchemyError

import migrations
from service.settings import Settings
from workers import local, sample
from workers.local import CannotStart
from workers.supervisor import TROUBLE, Program, Supervisor, die_with_parent, say, this_python

BROKER_SECONDS = 15.0
SANDBOX_SECONDS = 30.0
READY_SECONDS = 60.0
# Celery lets a running task end; the database gives the work of a killed one to the next worker.
WORKER_STOP_SECONDS = 6.0
PROGRESS = re.compile(TROUBLE.pattern + r"|\bbuild\b|\brelease\b|\bready\b", re.IGNORECASE)

running_settings = local.running_settings


def web_command(*arguments: str) -> tuple[str, ...]:
    """The web service; ``arguments`` say where it listens."""
    return this_python(
        *("uvicorn", "service.web.app:create_app", "--factory", *arguments),
        *("--no-access-log", "--timeout-graceful-shutdown", "3"),
    )


def worker_command() -> tuple[str, ...]:
    """A worker; its number of processes is a setting."""
    return this_python(
        *("celery", "-A", "workers.app", "worker", "--pool", "prefork", "--loglevel", "info"),
        *("--without-gossip", "--without-mingle"),
    )


def beat_command(state: Path) -> tuple[str, ...]:
    """The clock. One is enough, and there must be one."""
    return this_python(
        *("celery", "-A", "workers.app", "beat", "--loglevel", "info"),
        *("--pidfile", "", "--schedule", str(state / "beat-schedule")),
    )


@dataclass
class Up:
    """One run. ``derived`` are the settings that this machine adds, by field name."""

    settings: Settings
    listener: socket.socket
    state: Path
    derived: dict[str, str] = field(default_factory=dict)
    sandbox_ready: dict[str, Any] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Where the dashboard answers."""
        return "http://{}:{}".format(*self.listener.getsockname()[:2])

    def environment(self) -> dict[str, str]:
        """What the children get."""
        return local.as_environment(self.derived, os.environ)

    def run(self, children: Supervisor) -> None:
        """Start everything, say where it answers, and supervise until a signal. Raises CannotStart."""
        given = self.settings.model_fields_set
        simulated = local.wants_sandbox(self.settings)
        self.derived["state_dir"] = str(self.state)
        if "base_url" not in given:
            self.derived["base_url"] = self.address
        if simulated:
            self._start_sandbox(children)
        if "broker_url" not in given:
            self._start_broker(children)
        if simulated and not self.settings.secrets():
            self.derived["github_webhook_secrets"] = local.webhook_secret(self.state)
        self._migrate()
        if simulated:
            self._await_sandbox(children)
        if children.signals:
            return
        local.note_running(self.state, self.derived)
        self._start_service(children)
        if not children.signals:
            where = "builds go to the sandbox on this machine" if simulated else "builds go to COPR"
            say(f"cryopack is up: {self.address}  ({where}; Ctrl-C stops it; logs in {self.state / 'log'})")
            if simulated:
                self._deliver_sample()
        children.run()
        say("stopping ...")

    def _start_broker(self, children: Supervisor) -> None:
        url = f"unix://{local.broker_socket(self.state)}"
        self.derived["broker_url"] = url
        children.start(local.broker_program(self.state, self.environment()))
        client = redis.Redis.from_url(url, socket_timeout=1.0, socket_connect_timeout=1.0)

        def answers() -> bool:
            with contextlib.suppress(redis.RedisError, OSError):
                return bool(client.ping())
            return False

        _await(children, "valkey", answers, BROKER_SECONDS)
        client.close()

    def _start_sandbox(self, children: Supervisor) -> None:
        if not (local.SANDBOX / "__main__.py").is_file():
            raise CannotStart(
                "no COPR account is configured (CRYOPACK_COPR_OWNER), and the sandbox is only in a checkout"
            )
        copr, mirror = local.remembered_ports(self.state)
        with contextlib.ExitStack() as probes:
            try:
                for port in (copr, mirror):
                    probes.enter_context(listen("127.0.0.1", port))
            except CannotStart:
                say(
                    "the sandbox's old ports are taken: it gets new ones, and links of older builds end nowhere"
                )
                copr = mirror = 0
            if not copr:
                spare = [probes.enter_context(listen("127.0.0.1", 0)) for _ in range(2)]
                copr, mirror = (probe.getsockname()[1] for probe in spare)
        command = (
            *(this_python()[0], str(local.SANDBOX), "--state-dir", str(self.state / "sandbox")),
            *("--copr-port", str(copr), "--mirror-port", str(mirror), "--hold-back", local.SAMPLE_TAG),
        )

        def heard(line: str) -> None:
            with contextlib.suppress(ValueError):
                told = json.loads(line)
                if isinstance(told, dict) and "copr_url" in told:
                    self.sandbox_ready.update(told)

        children.start(Program("sandbox", command, self.environment(), stage=1, shown=None, on_line=heard))

    def _await_sandbox(self, children: Supervisor) -> None:
        if _await(children, "sandbox", lambda: bool(self.sandbox_ready), SANDBOX_SECONDS):
            ready = self.sandbox_ready
            ports = [urlsplit(str(ready[key])).port or 0 for key in ("copr_url", "mirror_url")]
            local.remember_ports(self.state, *ports)
            self.derived |= local.sandbox_settings(self.settings, ready)

    def _migrate(self) -> None:
        database = self.settings.database()
        if not self.settings.database_url.get_secret_value():
            database = f"sqlite:///{self.state}/cryopack.sqlite"
        try:
            migrations.upgrade(database)
        except SQLAlchemyError as error:
            raise CannotStart(
                f"the database cannot be brought to the newest schema ({type(error).__name__}); "
                "see CRYOPACK_DATABASE_URL"
            ) from None

    def _start_service(self, children: Supervisor) -> None:
        environment = self.environment()
        for schedule in self.state.glob("beat-schedule*"):
            # It only remembers when things last ran; a crash can leave half of it.
            schedule.unlink()
        fd = self.listener.fileno()
        web = web_command("--fd", str(fd), "--log-level", "warning")
        children.start(Program("web", web, environment, pass_fds=(fd,)))
        worker = worker_command()
        children.start(
            Program("worker", worker, environment, stop_seconds=WORKER_STOP_SECONDS, shown=PROGRESS)
        )
        children.start(Program("beat", beat_command(self.state), environment))

        def answers() -> bool:
            with contextlib.suppress(httpx2.HTTPError):
                return ask(f"{self.address}/readyz").status_code == 200
            return False

        _await(children, "web", answers, READY_SECONDS)

    def _deliver_sample(self) -> None:
        """Release the sample at the mirror and deliver its webhook, once in the life of a state directory."""
        done = self.state / "sandbox" / "sample"
        if done.exists():
            return
        tag, repository = local.SAMPLE_TAG, local.SAMPLE_REPOSITORY
        secret = (self.settings.secrets() or (self.derived["github_webhook_secrets"].encode(),))[0]
        try:
            ask(f"{self.sandbox_ready['mirror_url']}/_sandbox/releases", {"tag": tag}).raise_for_status()
            answer = sample.deliver(self.address, secret, repository, tag)
        except (httpx2.HTTPError, ConnectionError) as error:
            say(f"the sample release could not be delivered ({type(error).__name__})")
            return
        if answer.status != 202:
            say(f"the sample release was not accepted: HTTP {answer.status}: {answer.body.strip()}")
            return
        done.write_text(f"{tag}\n", encoding="utf-8")
        family, version = repository.partition("/")[2], tag.removeprefix("v")
        say(
            f"released {repository} {tag} at the sandbox's mirror and delivered its webhook (HTTP 202): "
            f"watch {self.address}/releases/{family}/{version}"
        )


def ask(url: str, body: Mapping[str, object] | None = None) -> httpx2.Response:
    """One short request to loopback, past any proxy: GET, or POST with a JSON body. Raises httpx2.HTTPError."""
    with httpx2.Client(timeout=5.0, trust_env=False) as client:
        return client.get(url) if body is None else client.post(url, json=dict(body))


def listen(host: str, port: int) -> socket.socket:
    """A bound, listening socket; 0 takes a free port. Raises CannotStart if the address is taken."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise CannotStart(
                f"port {port} on {host} is taken by another program; stop it, or choose another with --port"
            ) from None
        raise CannotStart(f"cannot listen on {host} port {port}: {error.strerror}") from None
    return listener


@contextlib.contextmanager
def only_one(state: Path) -> Iterator[None]:
    """Hold the state directory's lock. The kernel lets go of it however we end. Raises CannotStart."""
    state.mkdir(parents=True, exist_ok=True)
    with (state / "up.lock").open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise CannotStart(f"another 'cryopack up' (process {holder}) runs on {state}") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _await(children: Supervisor, name: str, ready: Callable[[], bool], seconds: float) -> bool:
    """Wait until ``ready()``: True, or False after a signal. Raises CannotStart when the time is over."""
    if children.until(ready, seconds):
        return True
    if children.signals:
        return False
    raise CannotStart(f"{name} is not ready after {seconds:g} s; see {children.log_dir / name}.log")


def run(settings: Settings, *, host: str = "127.0.0.1", port: int = 8000, with_parent: bool = False) -> int:
    """Run everything until SIGINT or SIGTERM; the exit status. Trouble at the start is one line and 1."""
    if with_parent:
        die_with_parent(signal.SIGTERM)
    state = settings.state_dir.resolve()
    try:
        with only_one(state), listen(host, port) as listener:
            try:
                with Supervisor(state / "log") as children:
                    Up(settings, listener, state).run(children)
            finally:
                local.forget_running(state)
    except (CannotStart, OSError) as error:
        print(f"cryopack: {error}", file=sys.stderr)
        return 1
    return 0
