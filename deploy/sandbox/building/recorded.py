"""Reads the recorded logs of real builds, for machines and architectures where nothing can be compiled.

The logs in ``data/recorded`` are those of ``real_build`` for sources of the mirror's shape on x86_64, by strategy and
branch, with the paths of the machine taken out. A source that does not vendor wazero links the same way whatever the
strategy, so it has one recording a branch. They fit sources of the mirror's shape, and no other.
``python -m tests.contract.sandbox.record_builds`` makes those that are missing.
"""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sandbox.mirror.tree import SAYS, WAZERO

FOLDER = Path(__file__).parents[1] / "data" / "recorded"
ARCH = "x86_64"
BRANCHES = ("f43", "f44")
WITHOUT_WAZERO = "without-wazero"
KINDS = {
    "none": "1.32.1", "compat": "1.32.1", "default": "1.32.1", "strict": "1.32.1",
    "no-wasm": "1.35.6", WITHOUT_WAZERO: "1.31.5",
}  # fmt: skip
"""What was recorded, by strategy or by what the source lacks, and of which version."""
SECONDS = 60
STRATEGY = re.compile(rb"^# Strategy ([a-z-]+):", re.MULTILINE)
# What an architecture is called by Fedora and by Go.
GO_NAMES = {"x86_64": "amd64", "aarch64": "arm64", "ppc64le": "ppc64le", "s390x": "s390x"}


@dataclass(frozen=True)
class Recorded:
    """A recorded build: whether it passed, its log with the names changed, and the log's first line."""

    succeeded: bool
    log: str
    banner: str


def recorded(srpm: Path, name: str, version: str, chroot: str, dist: str) -> Recorded | None:
    """Return the recording that fits a source package in a chroot, with the names changed; None where none fits.

    ``name`` and ``version`` are the package's, ``dist`` is the chroot's (``.fc44``). Reads the whole package.
    """
    found = re.fullmatch(r"\.fc(\d+)", dist)
    kind, strategy = _kind(srpm)
    if found is None or kind not in KINDS:
        return None
    branch = BRANCHES[int(found[1]) >= 44]
    text = recording(kind, branch).read_text()
    was = KINDS[kind]
    of = f"strategy {strategy}" if kind == strategy else "a source without wazero"
    banner = (
        f"REPLAYED by cryopack's sandbox build farm: nothing was compiled for {chroot}; this is the recorded log of "
        f"{package(was)}-{was} ({of}, {branch}, {ARCH}), really built once, with the names changed.\n"
    )
    succeeded = "Bad exit status" not in text
    text = text.replace(package(was), name).replace(was, version).replace(f".fc{branch[1:]}", dist)
    return Recorded(succeeded, rename_arch(text, ARCH, chroot.rpartition("-")[2]), banner)


def recording(kind: str, branch: str) -> Path:
    """Return the path of one recording."""
    return FOLDER / f"{kind}-{branch}.txt"


def package(version: str) -> str:
    """Return the package of a version: cri-o1.32 for 1.32.1."""
    return f"cri-o{version.rpartition('.')[0]}"


def rename_arch(text: str, here: str, there: str) -> str:
    """Return a log with one architecture's names replaced by another's."""
    return text.replace(here, there).replace(GO_NAMES.get(here, here), GO_NAMES.get(there, there))


def _kind(srpm: Path) -> tuple[str, str]:
    """Return which recording fits a source of the mirror's shape, and its spec's strategy; empty texts if none does."""
    try:
        done = subprocess.run(["rpm2cpio", srpm], capture_output=True, timeout=SECONDS, check=True)
        files = dict(_members(done.stdout))
        spec = next((content for name, content in files.items() if name.endswith(".spec")), b"")
        archive = next((content for name, content in files.items() if name.endswith(".tar.gz")), b"")
        said = STRATEGY.search(spec)
        vendors_wazero = _vendors_wazero(archive)
    except (OSError, subprocess.SubprocessError, tarfile.TarError, ValueError):
        return "", ""
    if said is None or vendors_wazero is None:
        return "", ""
    strategy = said[1].decode()
    return (strategy if vendors_wazero else WITHOUT_WAZERO), strategy


def _vendors_wazero(archive: bytes) -> bool | None:
    """Return whether a source of the mirror's shape vendors wazero; None for any other source."""
    ours = False
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        for member in tar:
            if f"/vendor/{WAZERO}/" in member.name:
                return True if ours else _is_ours(tar, member)
            if member.name.endswith("/go.mod") and member.name.count("/") == 1:
                ours = bool(_is_ours(tar, member))
    return False if ours else None


def _is_ours(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bool | None:
    file = tar.extractfile(member) if member.isfile() else None
    return True if file is not None and SAYS.encode() in file.read(10_000) else None


def _members(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the files of a cpio archive of the kind that rpm writes (newc)."""
    at = 0
    while content[at : at + 6] in (b"070701", b"070702"):
        size, length = int(content[at + 54 : at + 62], 16), int(content[at + 94 : at + 102], 16)
        start = (at + 110 + length + 3) & ~3
        yield content[at + 110 : at + 109 + length].decode(), content[start : start + size]
        at = (start + size + 3) & ~3
