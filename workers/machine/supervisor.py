"""Run the whole service on one machine for ``cryopack up``: start, watch, restart and stop its processes.

Everything is under one parent and is stopped by one Ctrl-C; no process survives its parent.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO

import httpx2

import migrations
from service import wake
from service.domain.versions import parse_tag
from service.settings import Settings, SettingsError
from workers.context import load_catalog
from workers.machine.bootstrap import MachineSetup, answers, running_settings, set_up_machine
from workers.machine.release_delivery import SAMPLE_REPOSITORY, SAMPLE_TAG, deliver

READY_SECONDS = 60.0
ANSWER_SECONDS = 5.0
TICK_SECONDS = 0.1
# Steps that are cut off are found again by their leases, so a short wait is enough.
SERVICE_GRACE = 3.0
SERVER_GRACE = 1.0
# Some terminals and wrappers send one Ctrl-C twice.
SAME_SIGNAL_SECONDS = 0.5
HOPELESS_ENDS = 3
# The sample's id never changes, so that a second start's delivery would be the same one.
SAMPLE_GUID = str(uuid.uuid5(uuid.NAMESPACE_URL, f"cryopack:{SAMPLE_REPOSITORY}@{SAMPLE_TAG}"))
PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)

FIRST_PAUSE = 0.2
LONGEST_PAUSE = 30.0
# A child that ran this long was well, and its next end starts at the first pause again.
WELL_SECONDS = 30.0
LOG_LIMIT = 16 * 1024 * 1024
ECHO_LINES = 10

_TROUBLE = re.compile(r"\b(warning|error|critical|traceback)\b", re.IGNORECASE)
# Root in a container is no news, nor is a memory setting that only matters to large brokers.
_NO_TROUBLE = re.compile(r"superuser privileges|SecurityWarning|overcommit")


class UpFailed(SettingsError):
    """The service cannot start, or an essential process does not come up; ``str(error)`` is one line."""


class _Interrupted(Exception):
    """A signal asked to stop while processes were starting."""


class Supervisor:
    """Starts child processes, keeps them running and stops them in order. For the main thread only."""

    def __init__(self, terminal: Terminal) -> None:
        self.children: list[Child] = []
        self.terminal = terminal
        self._asked_at = 0.0
        self._impatient = False

    def on_signal(self, signum: int, frame: FrameType | None) -> None:
        """Handle a signal: the first asks for an orderly stop, a later one for an immediate one."""
        if not self._asked_at:
            self._asked_at = time.monotonic()
        elif time.monotonic() - self._asked_at > SAME_SIGNAL_SECONDS:
            self._impatient = True

    @property
    def asked_to_stop(self) -> bool:
        """Return whether a signal has come."""
        return self._asked_at > 0

    def add(self, child: Child) -> None:
        """Start a child and watch it from now on."""
        self.children.append(child)
        child.start()

    def tick(self) -> None:
        """Watch every child once, and print the warnings and errors that it has logged."""
        for child in self.children:
            for line in child.troubles():
                self.terminal.say(line, child.name)
            said = child.watch()
            if said:
                self.terminal.say(said)
        time.sleep(TICK_SECONDS)

    def wait_for(self, *names: str) -> None:
        """Wait until these children serve. Raises UpFailed if one cannot, _Interrupted on a signal."""
        deadline = time.monotonic() + READY_SECONDS
        waiting = [child for child in self.children if child.name in names]
        while waiting:
            if self.asked_to_stop:
                raise _Interrupted
            self.tick()
            waiting = [child for child in waiting if not child.ready()]
            for child in waiting:
                if child.ends >= HOPELESS_ENDS or time.monotonic() > deadline:
                    for line in child.last_lines():
                        self.terminal.say(line, child.name)
                    raise UpFailed(f"{child.name} does not start; its log is {child.log}")

    def stop(self, *stages: tuple[Sequence[str], float]) -> None:
        """Stop the children stage by stage: names and the seconds they have before they are killed."""
        for names, grace in stages:
            leaving = [child for child in self.children if child.name in names]
            for child in leaving:
                child.terminate()
            deadline = time.monotonic() + grace
            while leaving and time.monotonic() < deadline and not self._impatient:
                leaving = [child for child in leaving if not child.gone()]
                time.sleep(0.02)
        for child in self.children:
            child.kill()


def run(settings: Settings, *, port: int = 8000, with_parent: bool = False) -> int:
    """Run everything until a signal comes; the exit status is 0 then. Call it from the main thread.

    With ``with_parent`` the end of the calling process is such a signal too. Raises UpFailed, SettingsError,
    SQLAlchemyError and OSError if it cannot start; nothing is left running then.
    """
    terminal = Terminal()
    supervisor = Supervisor(terminal)
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, supervisor.on_signal)
    if with_parent:
        die_with_parent(os.getppid(), signal.SIGTERM)
    began = time.monotonic()
    with _only_one(settings.state_dir):
        _check_port(port)
        setup = set_up_machine(settings, port=port, held_back_stream=str(parse_tag(SAMPLE_TAG).stream))
        try:
            _start(supervisor, settings, setup, port)
            base_url = running_settings(settings).base_url
            terminal.say(f"{base_url} is ready after {time.monotonic() - began:.1f} s; Ctrl-C stops it")
            if setup.simulated:
                terminal.say(
                    "builds are simulated, replayed, or compiled where Go is at hand: CRYOPACK_COPR_OWNER is "
                    "not set, so a sandbox on this machine plays COPR and Koji"
                )
            while not supervisor.asked_to_stop:
                supervisor.tick()
        except _Interrupted:
            pass
        finally:
            terminal.say("stopping")
            service = ("beat", "worker", "fetcher", "web")
            supervisor.stop((service, SERVICE_GRACE), (("sandbox", "broker"), SERVER_GRACE))
        terminal.say("stopped; nothing is left running")
    return 0


def _start(supervisor: Supervisor, settings: Settings, setup: MachineSetup, port: int) -> None:
    state = settings.state_dir.resolve()
    logs = state / "log"
    logs.mkdir(exist_ok=True)
    environment = {**os.environ, **setup.environment}

    def add(name: str, command: Sequence[str], ready: Callable[[], bool] | None = None) -> None:
        supervisor.add(Child(name, command, environment, logs, ready))

    effective = running_settings(settings)
    load_catalog(effective)
    for server in setup.servers:
        add(server.name, server.command, server.ready)
    migrations.upgrade(effective.database())
    supervisor.wait_for(*(server.name for server in setup.servers))
    add("web", web_command(port), lambda: answers(f"http://127.0.0.1:{port}/readyz", ANSWER_SECONDS))
    supervisor.wait_for("web")
    if setup.simulated:
        # Before the workers look at the mirror by themselves: the sample is to come in by its webhook.
        deliver_sample(effective, f"http://127.0.0.1:{port}", setup.mirror_url, supervisor.terminal)
    # Celery's notes of the last run hold nothing but times, and a kill may have left them half written.
    for leftover in state.glob("beat-schedule*"):
        leftover.unlink(missing_ok=True)
    add("worker", celery_command("worker", "--queues", wake.WORK))
    # A worker of its own: two slow downloads would keep both processes of the other from submitting and polling.
    only_fetch = ("--queues", wake.FETCH, "--concurrency", "1", "--hostname", "fetcher@%h")
    add("fetcher", celery_command("worker", *only_fetch))
    add("beat", celery_command("beat", "--pidfile", "", "--schedule", str(state / "beat-schedule")))


def web_command(port: int) -> list[str]:
    """Return the command line of the web process."""
    return [
        sys.executable, "-m", "uvicorn", "service.web.app:create_app", "--factory", "--host", "127.0.0.1",
        "--port", str(port), "--no-access-log", "--no-proxy-headers", "--timeout-graceful-shutdown", "3",
    ]  # fmt: skip


def celery_command(role: str, *options: str) -> list[str]:
    """Return the command line of a worker or of beat."""
    return [sys.executable, "-m", "celery", "-A", "workers.app", role, "--loglevel", "info", *options]


def deliver_sample(settings: Settings, base_url: str, mirror_url: str, terminal: Terminal) -> None:
    """Release the sample at the sandbox's mirror and deliver it, unless the service knows it already."""
    version = parse_tag(SAMPLE_TAG)
    if answers(f"{base_url}/api/v1/releases/cri-o/{version}", ANSWER_SECONDS):
        return
    try:
        httpx2.post(
            f"{mirror_url}/_sandbox/releases",
            json={"tag": SAMPLE_TAG},
            timeout=10,
            trust_env=False,
        ).raise_for_status()
        answer = deliver(
            base_url,
            settings.secrets()[0],
            SAMPLE_REPOSITORY,
            SAMPLE_TAG,
            guid=SAMPLE_GUID,
        )
    except (httpx2.HTTPError, ConnectionError) as error:
        terminal.say(f"the sample release could not be delivered ({type(error).__name__})")
        return
    if answer.status == 202:
        terminal.say(f"delivered the sample release {SAMPLE_REPOSITORY} {SAMPLE_TAG}")
    else:
        terminal.say(f"the sample release was not taken: HTTP {answer.status} {answer.body}")


@contextmanager
def _only_one(state_dir: Path) -> Iterator[None]:
    state_dir.mkdir(parents=True, exist_ok=True)
    with (state_dir / "up.lock").open("a+", encoding="utf-8") as file:
        _lock(file, state_dir)
        file.seek(0)
        file.truncate()
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def _lock(file: IO[str], state_dir: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        raise UpFailed(f"another 'cryopack up' (process {holder}) runs on {state_dir}") from None


def _check_port(port: int) -> None:
    # The children of a supervisor that was killed a moment ago may need that moment to follow it.
    deadline = time.monotonic() + 1.0
    while True:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                return
            except OSError as error:
                if time.monotonic() > deadline:
                    raise UpFailed(f"port {port} on 127.0.0.1 is not free ({error.strerror})") from None
        time.sleep(0.1)


def die_with_parent(parent: int, sig: int = signal.SIGKILL) -> None:
    """Have the kernel send ``sig`` to this process when ``parent`` dies, also where that is by ``kill -9``.

    The kernel watches the thread that started this process: only a main thread should start children.
    """
    _LIBC.prctl(PR_SET_PDEATHSIG, sig)
    if os.getppid() != parent:
        os.kill(os.getpid(), sig)


class Child:
    """A child process in its own session. Its output is appended to ``<log_dir>/<name>.log``.

    ``environment`` is complete. ``ready`` tells whether it serves; without it, running is enough.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        log_dir: Path,
        ready: Callable[[], bool] | None = None,
    ) -> None:
        self.name = name
        self.log = log_dir / f"{name}.log"
        self.ends = 0
        self._command = list(command)
        self._environment = dict(environment)
        self._ready = ready
        self._process: subprocess.Popen[bytes] | None = None
        self._started = self._next_start = 0.0
        self._pause = FIRST_PAUSE
        self._echoed = 0

    def start(self) -> None:
        """Start the process, from the main thread. Raises OSError where the program or the log cannot be opened."""
        parent = os.getpid()
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as output:
            self._echoed = output.tell()
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
                preexec_fn=lambda: die_with_parent(parent),
            )
        self._started = time.monotonic()

    @property
    def pid(self) -> int | None:
        """Return its process id, or None while it does not run."""
        return self._process.pid if self._process else None

    def ready(self) -> bool:
        """Return whether it runs and serves."""
        return self._process is not None and (self._ready is None or self._ready())

    def watch(self) -> str:
        """Notice its end, and start it again after a pause; return a line for the terminal, or an empty string."""
        now = time.monotonic()
        if self._process is None:
            if now >= self._next_start:
                self.start()
            return ""
        if not self._ended():
            return ""
        status = self._reap()
        self.ends += 1
        if now - self._started > WELL_SECONDS:
            self._pause = FIRST_PAUSE
        self._next_start = now + self._pause
        said = f"{self.name} ended ({status}); starting it again in {self._pause:g} s"
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
        return said

    def terminate(self) -> None:
        """Send SIGTERM to the process itself, which stops its own children."""
        if self._process is not None:
            self._process.terminate()

    def gone(self) -> bool:
        """Return whether it has ended; reap it if so."""
        if self._process is not None and self._ended():
            self._reap()
        return self._process is None

    def kill(self) -> None:
        """Kill it and its whole process group at once."""
        if self._process is not None:
            self._reap()

    def _ended(self) -> bool:
        assert self._process is not None
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _reap(self) -> str:
        # The group dies before its leader is reaped: afterwards the number may belong to somebody else.
        assert self._process is not None
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        code = self._process.wait()
        self._process = None
        return f"signal {-code}" if code < 0 else f"status {code}"

    def troubles(self) -> list[str]:
        """Return the warnings and errors that it has logged since the last call, at most ECHO_LINES of them."""
        with suppress(OSError), self.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            if size < self._echoed:
                self._echoed = 0
            file.seek(self._echoed)
            fresh = file.read(1 << 20)
            whole = fresh.rfind(b"\n") + 1 or (len(fresh) if len(fresh) == 1 << 20 else 0)
            self._echoed += whole
            lines = fresh[:whole].decode(errors="replace").splitlines()
            found = [line for line in lines if _TROUBLE.search(line) and not _NO_TROUBLE.search(line)]
            if len(found) > ECHO_LINES:
                found[ECHO_LINES:] = [f"{len(found) - ECHO_LINES} more such lines in {self.log}"]
            self._shorten(size)
            return found
        return []

    def _shorten(self, size: int) -> None:
        # The child appends, so a file cut to nothing is simply filled again; a line in between may be lost.
        # A busy child has written more than ``size`` by now, and then more than ``size`` has been looked at.
        if size > LOG_LIMIT and self._echoed >= size:
            shutil.copyfile(self.log, self.log.with_suffix(".log.1"))
            os.truncate(self.log, 0)
            self._echoed = 0

    def last_lines(self, count: int = 5) -> list[str]:
        """Return the end of its log, to explain why it does not start."""
        with suppress(OSError):
            return self.log.read_text(errors="replace").splitlines()[-count:]
        return []


class Terminal:
    """Prints lines on standard error with the name of the process; a closed terminal is no error."""

    def say(self, text: str, name: str = "cryopack") -> None:
        """Write one line."""
        with suppress(OSError, ValueError):
            print(f"{name:>8} | {text}", file=sys.stderr, flush=True)
