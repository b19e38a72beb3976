"""The supervisor starts, restarts and stops its children, here small stand-ins for the real programs."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from workers.machine import supervisor as supervisor_module
from workers.machine.supervisor import SAME_SIGNAL_SECONDS, Child, Supervisor, Terminal, UpFailed

SLEEP = "import time; time.sleep(60)"
Make = Callable[..., Child]


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    made = Supervisor(Terminal())
    yield made
    made.stop()


def python(tmp_path: Path, code: str, ready: Callable[[], bool] | None = None) -> Child:
    return Child("stand-in", [sys.executable, "-c", code], os.environ, tmp_path, ready)


def tick_until(supervisor: Supervisor, true: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        supervisor.tick()


def state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def test_a_hopeless_child_is_named_with_the_end_of_its_log(
    tmp_path: Path, supervisor: Supervisor, capfd: pytest.CaptureFixture[str]
) -> None:
    supervisor.add(python(tmp_path, "import sys; sys.exit('cannot find my hat')", ready=lambda: False))
    with pytest.raises(UpFailed, match=r"^stand-in does not start; its log is .*stand-in\.log$"):
        supervisor.wait_for("stand-in")
    said = capfd.readouterr().err
    assert "stand-in | cannot find my hat" in said
    assert "stand-in ended (status 1); starting it again in 0.2 s" in said
    assert "starting it again in 0.4 s" in said


def test_stopping_ends_the_whole_group_of_a_child_that_does_not_listen(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    told = tmp_path / "grandchild"
    code = (
        "import os, pathlib, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"grandchild = subprocess.Popen([sys.executable, '-c', {SLEEP!r}])\n"
        f"pathlib.Path({str(told)!r}).write_text(str(grandchild.pid))\n"
        "time.sleep(60)\n"
    )
    child = python(tmp_path, code)
    supervisor.add(child)
    tick_until(supervisor, told.exists)
    time.sleep(0.1)
    leader, grandchild = child.pid, int(told.read_text())
    began = time.monotonic()
    supervisor.stop((("stand-in",), 0.3))
    assert 0.3 <= time.monotonic() - began < 30
    assert leader is not None
    assert not Path(f"/proc/{leader}").exists()
    # The signal is on its way, and nobody of ours reaps a grandchild: it may still be a zombie for a moment.
    deadline = time.monotonic() + 30
    while state_of(grandchild) not in ("", "Z"):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_second_signal_ends_the_waiting(tmp_path: Path, supervisor: Supervisor) -> None:
    told = tmp_path / "deaf"
    code = (
        "import pathlib, signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"pathlib.Path({str(told)!r}).touch()\n"
        "time.sleep(600)\n"
    )
    supervisor.add(python(tmp_path, code))
    tick_until(supervisor, told.exists)
    supervisor.on_signal(2, None)
    time.sleep(SAME_SIGNAL_SECONDS + 0.1)
    supervisor.on_signal(2, None)
    began = time.monotonic()
    supervisor.stop((("stand-in",), 300))
    assert time.monotonic() - began < 60


def test_warnings_and_errors_reach_the_terminal_and_the_rest_the_log(
    tmp_path: Path, supervisor: Supervisor, capfd: pytest.CaptureFixture[str]
) -> None:
    code = f"print('INFO all is well\\nERROR the roof leaks', flush=True)\n{SLEEP}"
    child = python(tmp_path, code)
    supervisor.add(child)
    tick_until(supervisor, lambda: "leaks" in child.log.read_text())
    supervisor.tick()
    said = capfd.readouterr().err
    assert said.count("stand-in | ERROR the roof leaks") == 1
    assert "all is well" not in said


def test_a_flood_of_complaints_is_cut(tmp_path: Path, supervisor: Supervisor) -> None:
    child = python(tmp_path, f"print('ERROR\\n' * 500, end='', flush=True)\n{SLEEP}")
    child.start()
    supervisor.children.append(child)
    deadline = time.monotonic() + 60
    while child.log.stat().st_size < 500 * len("ERROR\n"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    said = child.troubles()
    assert len(said) == supervisor_module.ECHO_LINES + 1
    assert said[-1] == f"490 more such lines in {child.log}"
    assert child.troubles() == []


def test_a_log_never_grows_without_end(
    tmp_path: Path, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "LOG_LIMIT", 1000)
    code = "import time\nwhile True: print('a calm line', flush=True); time.sleep(0.001)"
    child = python(tmp_path, code)
    supervisor.add(child)
    older = child.log.with_suffix(".log.1")
    tick_until(supervisor, older.exists)
    tick_until(supervisor, lambda: 0 < child.log.stat().st_size < 1000)
    assert "a calm line" in older.read_text()
