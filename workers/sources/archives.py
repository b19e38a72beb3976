"""What an upstream archive says of itself, read as a stream: nothing of it is ever written to disk."""

from __future__ import annotations

import gzip
import hashlib
import posixpath
import re
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from service.domain.sources import SourceFacts, SourceLayout, vendored_modules
from service.domain.versions import Version

_BLOCK = 512
# tarfile reads a header's extension in one go; none of a git archive comes near this.
_LONGEST_READ = 128 * 1024
_SMALL_FILE = 1024 * 1024
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?", re.ASCII)
_GO_LINE = re.compile(
    r"^go[ \t]+(\d{1,3}\.\d{1,3}(?:\.\d{1,3})?(?:rc\d{1,2})?)[ \t]*(?://.*)?$", re.MULTILINE
)
_MODULE_LINE = re.compile(r"^module[ \t]+\"?([^\s\"]{1,200})\"?[ \t]*(?://.*)?$", re.MULTILINE)
_MODULE_VERSION = re.compile(r"v[0-9A-Za-z.+-]{1,80}", re.ASCII)
_VENDORED = {
    "github.com/tetratelabs/wazero": "wazero",
    "github.com/wazero/wazero": "wazero",
    "github.com/containerd/nri": "nri",
}


class SourceRefused(Exception):
    """The archive is not what a release's must be; ``str(error)`` is one line. Another try will not help."""


class SourceDamaged(SourceRefused):
    """The bytes are no whole archive: a cut or garbled download, so that a new download may help."""


@dataclass(frozen=True)
class ArchiveLimits:
    """Bounds of an archive: bytes unpacked, bytes of one file, members, unpacked bytes per packed one."""

    total: int = 1024 * 1024 * 1024
    file: int = 128 * 1024 * 1024
    members: int = 60_000
    ratio: int = 100


def inspect(
    path: Path, version: Version, layout: SourceLayout, *, limits: ArchiveLimits | None = None
) -> SourceFacts:
    """Read the gzipped tar at ``path`` and return the facts of ``version``'s source.

    Refused are: more than the one root folder; absolute paths, ``..`` and links that lead out; anything but
    files, folders and links; a name twice; more bytes, members or compression than ``limits``; a cut-off
    archive; another version inside; no go.mod, no ``vendor/modules.txt``. The commit comes from the pax
    header that ``git archive`` writes, and is empty where there is none. An archive without the files of some
    vendored packages is passed and said to be partial.

    Raises SourceRefused, and OSError for our disk's sake.
    """
    limits = limits or ArchiveLimits()
    wanted = {"go.mod", "vendor/modules.txt"} | ({layout.version_file} - {""})
    with path.open("rb") as handle:
        sha256 = hashlib.file_digest(handle, "sha256").hexdigest()
        size = handle.tell()
        handle.seek(0)
        try:
            walk = _Walk(handle, layout.root_folder(version), wanted, limits)
            walk.through()
        except _BAD_ARCHIVE as error:
            raise SourceDamaged(f"the archive is damaged ({_line(error)})") from error
    for name in sorted(wanted - set(walk.texts)):
        raise SourceRefused(f"the archive has no {name}")
    _check_version(walk.texts, version, layout)
    modules = walk.texts["vendor/modules.txt"]
    vendored = _vendored(modules)
    return SourceFacts(
        origin="archive",
        go=_go(walk.texts["go.mod"], layout),
        wazero=vendored.get("wazero", ""),
        nri=vendored.get("nri", ""),
        commit=walk.commit,
        modules=vendored_modules(walk.texts["vendor/modules.txt"]),
        sha256=sha256,
        size=size,
        partial=_partial(modules, walk.vendored),
    )


_BAD_ARCHIVE = (
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    ValueError,
    OverflowError,
    RecursionError,
)


class _Bounded:
    """The unpacked stream, forward only, with an end to every appetite. tarfile sees it as its file."""

    def __init__(self, packed: BinaryIO, limits: ArchiveLimits) -> None:
        self._packed = packed
        self._plain = gzip.GzipFile(fileobj=packed, mode="rb")
        self._limits = limits
        self._position = 0
        self.last = b""

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _LONGEST_READ:
            raise SourceRefused(f"the archive has a header of {size} bytes")
        self.last = self._plain.read(size)
        self._position += len(self.last)
        if self._position > self._limits.total:
            raise SourceRefused(f"the archive unpacks to more than {self._limits.total >> 20} MiB")
        # The first mebibyte is let pass: a small archive of zeros and headers may be packed that tight.
        if self._position > _SMALL_FILE and self._position > self._limits.ratio * max(self._packed.tell(), 1):
            raise SourceRefused(f"the archive unpacks to more than {self._limits.ratio} times its size")
        return self.last

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence != 0 or offset < self._position:
            raise tarfile.ReadError("the archive's members overlap")
        while self._position < offset:
            if not self.read(min(_LONGEST_READ, offset - self._position)):
                raise EOFError("the archive is cut off")
        return self._position


class _Walk:
    """One pass over the members: every name is judged, the wanted small files are kept as text."""

    def __init__(self, handle: BinaryIO, root: str, wanted: set[str], limits: ArchiveLimits) -> None:
        self._root = root
        self._wanted = wanted
        self._limits = limits
        self._stream = _Bounded(handle, limits)
        self._names: set[str] = set()
        self._links: set[str] = set()
        self.vendored: set[str] = set()
        self.texts: dict[str, str] = {}
        self.commit = ""

    def through(self) -> None:
        with tarfile.open(
            fileobj=cast(BinaryIO, self._stream), mode="r:", encoding="utf-8", errors="strict"
        ) as tar:
            count = 0
            while (member := tar.next()) is not None:
                count += 1
                if count > self._limits.members:
                    raise SourceRefused(f"the archive has more than {self._limits.members} members")
                self._judge(member)
                self._keep(tar, member)
            if not count:
                raise SourceRefused("the archive is empty")
            self._ended()
            self.commit = _commit(tar.pax_headers)

    def _judge(self, member: tarfile.TarInfo) -> None:
        name = member.name
        shown = repr(name[:100])
        parts = name.split("/")
        if not name.isprintable() or "\\" in name or name.startswith("/") or ".." in parts or "" in parts:
            raise SourceRefused(f"the archive holds a path that is not safe: {shown}")
        if parts[0] != self._root:
            raise SourceRefused(f"the archive holds {shown} beside its root folder {self._root}/")
        parents = {"/".join(parts[:depth]) for depth in range(1, len(parts))}
        if parents & self._links:
            raise SourceRefused(f"the archive puts a file behind a link: {shown}")
        if member.isdir():
            return
        if len(parts) == 1:
            raise SourceRefused(f"the archive's {self._root} is not a folder")
        if name in self._names:
            raise SourceRefused(f"the archive holds {shown} twice")
        self._names.add(name)
        if len(parts) > 2 and parts[1] == "vendor":
            self.vendored.add("/".join(parts[2:-1]))
        if member.issym():
            self._judge_link(posixpath.dirname(name), member.linkname, shown)
            self._links.add(name)
        elif member.islnk():
            self._judge_link("", member.linkname, shown)
        elif not member.isreg() or member.issparse():
            raise SourceRefused(f"the archive holds {shown}, which is neither file, folder nor link")
        elif member.size > self._limits.file:
            raise SourceRefused(f"the archive holds {shown} of more than {self._limits.file >> 20} MiB")

    def _judge_link(self, folder: str, target: str, shown: str) -> None:
        """A target may go up only at its beginning: after a link, ``..`` leads where no text can tell."""
        parts = target.split("/")
        rest = [part for part in parts if part not in {"", "."}]
        while rest and rest[0] == "..":
            rest = rest[1:]
        landed = posixpath.normpath(posixpath.join(folder, target))
        inside = landed == self._root or landed.startswith(f"{self._root}/")
        if not target.isprintable() or target.startswith("/") or ".." in rest or not inside:
            raise SourceRefused(f"the archive holds a link that leads out of it: {shown}")

    def _keep(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        name = member.name.removeprefix(f"{self._root}/")
        if name not in self._wanted:
            return
        if not member.isreg() or member.size > _SMALL_FILE:
            raise SourceRefused(f"{name} in the archive is no small file")
        content = bytearray()
        while len(content) < member.size:
            chunk = self._stream.read(min(_LONGEST_READ, member.size - len(content)))
            if not chunk:
                raise EOFError("the archive is cut off")
            content += chunk
        try:
            self.texts[name] = content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise SourceRefused(f"{name} in the archive is not UTF-8 text") from error

    def _ended(self) -> None:
        """tarfile takes a broken header for the end, so the end is looked at: zeros, then nothing."""
        if len(self._stream.last) != _BLOCK or self._stream.last.strip(b"\0"):
            raise EOFError("the archive is cut off")
        while rest := self._stream.read(_LONGEST_READ):
            if rest.strip(b"\0"):
                raise SourceRefused("the archive goes on after its end")


def _commit(pax_headers: Mapping[str, str]) -> str:
    comment = pax_headers.get("comment", "")
    return comment if _COMMIT.fullmatch(comment) else ""


def _check_version(texts: dict[str, str], version: Version, layout: SourceLayout) -> None:
    if not layout.version_file:
        return
    found = re.search(layout.version_pattern, texts[layout.version_file], re.MULTILINE)
    if not found:
        raise SourceRefused(f"{layout.version_file} in the archive does not tell its version")
    if found[1] != str(version):
        raise SourceRefused(
            f"the archive of {version.tag} holds version {_line(found[1])} ({layout.version_file})"
        )


def _go(go_mod: str, layout: SourceLayout) -> str:
    module = _MODULE_LINE.search(go_mod)
    if not module or module[1] not in (layout.module, *layout.former_modules):
        raise SourceRefused(f"go.mod in the archive is not that of {layout.module}")
    line = _GO_LINE.search(go_mod)
    if not line:
        raise SourceRefused("go.mod in the archive has no go line")
    return line[1]


def _vendored(modules: str) -> dict[str, str]:
    """The last version of lines such as ``# module v1.2.3`` and ``# module v1.2.3 => other v1.2.4``."""
    found: dict[str, str] = {}
    for line in modules.splitlines():
        words = line.split()
        if len(words) < 3 or words[0] != "#" or words[1] not in _VENDORED or words[2] == "=>":
            continue
        version = words[-1] if _MODULE_VERSION.fullmatch(words[-1]) else words[2]
        if not _MODULE_VERSION.fullmatch(version):
            raise SourceRefused(f"vendor/modules.txt in the archive names no version of {words[1]}")
        found[_VENDORED[words[1]]] = version
    return found


def _partial(modules: str, folders: set[str]) -> str:
    """Which packages of modules.txt have no file in the archive, in words; empty where each has one."""
    named = [line for line in modules.splitlines() if line and not line.startswith("#")]
    missing = [package for package in named if package not in folders]
    if not missing:
        return ""
    return f"{len(missing)} of {len(named)} vendored packages have no file in it, such as {_line(missing[0])}"


def _line(error: object) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
