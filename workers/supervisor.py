"""Runs programs as children: restarts what dies, keeps what they print, leaves nothing behind.

One thread and one ``select`` loop: a child's death signal follows the thread that forked it, and a fork
beside other threads is not safe.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Any

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)
FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 30.0
# A child that lived this long and dies has had an accident; it is not failing to start.
SOUND_AFTER_SECONDS = 20.0
LOG_BYTES = 10 * 1024 * 1024
LINE_BYTES = 64 * 1024
TROUBLE = re.compile(r"\b(warning|error|critical|traceback|exception)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Program:
    """What to run. ``stage`` orders the stop: lower ones go first, and have ``stop_seconds`` to do so."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    stage: int = 0
    stop_seconds: float = 4.0
    shown: re.Pattern[str] | None = TROUBLE
    on_line: Callable[[str], None] = lambda line: None
    pass_fds: tuple[int, ...] = ()


@dataclass
class Child:
    """One program and the process that is its present life; ``restart_at`` while it has none."""

    program: Program
    log: Path
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    restart_at: float = 0.0
    failures: int = 0
    rest: bytes = b""
    lives: int = 0


def die_with_parent(sig: int = signal.SIGKILL) -> None:
    """Ask the kernel to send us ``sig`` when the thread that started us ends, however it ends."""
    LIBC.prctl(PR_SET_PDEATHSIG, sig)


def say(text: str) -> None:
    """Print one line; a terminal that has gone away is no reason to stop."""
    with contextlib.suppress(OSError, ValueError):
        print(text, flush=True)


@dataclass
class Supervisor:
    """A context manager that owns the children and, while it is open, the process's signals."""

    log_dir: Path
    signals: int = 0
    _children: dict[str, Child] = field(default_factory=dict)
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    _old_handlers: dict[int, Any] = field(default_factory=dict)
    _stopping: bool = False

    def __enter__(self) -> Supervisor:
        self.log_dir.mkdir(parents=True, exist_ok=True)
        # A signal must end a waiting select at once, and a plain handler would let it go on waiting.
        self._ours, theirs = socket.socketpair()
        self._theirs = theirs
        self._ours.setblocking(False)
        theirs.setblocking(False)
        self._old_wakeup = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        self._selector.register(self._ours, selectors.EVENT_READ, None)
        for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._old_handlers[sig] = signal.signal(sig, self._asked_to_stop)
        self._old_handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        for sig, handler in self._old_handlers.items():
            signal.signal(sig, handler)
        signal.set_wakeup_fd(self._old_wakeup)
        self._selector.close()
        self._ours.close()
        self._theirs.close()

    def _asked_to_stop(self, number: int, frame: FrameType | None) -> None:
        self.signals += 1

    def start(self, program: Program) -> None:
        """Start a program and keep it running until ``stop``. Raises OSError if it cannot be executed."""
        child = Child(program, self.log_dir / f"{program.name}.log")
        self._children[program.name] = child
        self._launch(child)

    def lives(self, name: str) -> int:
        """How often a program was started so far."""
        return self._children[name].lives

    def until(self, ready: Callable[[], bool], seconds: float) -> bool:
        """Supervise until ``ready()`` or a signal or the time is over; what ``ready`` said last."""
        deadline = time.monotonic() + seconds
        while not self.signals:
            if ready():
                return True
            if time.monotonic() > deadline:
                return False
            self.turn(0.1)
        return False

    def run(self) -> None:
        """Supervise until a signal asks to stop."""
        while not self.signals:
            self.turn(1.0)

    def turn(self, seconds: float) -> None:
        """Wait at most ``seconds`` for output, a death or a signal, and see to it."""
        for key, _ in self._selector.select(seconds):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    self._ours.recv(4096)
            else:
                self._read(key.fileobj, key.data)
        now = time.monotonic()
        for child in self._children.values():
            if child.process is not None:
                if has_ended(child.process):
                    self._bury(child)
            elif not self._stopping and now >= child.restart_at:
                self._launch(child)

    def stop(self) -> None:
        """End every child, stage by stage; a second signal ends them all at once. Safe to repeat."""
        self._stopping = True
        for stage in sorted({child.program.stage for child in self._children.values()}):
            members = [child for child in self._children.values() if child.program.stage == stage]
            asked = self.signals
            for child in members:
                if child.process is not None:
                    # Not Popen.terminate(): that may reap the child, whose group we still have to end.
                    os.kill(child.process.pid, signal.SIGTERM)
            deadline = time.monotonic() + max(child.program.stop_seconds for child in members)
            while any(child.process for child in members):
                if time.monotonic() > deadline or (self.signals > asked and self.signals > 1):
                    for child in members:
                        kill_group(child)
                self.turn(0.1)

    def _launch(self, child: Child) -> None:
        program = child.program
        if child.log.exists() and child.log.stat().st_size > LOG_BYTES:
            child.log.replace(child.log.with_suffix(".log.1"))
        parent = os.getpid()

        def tie() -> None:
            die_with_parent()
            if os.getppid() != parent:
                os._exit(1)

        child.process = subprocess.Popen(
            program.command,
            env=dict(program.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=program.pass_fds,
            preexec_fn=tie,
        )
        assert child.process.stdout is not None
        os.set_blocking(child.process.stdout.fileno(), False)
        self._selector.register(child.process.stdout, selectors.EVENT_READ, child)
        child.started_at = time.monotonic()
        child.lives += 1

    def _read(self, pipe: Any, child: Child) -> None:
        data = os.read(pipe.fileno(), LINE_BYTES)
        if not data:
            self._selector.unregister(pipe)
            pipe.close()
            return
        with contextlib.suppress(OSError), child.log.open("ab") as log:
            log.write(data)
        *lines, child.rest = (child.rest + data).split(b"\n")
        if len(child.rest) > LINE_BYTES:
            child.rest = b""
        for line in lines:
            text = line.decode("utf-8", "replace").rstrip()
            child.program.on_line(text)
            if child.program.shown and child.program.shown.search(text):
                say(f"{child.program.name:>8} | {text}")

    def _bury(self, child: Child) -> None:
        assert child.process is not None
        kill_group(child)
        status = child.process.wait()
        self._drain(child.process.stdout, child)
        child.process = None
        if self._stopping or self.signals:
            return
        now = time.monotonic()
        child.failures = 0 if now - child.started_at > SOUND_AFTER_SECONDS else child.failures + 1
        delay = min(FIRST_DELAY_SECONDS * 2 ** max(child.failures - 1, 0), LONGEST_DELAY_SECONDS)
        child.restart_at = now + delay
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        say(f"{child.program.name:>8} | {how}; starting it again in {delay:g} s (see {child.log})")

    def _drain(self, pipe: IO[bytes] | None, child: Child) -> None:
        # A grandchild may still hold the other end; what is there now is the last that matters.
        while pipe is not None and not pipe.closed:
            try:
                self._read(pipe, child)
            except BlockingIOError:
                self._selector.unregister(pipe)
                pipe.close()


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether a child has ended, without reaping it: until then its group's number cannot be another's."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def kill_group(child: Child) -> None:
    """SIGKILL to a child that is not reaped yet and to everything in its group."""
    if child.process is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.process.pid, signal.SIGKILL)


def this_python(*arguments: str) -> tuple[str, ...]:
    """A command line that runs a module with the interpreter that runs us."""
    return (sys.executable, "-m", *arguments)
