"""Make archives like CRI-O's in memory, sound or spoiled in one way."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, field

from service.catalog import load
from service.domain.versions import Version

LAYOUT = load(None, copr_owner="x").packaging["cri-o"].layout
VERSION = Version.parse("1.32.1")
ROOT = "cri-o-1.32.1"
COMMIT = "6c5e39a4f971ee9f9db82e570280b6162dd42fcb"


def tree(version: str = "1.32.1") -> dict[str, bytes]:
    """The files that an inspection looks at, and one more."""
    return {
        "go.mod": b"module github.com/cri-o/cri-o\n\ngo 1.23\n\ntoolchain go1.23.4\n",
        "internal/version/version.go": b'package version\n\n// Version ...\nconst Version = "%s"\n'
        % version.encode(),
        "vendor/modules.txt": (
            b"# github.com/containerd/nri v0.9.0\n## explicit; go 1.21\n"
            b"# github.com/tetratelabs/wazero v1.8.2\n## explicit\ngithub.com/tetratelabs/wazero\n"
        ),
        "README.md": b"# CRI-O\n",
    }


@dataclass
class Made:
    """An archive being made; ``add`` puts in what no honest archive has."""

    files: dict[str, bytes] = field(default_factory=tree)
    root: str = ROOT
    commit: str = COMMIT
    extra: list[tuple[tarfile.TarInfo, bytes]] = field(default_factory=list)

    def add(self, name: str, *, kind: bytes = tarfile.REGTYPE, link: str = "", content: bytes = b"") -> Made:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.size = kind, link, len(content)
        self.extra.append((info, content))
        return self

    def tar(self) -> bytes:
        buffer = io.BytesIO()
        headers = {"comment": self.commit} if self.commit else {}
        with tarfile.open(
            fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, pax_headers=headers
        ) as archive:
            folder = tarfile.TarInfo(self.root)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(folder)
            for name, content in self.files.items():
                info = tarfile.TarInfo(f"{self.root}/{name}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            for info, content in self.extra:
                archive.addfile(info, io.BytesIO(content))
        return buffer.getvalue()

    def packed(self) -> bytes:
        return gzip.compress(self.tar(), mtime=0)


def spoil(tar: bytes, positions: Iterable[int]) -> bytes:
    """The same bytes with some of them turned over."""
    changed = bytearray(tar)
    for position in positions:
        changed[position] ^= 0xFF
    return bytes(changed)
