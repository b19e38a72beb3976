"""Starts MIT's key distribution centre (KDC) on a port of loopback, with a realm, folders and files of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

from tests.servers import free_port

REALM = "CRYOPACK.TEST"
PROGRAMS = ("krb5kdc", "kdb5_util", "kadmin.local")
PLACES = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])


def missing_programs() -> list[str]:
    """Those of MIT's server that this machine does not have."""
    return [name for name in PROGRAMS if shutil.which(name, path=PLACES) is None]


class Kdc:
    """The server as a context. ``environment`` is what programs need that should find it and no other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        config, profile = folder / "krb5.conf", folder / "kdc.conf"
        config.write_text(
            f"[libdefaults]\n default_realm = {REALM}\n dns_lookup_kdc = false\n dns_lookup_realm = false\n"
            f" dns_canonicalize_hostname = false\n rdns = false\n udp_preference_limit = 1\n"
            f"[realms]\n {REALM} = {{\n  kdc = 127.0.0.1:{self.port}\n }}\n"
            f"[domain_realm]\n 127.0.0.1 = {REALM}\n"
        )
        profile.write_text(
            f"[kdcdefaults]\n kdc_listen = 127.0.0.1:{self.port}\n kdc_tcp_listen = 127.0.0.1:{self.port}\n"
            f"[realms]\n {REALM} = {{\n  database_name = {folder}/principal\n  key_stash_file = {folder}/stash\n"
            f"  acl_file = {folder}/acl\n }}\n"
            f"[logging]\n kdc = FILE:{folder}/kdc.log\n"
        )
        self.environment = {
            "KRB5_CONFIG": str(config),
            "KRB5_KDC_PROFILE": str(profile),
            # Two tests may send the same token within a second; nobody listens in between here.
            "KRB5RCACHENAME": "none:",
        }
        self._run("kdb5_util", "create", "-s", "-r", REALM, "-P", "not a secret of anybody")
        self._server: subprocess.Popen[bytes] | None = None

    def keytab(self, principal: str, name: str = "") -> Path:
        """Make a principal with a fresh random key, and a file that holds it; older files of it are worth nothing."""
        file = self.folder / f"{name or principal.partition('/')[0]}.keytab"
        file.unlink(missing_ok=True)
        known = principal in self._run("kadmin.local", "-r", REALM, "-q", "listprincs")
        if not known:
            self._run("kadmin.local", "-r", REALM, "-q", f"addprinc -randkey {principal}")
        self._run("kadmin.local", "-r", REALM, "-q", f"ktadd -k {file} {principal}")
        return file

    def start(self) -> None:
        """Serve; returns when the port answers."""
        program = shutil.which("krb5kdc", path=PLACES)
        assert program is not None
        self._server = subprocess.Popen(
            [program, "-n", "-r", REALM, "-P", str(self.folder / "pid")],
            env={**os.environ, **self.environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise TimeoutError((self.folder / "kdc.log").read_text() or "the KDC did not start")

    def stop(self) -> None:
        """End the server; tickets that it gave stay good."""
        if self._server is not None:
            self._server.terminate()
            self._server.wait(10)
            self._server = None

    def _run(self, program: str, *arguments: str) -> str:
        path = shutil.which(program, path=PLACES)
        assert path is not None
        done = subprocess.run(
            [path, *arguments], env={**os.environ, **self.environment},
            capture_output=True, text=True, timeout=30, check=True,
        )  # fmt: skip
        return done.stdout

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
