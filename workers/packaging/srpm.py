"""A spec and its sources become a source package: the same inputs, the same bytes."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from service.domain.reports import Srpm
from service.domain.specs import SpecFile
from workers.packaging.rpm_commands import definitions, macro_files, run

SECONDS = 180.0
_TOP = "/proc/self/cwd"
# Sources are copied and then packed: twice their size, and this much for everything else.
SPARE_BYTES = 16 * 1024 * 1024


class SrpmFailed(Exception):
    """rpmbuild refuses the spec or a source is missing; ``str(error)`` is one line."""


def build_srpm(
    spec: SpecFile, sources: Sequence[Path], *, directory: Path, epoch: int, seconds: float = SECONDS
) -> Srpm:
    """Make the source package of ``spec`` with ``rpmbuild -bs`` and put it into ``directory``.

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
    """The macros that keep the machine out of the package."""
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
    """Copies, because times and modes are changed and the originals belong to somebody else."""
    for source in sources:
        shutil.copyfile(source, folder / source.name)
    for name, text in spec.files.items():
        (folder / name).write_text(text, encoding="utf-8")
    for file in folder.iterdir():
        os.chmod(file, 0o644)
        os.utime(file, (epoch, epoch))


def _failure(complaints: str) -> Exception:
    """Our own machine's trouble apart from the package's; one line either way."""
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
        # On disk before its name is: after a crash a package is whole or not there.
        os.fsync(handle.fileno())
    os.replace(folder / expected, directory / expected)
    return Srpm(directory / expected, expected, digest, size)
