"""The supervisor with its real children: what it starts and restarts, and that nothing survives it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from sandbox.farm import Sandbox
from tests.servers import NO_TLS, free_port

CRYOPACK = Path(sys.executable).with_name("cryopack")
CHILDREN = {
    "web": "uvicorn",
    "worker": " --queues cryopack ",
    "fetcher": " --queues cryopack-fetch ",
    "beat": " beat ",
    "broker": "valkey-server",
    "sandbox": "deploy/sandbox",
}


def processes_of(state: Path) -> dict[int, str]:
    """Living processes that were given this state directory, or work below it: number to command line."""
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
            given = f"CRYOPACK_STATE_DIR={state}".encode() in (entry / "environ").read_bytes().split(b"\0")
            below = str((entry / "cwd").readlink()).startswith(str(state))
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (OSError, ValueError):
            continue
        if (given or below) and stat[0] != "Z":
            found[int(entry.name)] = command
    return found


def wait_until(true: Callable[[], object], seconds: float) -> bool:
    """Whether it became true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.1)
    return bool(true())


def leads_a_session(pid: int) -> bool:
    """Whether a process is a child of the supervisor itself; False where it has ended meanwhile."""
    try:
        return os.getsid(pid) == pid
    except ProcessLookupError:
        return False


def without(program: str, folder: Path) -> Path:
    """A folder with every program on the path but one, for want of which the sandbox compiles nothing.

    What it does with all of them at hand is the matter of ``tests/contract/sandbox/test_real_builds.py``.
    """
    folder.mkdir()
    for place in os.environ.get("PATH", os.defpath).split(os.pathsep):
        for found in Path(place).iterdir() if Path(place).is_dir() else ():
            if found.name != program and not (folder / found.name).exists():
                (folder / found.name).symlink_to(found)
    return folder


class Up:
    """One ``cryopack up`` on a state directory."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        # As often as the sandbox's pace below; the times that the demonstration itself takes have a test of their own.
        often = {
            "CRYOPACK_SWEEP_SECONDS": "0.3",
            "CRYOPACK_POLL_SECONDS": "0.3",
            "CRYOPACK_RETRY_SECONDS": "0.3",
        }
        path = without("readelf", state.with_name("programs"))
        self.environment = {**os.environ, **often, "PATH": str(path), "CRYOPACK_STATE_DIR": str(state)}
        self.output = state.with_suffix(".output")
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0

    def start(self, *before: str, after: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        command = [*before, str(CRYOPACK), "up", "--port", str(self.port), *after]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                command, env=self.environment, cwd=self.state.parent, stdout=output, stderr=output
            )
        return self.process

    def started(self) -> Up:
        process = self.start()
        wait_until(lambda: "Ctrl-C stops it" in self.said() or process.poll() is not None, 60)
        assert "Ctrl-C stops it" in self.said(), self.said()
        return self

    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def once(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [CRYOPACK, *arguments],
            env=self.environment,
            cwd=self.state.parent,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def get(self, path: str) -> int:
        try:
            return httpx2.get(self.url + path, timeout=5, trust_env=False, verify=NO_TLS).status_code
        except httpx2.HTTPError:
            return 0

    def children(self) -> dict[str, int]:
        assert self.process is not None
        leaders = {
            pid: command for pid, command in processes_of(self.state).items()
            if pid != self.process.pid and leads_a_session(pid)
        }  # fmt: skip
        return {
            name: pid
            for name, word in CHILDREN.items()
            for pid, command in leaders.items()
            if word in command
        }

    def hurry(self) -> None:
        """Builds of the sandbox take moments, as in every other test."""
        mirror = json.loads((self.state / "ports.json").read_text())["mirror"]
        address = f"http://127.0.0.1:{mirror}/_sandbox/pace"
        said = httpx2.post(address, json={"seconds": 0.05}, timeout=10, trust_env=False, verify=NO_TLS)
        said.raise_for_status()

    def stopped_by(self, signum: int) -> None:
        """Send a signal that asks for an orderly stop, and see that it was one."""
        self.send(signum)
        assert self.process is not None
        assert self.process.wait(60) == 0
        assert processes_of(self.state) == {}

    def send(self, signum: int) -> None:
        assert self.process is not None
        self.process.send_signal(signum)


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    state = tmp_path / "state"
    # Upstream has released nothing yet but what the test delivers: the rest would be built as well, beside it.
    Sandbox(state / "sandbox", pace=1, publish="none").close()
    made = Up(state)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.process.kill()
        made.process.wait(10)
    for pid in processes_of(state):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def build_states(up: Up) -> list[str]:
    """The states of the sample's builds, in the order of the alphabet."""
    return sorted(build["state"] for build in builds(up))


def builds(up: Up) -> list[dict[str, Any]]:
    """The sample's builds."""
    address = up.url + "/api/v1/releases/cri-o/1.32.1"
    answer = httpx2.get(address, timeout=5, trust_env=False, verify=NO_TLS)
    return list(answer.json().get("attempts", ()))


def merge_at_the_forge(up: Up) -> None:
    """Press the button on the page of the pull request that a build waits for."""
    (reason,) = [build["reason"] for build in builds(up) if build["state"] == "held"]
    address = re.fullmatch(r"waits for the merge of pull request #1 \((http://\S+)\)", reason)
    assert address is not None, reason
    page = httpx2.get(address[1], timeout=5, trust_env=False, verify=NO_TLS).text
    assert "Update cri-o1.32 to 1.32.1 on f44" in page and "+Version:        1.32.1" in page
    form = {"key": re.findall(r'name="key" value="(\w+)"', page)[0], "act": "merge"}
    said = httpx2.post(address[1], data={**form, "key": "x"}, timeout=5, trust_env=False, verify=NO_TLS)
    assert said.status_code == 403
    said = httpx2.post(address[1], data=form, timeout=5, trust_env=False, verify=NO_TLS)
    assert said.status_code == 303, said.text


def test_the_sample_release_is_built_and_a_second_start_delivers_nothing_again(up: Up) -> None:
    up.started()
    up.hurry()
    ports = (up.state / "ports.json").read_text()
    assert f"{up.url} is ready" in up.said()
    assert "builds are simulated" in up.said()
    assert "delivered the sample release cri-o/cri-o v1.32.1" in up.said()
    # The official build waits for somebody to merge its pull request, on the page that its reason names.
    assert wait_until(lambda: build_states(up) == ["held"] + ["succeeded"] * 8, 120), build_states(up)
    merge_at_the_forge(up)
    assert wait_until(lambda: build_states(up) == ["succeeded"] * 9, 60), build_states(up)
    assert up.children().keys() == CHILDREN.keys()
    up.stopped_by(signal.SIGINT)
    assert not re.search(r"\b(ERROR|CRITICAL|Traceback)\b", up.said()), up.said()
    began = time.monotonic()
    up.started()
    assert time.monotonic() - began < 60
    assert "delivered the sample" not in up.said()
    assert (up.state / "ports.json").read_text() == ports
    up.stopped_by(signal.SIGTERM)


def test_killed_children_come_back_and_a_second_supervisor_is_refused(up: Up) -> None:
    up.started()
    assert wait_until(lambda: up.children().keys() == CHILDREN.keys(), 60)
    before = up.children()
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)

    def all_new() -> bool:
        now = up.children()
        return now.keys() == before.keys() and not set(now.values()) & set(before.values())

    assert wait_until(all_new, 60), up.children()
    assert wait_until(lambda: up.get("/readyz") == 200, 60)
    assert all(f"{name} ended (signal 9)" in up.said() for name in before), up.said()
    # The whole way works again: a second delivery comes in through the new web, broker and worker.
    sent = up.once("send-release", "v1.32.1", "--action", "edited")
    assert sent.stdout.startswith("HTTP 202"), (sent.stdout, sent.stderr)
    # One supervisor a state directory, and the one that is there is not disturbed.
    assert up.process is not None
    said = up.once("up", "--port", str(free_port()))
    assert said.returncode == 1
    assert said.stderr == f"cryopack: another 'cryopack up' (process {up.process.pid}) runs on {up.state}\n"
    assert up.get("/readyz") == 200


def test_a_killed_supervisor_leaves_nothing_and_the_next_one_starts(up: Up) -> None:
    up.started()
    assert wait_until(lambda: up.children().keys() == CHILDREN.keys(), 60)
    up.send(signal.SIGKILL)
    assert up.process is not None
    up.process.wait(60)
    assert wait_until(lambda: processes_of(up.state) == {}, 60), processes_of(up.state)
    for notes in up.state.glob("beat-schedule*"):
        notes.write_bytes(b"cut off in the mid")
    up.started()
    assert wait_until(lambda: up.children().keys() == CHILDREN.keys(), 60)
    time.sleep(1)
    assert " ended (" not in up.said()


def test_with_parent_it_goes_when_its_parent_goes(up: Up) -> None:
    shell = up.start("sh", "-c", '"$0" "$@" & wait', after=("--with-parent",))
    assert wait_until(lambda: "Ctrl-C stops it" in up.said(), 60), up.said()
    shell.kill()
    shell.wait(60)
    assert wait_until(lambda: processes_of(up.state) == {}, 60), processes_of(up.state)
    assert "nothing is left running" in up.said()


def test_a_second_signal_does_not_wait(up: Up) -> None:
    up.started()
    assert wait_until(lambda: up.children().keys() == CHILDREN.keys(), 60)
    os.kill(up.children()["web"], signal.SIGSTOP)
    up.send(signal.SIGINT)
    time.sleep(0.8)
    assert up.process is not None
    assert up.process.poll() is None, "a stopped web process cannot have ended yet"
    up.send(signal.SIGINT)
    up.process.wait(60)
    assert processes_of(up.state) == {}


def test_a_taken_port_is_one_line(up: Up) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", up.port))
        taken.listen()
        said = up.once("up", "--port", str(up.port))
    assert said.returncode == 1
    assert said.stderr == f"cryopack: port {up.port} on 127.0.0.1 is not free (Address already in use)\n"
    assert processes_of(up.state) == {}


def test_a_service_that_cannot_start_is_named(up: Up) -> None:
    up.environment["CRYOPACK_API_READ"] = "nobody"
    said = up.once("up", "--port", str(up.port))
    assert said.returncode == 1
    assert said.stderr.startswith("cryopack: CRYOPACK_API_READ: ")
    assert said.stderr.count("\n") == 1
    assert processes_of(up.state) == {}
