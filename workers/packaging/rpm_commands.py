"""Run RPM's programs within limits, with our own macros only, and build SRPMs with rpmbuild."""

from __future__ import annotations

import errno
import hashlib
import importlib.resources
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.domain.reports import Srpm
from service.domain.specs import SpecFile

RPM_CONFIG = Path("/usr/lib/rpm")
OUTPUT_LIMIT = 8 * 1024 * 1024
SRPM_SECONDS = 180.0
_TOP = "/proc/self/cwd"
# Sources are copied and then packed: twice their size, and this much for everything else.
SPARE_BYTES = 16 * 1024 * 1024


class RpmTrouble(OSError):
    """RPM itself is missing, was too slow or was stopped: this machine's fault, not the package's."""


@dataclass(frozen=True)
class Finished:
    """How a command ended: its status, and what it wrote, cut at OUTPUT_LIMIT bytes each."""

    status: int
    output: str
    complaints: str


def macro_files() -> str:
    """Return the ``--macros`` value: RPM's own macros, the platform's, and our stand-ins for Fedora's.

    Macros of the distribution or of a user are never read.

    So a spec parses the same on every machine, and the bytes of a source package do not depend on it.
    """
    ours = Path(str(importlib.resources.files("workers.packaging").joinpath("macros", "fedora.macros")))
    return f"{RPM_CONFIG}/macros:{RPM_CONFIG}/platform/%{{_target}}/macros:{ours}"


def definitions(values: Mapping[str, str]) -> list[str]:
    """Return ``--define`` arguments. An empty value becomes ``%{nil}``, since RPM refuses a macro without a body."""
    return [word for name, value in values.items() for word in ("--define", f"{name} {value or '%{nil}'}")]


def run(
    program: str,
    arguments: Sequence[str],
    *,
    home: Path,
    seconds: float,
    environment: Mapping[str, str] | None = None,
) -> Finished:
    """Run one of RPM's programs in ``home``, which is also its HOME and its TMPDIR.

    Raises RpmTrouble where it is not installed, takes longer than ``seconds`` or was ended by a signal.
    Its children die with it: it leads a process group of its own.
    """
    path = shutil.which(program)
    if path is None:
        raise RpmTrouble(f"{program} is not installed: install rpm-build (Fedora) or rpm (Debian)")
    bare = {
        "PATH": os.defpath,
        "HOME": str(home),
        "TMPDIR": str(home),
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        **(environment or {}),
    }
    output, complaints = home / ".output", home / ".complaints"
    with output.open("wb") as out, complaints.open("wb") as err:
        process = subprocess.Popen(
            [path, *arguments],
            cwd=home,
            env=bare,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        try:
            status = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise RpmTrouble(f"{program} did not end within {seconds:g} s and was stopped") from None
        finally:
            _end(process)
    if status < 0:
        raise RpmTrouble(f"{program} was ended by signal {-status}")
    return Finished(status, _read(output), _read(complaints))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the process group, also where we are stopped ourselves while waiting."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _read(file: Path) -> str:
    with file.open("rb") as handle:
        return handle.read(OUTPUT_LIMIT).decode(errors="replace")


class SrpmFailed(Exception):
    """rpmbuild refuses the spec or a source is missing; ``str(error)`` is one line."""


def build_srpm(
    spec: SpecFile, sources: Sequence[Path], *, directory: Path, epoch: int, seconds: float = SRPM_SECONDS
) -> Srpm:
    """Build the SRPM of ``spec`` with ``rpmbuild -bs`` and put it into ``directory``; the same inputs, the same bytes.

    ``sources`` are files under the names that the spec's Source lines use; the spec's own small files are
    added. ``epoch`` (Unix seconds) becomes every time in the package: build time and the sources' times.
    Owners, modes, build host and payload are fixed too, and the dist tag is empty, so that one package serves
    all branches: ``cri-o1.32-1.32.1-0.1.src.rpm``. An existing file of that name is replaced at once or not
    at all, and nothing but the package is left behind.

    Raises SrpmFailed; RpmTrouble where rpmbuild is missing or too slow; OSError where the disk is full.
    """
    directory.mkdir(parents=True, exist_ok=True)
    _need_space(directory, sources)
    with tempfile.TemporaryDirectory(prefix=".srpm-", dir=directory) as folder:
        top = Path(folder)
        for name in ("SOURCES", "SPECS", "SRPMS"):
            (top / name).mkdir()
        _place(spec, sources, top / "SOURCES", epoch)
        file = top / "SPECS" / spec.name
        file.write_text(spec.text, encoding="utf-8")
        os.utime(file, (epoch, epoch))
        built = run(
            "rpmbuild",
            [f"--macros={macro_files()}", *definitions(_fixed()), "-bs", "--nodeps", f"SPECS/{spec.name}"],
            home=top,
            seconds=seconds,
            environment={"SOURCE_DATE_EPOCH": str(epoch)},
        )
        if built.status != 0:
            raise _failure(built.complaints)
        return _result(spec, top / "SRPMS", directory)


def _fixed() -> dict[str, str]:
    """Return the macros that keep properties of this machine out of the package."""
    return {
        # The header keeps the parsed spec with every path in it, so the folder must have one name everywhere:
        # this is the working directory, which ``run`` sets.
        "_topdir": _TOP,
        "_tmppath": _TOP,
        "dist": "",
        "_buildhost": "cryopack",
        "source_date_epoch_from_changelog": "0",
        "use_source_date_epoch_as_buildtime": "1",
        "clamp_mtime_to_source_date_epoch": "1",
        # Without it the header names the owner of the files on this machine.
        "_srcdefattr": "(0644,root,root)",
        # One thread and a low level: the archive inside is compressed already.
        "_source_payload": "w3.zstdio",
        "optflags": "-O2 -g",
        "packager": "",
        "vendor": "",
        "_invalid_encoding_terminates_build": "1",
    }


def _need_space(directory: Path, sources: Sequence[Path]) -> None:
    try:
        needed = 2 * sum(source.stat().st_size for source in sources) + SPARE_BYTES
    except FileNotFoundError as error:
        raise SrpmFailed(f"the source {Path(str(error.filename)).name} is missing") from error
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"no room for the SRPM: {needed >> 20} MiB needed, {free >> 20} MiB free")


def _place(spec: SpecFile, sources: Sequence[Path], folder: Path, epoch: int) -> None:
    """Copy the sources, because times and modes are changed and the originals are not ours to change."""
    for source in sources:
        shutil.copyfile(source, folder / source.name)
    for name, text in spec.files.items():
        (folder / name).write_text(text, encoding="utf-8")
    for file in folder.iterdir():
        os.chmod(file, 0o644)
        os.utime(file, (epoch, epoch))


def _failure(complaints: str) -> Exception:
    """Return rpmbuild's complaint as an error: OSError for a full disk, else SrpmFailed; one line."""
    text = complaints.replace(f"{_TOP}/", "")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if any("No space left on device" in line or "Disk quota exceeded" in line for line in lines):
        return OSError(errno.ENOSPC, "the disk is full: the SRPM could not be written")
    missing = next((m for line in lines if (m := re.search(r"Bad file: (\S+): No such file", line))), None)
    if missing:
        return SrpmFailed(f"the source {Path(missing[1]).name} is missing")
    first = next(
        (line for line in lines if line.startswith("error:")), lines[0] if lines else "no reason given"
    )
    return SrpmFailed(first.removeprefix("error: ")[:500])


def _result(spec: SpecFile, folder: Path, directory: Path) -> Srpm:
    expected = f"{spec.package}-{spec.version}-{spec.release}.src.rpm"
    made = sorted(file.name for file in folder.iterdir())
    if made != [expected]:
        raise SrpmFailed(f"rpmbuild made {', '.join(made) or 'nothing'}, planned was {expected}")
    with (folder / expected).open("rb+") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
        size = handle.tell()
        # Written to disk before it gets its name: after a crash a package is whole or not there.
        os.fsync(handle.fileno())
    os.replace(folder / expected, directory / expected)
    return Srpm(directory / expected, expected, digest, size)
