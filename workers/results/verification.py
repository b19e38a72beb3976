"""Verify what was built: download the RPMs of a succeeded chroot, read headers and programs, judge them.

Nothing in an RPM is ever run. rpm reads the header; rpm2cpio undoes whatever compression the payload has, and the cpio
archive is read as a stream. No name in it becomes a path of ours: programs are written to numbered files.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from service.builds.follow_ups import Done, FollowUpWork, NotYet
from service.domain.states import Soundness
from service.domain.verification import (
    RpmFinding,
    RpmHeader,
    compare_files,
    judge_binary,
    judge_header,
    unreadable,
    verdict,
)
from service.results.checks import CheckedRpm, CheckWork, check_work, record_check
from workers.binaries import BinaryUnreadable, read_binary
from workers.buildsystems import BuildSystemError, BuildSystemUnavailable, NeedsPerson
from workers.context import Context
from workers.packaging.rpm_commands import RpmTrouble, run
from workers.results.diagnosis import remark_on_success
from workers.sources.downloads import DownloadRefused, DownloadTrouble, Limits, NotThere, download

RPM_LIMIT = 512 * 1024 * 1024
RPMS_LIMIT = 50
LOOKS = 3
SIMULATED = "the sandbox simulated this build or replayed its log, so there is no RPM"
PAYLOAD_LIMIT = 2 * 1024**3
BINARY_LIMIT = 512 * 1024 * 1024
BINARIES_LIMIT = 200
MEMBERS_LIMIT = 100_000
NAME_LIMIT = 4096
UNPACK_SECONDS = 300.0

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


def verify(ctx: Context, work: FollowUpWork) -> Done:
    """Follow-up: judge the RPMs of one succeeded chroot and record its soundness. Raises NotYet.

    RPMs that cannot be fetched leave the soundness unknown, with the reason; a broken RPM makes it degraded.
    """
    wanted = check_work(ctx.db, work)
    if wanted is None:
        return Done("not verified: the build's release number or chroot is not known")
    try:
        addresses = ctx.system(wanted.place.ref.system).rpm_addresses(wanted.place)
    except BuildSystemUnavailable as error:
        raise NotYet(str(error), retry_after=error.retry_after, spend_try=False) from None
    except NeedsPerson as error:
        return _unknown(ctx, work, wanted, f"not verified: {error}")
    except BuildSystemError as error:
        raise NotYet(str(error)) from None
    if not addresses:
        text = (
            f"not verified: {wanted.place.ref.system} names no RPM of {work.subject} that could be looked at"
        )
        return _unknown(ctx, work, wanted, text)
    spool = ctx.settings.state_dir / "spool"
    spool.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=spool, prefix="rpm-"))
    try:
        return _judge(ctx, work, wanted, addresses, folder)
    except NotThere as error:
        if work.tries < LOOKS:
            raise NotYet(f"an RPM that is not there yet: {error}") from None
        why = f"{error}; {SIMULATED}" if ctx.settings.sandbox else str(error)
        return _unknown(ctx, work, wanted, f"not verified: {why}")
    except DownloadRefused as error:
        return _unknown(ctx, work, wanted, f"not verified: {error}")
    except DownloadTrouble as error:
        raise NotYet(str(error), retry_after=error.retry_after, spend_try=False) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _judge(
    ctx: Context, work: FollowUpWork, wanted: CheckWork, addresses: Sequence[str], folder: Path
) -> Done:
    rpms: list[CheckedRpm] = []
    found: list[RpmFinding] = []
    if len(addresses) > RPMS_LIMIT:
        raise DownloadRefused(f"the chroot has {len(addresses)} RPMs, and {RPMS_LIMIT} are looked at")
    for number, url in enumerate(addresses):
        path = folder / f"{number}.rpm"
        name = url.rpartition("/")[2]
        digest = hashlib.sha256()
        with path.open("wb") as file:

            def keep(piece: bytes, file=file, digest=digest) -> None:  # type: ignore[no-untyped-def]
                file.write(piece)
                digest.update(piece)

            size = download(url, keep, Limits(size=RPM_LIMIT, total=ctx.settings.log_fetch_seconds)).size
        try:
            rpm, judged = _look(path, folder, wanted, size, digest.hexdigest())
        except RpmBroken as error:
            found.append(RpmFinding(name, "", "broken-rpm", "unsound", str(error).replace(path.name, name)))
            continue
        rpms.append(rpm)
        found += judged
        path.unlink()
    main = [rpm for rpm in rpms if rpm.header.name == wanted.expected.name]
    if not main:
        text = f"the build has no RPM called {wanted.expected.name}"
        found.append(RpmFinding(wanted.expected.name, "", "no-package", "unsound", text))
    binaries = sum(rpm.binaries for rpm in rpms)
    soundness = verdict(found, binaries=binaries)
    text = {
        Soundness.SOUND: f"sound: {len(rpms)} RPMs with {binaries} programs, nothing found",
        Soundness.DEGRADED: "degraded: " + "; ".join(
            dict.fromkeys(f"{one.file or one.rpm}: {one.text}" for one in found if one.grade != "note")
        ),
        Soundness.UNKNOWN: f"{len(rpms)} RPMs are as planned; no program is in them to be judged",
    }[soundness]  # fmt: skip
    return _done(ctx, work, wanted, soundness, text[:1500], rpms, found)


def _look(
    path: Path, folder: Path, wanted: CheckWork, size: int, sha256: str
) -> tuple[CheckedRpm, list[RpmFinding]]:
    header = read_header(path, folder)
    judged = judge_header(header, wanted.expected)
    judged += compare_files(header, wanted.before.get(header.name, ()), wanted.version_before)
    inside = folder / "programs"
    inside.mkdir(exist_ok=True)
    count, go = 0, ""
    for program in programs(path, inside):
        count += 1
        try:
            facts = read_binary(program.path)
        except BinaryUnreadable as error:
            judged.append(unreadable(header, program.name, str(error).replace(program.path.name, "it", 1)))
            continue
        go = facts.go.version if facts.go else go
        judged += judge_binary(header, program.name, facts, wanted.go_line)
    return CheckedRpm(header, size, sha256, count, go), judged


def _unknown(ctx: Context, work: FollowUpWork, wanted: CheckWork, text: str) -> Done:
    """Record the soundness as unknown, since no RPM could be looked at, with a remark from the log."""
    remark = remark_on_success(ctx, work)
    told = f"{text}. Its log says: {remark}" if remark else text
    return _done(ctx, work, wanted, Soundness.UNKNOWN, told, [], [])


def _done(
    ctx: Context,
    work: FollowUpWork,
    wanted: CheckWork,
    soundness: Soundness,
    text: str,
    rpms: Sequence[CheckedRpm],
    found: Sequence[RpmFinding],
) -> Done:
    target = ctx.catalog.target(wanted.target)
    demanded = target is not None and target.require_sound
    return Done(
        text,
        lambda session, build, now: record_check(
            session, build, now, chroot=work.subject, soundness=soundness, text=text, rpms=rpms, found=found,
            demanded=demanded,
        ),
    )  # fmt: skip


class RpmBroken(ValueError):
    """The file is no RPM, a damaged one, or beyond a limit; ``str(error)`` is one line."""


@dataclass(frozen=True)
class Program:
    """An ELF file of the payload, written to ``path``; ``name`` is its path in the RPM."""

    name: str
    path: Path


def read_header(rpm: Path, home: Path) -> RpmHeader:
    """Read a package's header with rpm. Raises RpmBroken, and RpmTrouble where rpm itself is missing or too slow."""
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
    """Yield the ELF files of a package's payload, each written below ``folder``, which the caller removes.

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
    # A payload that never ends would keep us in read(): the timer ends the process, and with it the read.
    clock = threading.Timer(UNPACK_SECONDS, _kill, [process])
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
    """The payload's bytes as a stream that ends with an error beyond PAYLOAD_LIMIT."""

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
