"""A built RPM read for what it is: rpm reads the header, the payload is walked here. Nothing of it is ever run.

rpm2cpio undoes whatever compression the payload has; its output is a cpio archive that is read as a stream. No name of
it becomes a path of ours: programs are written to numbered files.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from service.domain.verification import RpmHeader
from workers.packaging.rpm_commands import RpmTrouble, run

PAYLOAD_LIMIT = 2 * 1024**3
BINARY_LIMIT = 512 * 1024 * 1024
BINARIES_LIMIT = 200
MEMBERS_LIMIT = 100_000
NAME_LIMIT = 4096
SECONDS = 300.0

_PIECE = 1024 * 1024
_HEADER = 110
_MAGICS = (b"070701", b"070702")
# rpm's own form for members whose facts stand in the RPM's header only (files of 4 GiB and more).
_STRIPPED = b"07070X"
_END = b"TRAILER!!!"
_REGULAR = 0o100000
_QUERY = (
    "N\t%{NAME}\nV\t%{VERSION}\nR\t%{RELEASE}\nA\t%{ARCH}\n"
    "[P\t%{PROVIDENAME} %{PROVIDEFLAGS:depflags} %{PROVIDEVERSION}\n]"
    "[C\t%{CONFLICTNAME} %{CONFLICTFLAGS:depflags} %{CONFLICTVERSION}\n]"
    "[Q\t%{REQUIRENAME} %{REQUIREFLAGS:depflags} %{REQUIREVERSION}\n]"
    "[F\t%{FILENAMES}\n]"
)


class RpmBroken(ValueError):
    """The file is no RPM, a damaged one, or beyond a limit; ``str(error)`` is one line."""


@dataclass(frozen=True)
class Program:
    """A file of the payload that begins as ELF does, written to ``path``; ``name`` is what the RPM calls it."""

    name: str
    path: Path


def read_header(rpm: Path, home: Path) -> RpmHeader:
    """What rpm says of a package. Raises RpmBroken, and RpmTrouble where rpm itself is missing or too slow."""
    done = run("rpm", ["-qp", "--nosignature", "--qf", _QUERY, str(rpm)], home=home, seconds=60.0)
    if done.status or not done.output.startswith("N\t"):
        said = done.complaints.strip().splitlines()
        raise RpmBroken(f"rpm cannot read {rpm.name}: {(said or ['no reason given'])[0][:200]}")
    values: dict[str, list[str]] = {}
    for line in done.output.split("\n"):
        key, _, value = line.partition("\t")
        values.setdefault(key, []).append(" ".join(value.split()))
    return RpmHeader(
        name=values["N"][0],
        version=values.get("V", [""])[0],
        release=values.get("R", [""])[0],
        arch=values.get("A", [""])[0],
        provides=tuple(values.get("P", ())),
        conflicts=tuple(values.get("C", ())),
        requires=tuple(values.get("Q", ())),
        files=tuple(values.get("F", ())),
    )


def programs(rpm: Path, folder: Path) -> Iterator[Program]:
    """The ELF files of a package's payload, each written below ``folder``; the caller removes it.

    Raises RpmBroken for a damaged payload or one beyond a limit, RpmTrouble where rpm2cpio is missing.
    """
    path = shutil.which("rpm2cpio")
    if path is None:
        raise RpmTrouble("rpm2cpio is not installed: install rpm (Fedora) or rpm2cpio (Debian)")
    process = subprocess.Popen(
        [path, str(rpm)],
        env={"PATH": os.defpath, "HOME": str(folder), "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    # A payload that says nothing for ever would hold us in read(): the clock ends the process, and so the read.
    clock = threading.Timer(SECONDS, _kill, [process])
    clock.start()
    try:
        assert process.stdout is not None, "it was asked for"
        yield from _walk(_Stream(process.stdout, rpm.name), folder)
    finally:
        clock.cancel()
        _kill(process)
        process.wait()


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


class _Stream:
    """The payload's bytes in order, counted."""

    def __init__(self, source: IO[bytes], name: str) -> None:
        self._source = source
        self.name = name
        self._read = 0

    def take(self, count: int) -> bytes:
        self._read += count
        if self._read > PAYLOAD_LIMIT:
            raise RpmBroken(f"{self.name} unpacks to more than {PAYLOAD_LIMIT >> 20} MiB")
        data = self._source.read(count)
        if len(data) != count:
            raise RpmBroken(f"the payload of {self.name} ends too early")
        return data

    def align(self) -> None:
        self.take(-self._read % 4)


def _walk(stream: _Stream, folder: Path) -> Iterator[Program]:
    found = 0
    for _ in range(MEMBERS_LIMIT):
        head = stream.take(6)
        if head == _STRIPPED:
            raise RpmBroken(f"{stream.name} has a payload without sizes, which is not read here")
        if head not in _MAGICS:
            raise RpmBroken(f"the payload of {stream.name} is no cpio archive")
        rest = stream.take(_HEADER - 6)
        try:
            fields = [int(rest[at : at + 8], 16) for at in range(0, 104, 8)]
        except ValueError:
            raise RpmBroken(f"the payload of {stream.name} has a damaged entry") from None
        mode, size, length = fields[1], fields[6], fields[11]
        if not 0 < length <= NAME_LIMIT:
            raise RpmBroken(f"the payload of {stream.name} has a name of {length} bytes")
        name = stream.take(length).rstrip(b"\0")
        stream.align()
        if name == _END:
            return
        program = None
        if size:
            program = _member(stream, size, folder / str(found), regular=mode & 0o170000 == _REGULAR)
        stream.align()
        if program is not None:
            found += 1
            if found > BINARIES_LIMIT:
                raise RpmBroken(f"{stream.name} holds more than {BINARIES_LIMIT} programs")
            yield Program("/" + name.decode("utf-8", "replace").removeprefix(".").lstrip("/"), program)
            program.unlink(missing_ok=True)
    raise RpmBroken(f"{stream.name} holds more than {MEMBERS_LIMIT} files")


def _member(stream: _Stream, size: int, path: Path, *, regular: bool) -> Path | None:
    first = stream.take(min(size, _PIECE))
    elf = regular and first.startswith(b"\x7fELF")
    if elf and size > BINARY_LIMIT:
        raise RpmBroken(f"a program in {stream.name} is larger than {BINARY_LIMIT >> 20} MiB")
    left = size - len(first)
    if not elf:
        while left:
            left -= len(stream.take(min(left, _PIECE)))
        return None
    with path.open("wb") as file:
        file.write(first)
        while left:
            piece = stream.take(min(left, _PIECE))
            left -= len(piece)
            file.write(piece)
    return path
