"""Measure submissions a second to Koji, and what polling builds costs the hub; against the sandbox."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from pathlib import Path

from bench.table import Figure, print_figures
from service.domain.fedora import Branch
from service.domain.planning import BuildTarget
from service.domain.reports import BuildRef, Srpm, SubmissionKey
from service.settings import Settings
from workers.buildsystems import AdapterConfig, BuildSystem, connect

sys.path.insert(0, str(Path(__file__).parents[1] / "deploy"))
from sandbox.testing import Farm

SUBMISSIONS = 100
POLLS = 20
TARGET = BuildTarget(
    id="f44-koji",
    branch=Branch("f44", 44),
    system="koji",
    project="sandbox",
    chroots=("fedora-44-x86_64", "fedora-44-aarch64"),
    options={"koji_target": "f44-candidate"},
)
SPEC = """Name: bench
Version: 1
Release: 1
Summary: A package
License: MIT
BuildArch: noarch

%description
Nothing.

%files
"""


def _srpm(folder: Path) -> Srpm:
    spec = folder / "bench.spec"
    spec.write_text(SPEC)
    command = ["rpmbuild", "-bs", "--nodeps", "--define", f"_topdir {folder}", str(spec)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    (path,) = (folder / "SRPMS").glob("*.src.rpm")
    content = path.read_bytes()
    return Srpm(path, path.name, hashlib.sha256(content).hexdigest(), len(content))


def _adapter(farm: Farm, folder: Path) -> BuildSystem:
    options = {
        "profile": "sandbox", "config_file": str(farm.koji_config), "auth": "password", "user": "packbot",
        "password_file": str(farm.koji_config.with_name("koji-password")),
    }  # fmt: skip
    return connect("koji", AdapterConfig(folder, options))


def _submit(system: BuildSystem, srpm: Srpm, number: int) -> BuildRef:
    return system.submit(srpm, TARGET, SubmissionKey.fresh(number), system.open(TARGET))


def _floor(farm: Farm) -> float:
    """Seconds of one bare call on a kept connection: what every answer of this hub costs at least."""
    hub = xmlrpc.client.ServerProxy(f"{farm.koji_url}/kojihub")
    hub.getAPIVersion()
    started = time.perf_counter()
    for _ in range(SUBMISSIONS):
        hub.getAPIVersion()
    return (time.perf_counter() - started) / SUBMISSIONS


def run() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as name, Farm(Path(name) / "farm", publish="none") as farm:
        farm.pause()
        folder = Path(name)
        srpm, system, floor = _srpm(folder), _adapter(farm, folder), _floor(farm)
        before = len(farm.koji.calls())
        started = time.perf_counter()
        refs = [_submit(system, srpm, number) for number in range(SUBMISSIONS)]
        seconds = time.perf_counter() - started
        calls = (len(farm.koji.calls()) - before) / SUBMISSIONS
        farm.koji.step(count=12)
        before = len(farm.koji.calls())
        started = time.perf_counter()
        for _ in range(POLLS):
            system.poll(refs)
        poll = (time.perf_counter() - started) / POLLS
        polled = (len(farm.koji.calls()) - before) / POLLS
        hourly = 3600 / Settings().poll_seconds * polled
    bare = f"one bare call: {floor * 1000:.1f} ms"
    print_figures(
        "Koji",
        [
            Figure(
                "submissions a second, one worker",
                f"{SUBMISSIONS / seconds:.0f}",
                f"{bare}; {calls:.0f} calls each",
            ),
            Figure(f"one poll of {SUBMISSIONS} running builds", f"{poll * 1000:.0f} ms", bare),
            Figure(
                "calls per running build and hour",
                f"{hourly / SUBMISSIONS:.1f} of {SUBMISSIONS}, {hourly:.0f} of one",
                f"{polled:.0f} call a poll, every {Settings().poll_seconds:.0f} s",
            ),
        ],
    )
