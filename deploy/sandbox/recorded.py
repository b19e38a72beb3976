"""Logs of builds that were really made once, shown again where nothing can be compiled.

The logs in ``data/recorded`` are those of ``real_build`` for the mirror's v1.32.1 on x86_64, by strategy and branch,
with the paths of the machine taken out. They fit a source of the mirror's shape that vendors wazero, and no other.
"""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sandbox.mirror_go import WAZERO
from sandbox.mirror_tree import SAYS

FOLDER = Path(__file__).parent / "data" / "recorded"
NAME, VERSION, ARCH = "cri-o1.32", "1.32.1", "x86_64"
SECONDS = 60
STRATEGY = re.compile(rb"^# Strategy ([a-z]+):", re.MULTILINE)
# What an architecture is called by Fedora and by Go.
GO_NAMES = {"x86_64": "amd64", "aarch64": "arm64", "ppc64le": "ppc64le", "s390x": "s390x"}


@dataclass(frozen=True)
class Recorded:
    """A build that was made once: whether it passed, its log in another's names, and the log's first line."""

    succeeded: bool
    log: str
    face: str


def recorded(srpm: Path, name: str, version: str, chroot: str, dist: str) -> Recorded | None:
    """The recording that fits a source package in a chroot, with the names changed; None where none fits.

    ``name`` and ``version`` are the package's, ``dist`` is the chroot's (``.fc44``). Reads the whole package.
    """
    found = re.fullmatch(r"\.fc(\d+)", dist)
    strategy = _strategy(srpm)
    if found is None or not strategy:
        return None
    branch = "f43" if int(found[1]) < 44 else "f44"
    path = FOLDER / f"{strategy}-{branch}.txt"
    if not path.exists():
        return None
    text = path.read_text()
    face = (
        f"REPLAYED by cryopack's sandbox build farm: nothing was compiled for {chroot}; this is the recorded log of "
        f"{NAME}-{VERSION} (strategy {strategy}, {branch}, {ARCH}), really built once, with the names changed.\n"
    )
    succeeded = "Bad exit status" not in text
    text = text.replace(NAME, name).replace(VERSION, version).replace(f".fc{branch[1:]}", dist)
    return Recorded(succeeded, as_of_arch(text, ARCH, chroot.rpartition("-")[2]), face)


def as_of_arch(text: str, here: str, there: str) -> str:
    """A log with the architecture's name changed."""
    return text.replace(here, there).replace(GO_NAMES.get(here, here), GO_NAMES.get(there, there))


def _strategy(srpm: Path) -> str:
    """The strategy that the spec names, if the source is the mirror's and vendors wazero; else empty."""
    try:
        done = subprocess.run(["rpm2cpio", srpm], capture_output=True, timeout=SECONDS, check=True)
        files = dict(_members(done.stdout))
        spec = next((content for name, content in files.items() if name.endswith(".spec")), b"")
        archive = next((content for name, content in files.items() if name.endswith(".tar.gz")), b"")
        said = STRATEGY.search(spec)
        return said[1].decode() if said and _is_ours(archive) else ""
    except (OSError, subprocess.SubprocessError, tarfile.TarError, ValueError):
        return ""


def _is_ours(archive: bytes) -> bool:
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        for member in tar:
            if f"/vendor/{WAZERO}/" in member.name and member.isfile():
                file = tar.extractfile(member)
                return file is not None and SAYS.encode() in file.read(10_000)
    return False


def _members(content: bytes) -> Iterator[tuple[str, bytes]]:
    """The files of a cpio archive of the kind that rpm writes (newc)."""
    at = 0
    while content[at : at + 6] in (b"070701", b"070702"):
        size, length = int(content[at + 54 : at + 62], 16), int(content[at + 94 : at + 102], 16)
        start = (at + 110 + length + 3) & ~3
        yield content[at + 110 : at + 109 + length].decode(), content[start : start + size]
        at = (start + size + 3) & ~3
