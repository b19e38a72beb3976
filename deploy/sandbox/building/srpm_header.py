"""Reads the header of an uploaded source RPM with rpm, and checks its digests."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

QUERY = (
    "%{SOURCEPACKAGE}|%{NAME}|%{EPOCH}|%{VERSION}|%{RELEASE}|%{ARCH}|[%{EXCLUDEARCH} ]|[%{EXCLUSIVEARCH} ]"
)
DIST = re.compile(r"\.(fc|el)\d+$")
SECONDS = 60


class NotAnSrpm(Exception):
    """The file is no source RPM, or a damaged one; the text is rpm's own."""


@dataclass(frozen=True)
class Header:
    """The fields of a source RPM's header that a build farm acts on."""

    name: str
    epoch: int
    version: str
    release: str
    arch: str
    exclude: tuple[str, ...]
    exclusive: tuple[str, ...]

    @property
    def evr(self) -> str:
        """Return ``[epoch:]version-release`` as COPR shows a package's version."""
        return (
            f"{self.epoch}:{self.version}-{self.release}" if self.epoch else f"{self.version}-{self.release}"
        )

    def builds_on(self, arch: str) -> bool:
        """Return whether ExcludeArch and ExclusiveArch let this architecture build."""
        allowed = not self.exclusive or arch in self.exclusive or "noarch" in self.exclusive
        return allowed and arch not in self.exclude

    def release_on(self, dist: str) -> str:
        """Return the release as a chroot with this dist tag would name it (``1.fc44``)."""
        return DIST.sub("", self.release) + dist

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON; ``Header.from_dict`` takes them back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Header:
        """Make a header of the fields that ``as_dict`` returned."""
        return cls(**{**fields, "exclude": tuple(fields["exclude"]), "exclusive": tuple(fields["exclusive"])})


def _rpm(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("rpm")
    if program is None:
        raise NotAnSrpm("rpm is not installed on this machine, so the sandbox cannot read source RPMs")
    try:
        return subprocess.run(
            [program, *arguments],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        raise NotAnSrpm(f"rpm did not answer within {SECONDS} seconds") from None


def read_header(path: Path) -> Header:
    """Return the header of a source RPM whose digests are right. Raises NotAnSrpm."""
    query = _rpm("-qp", "--nosignature", "--qf", QUERY, str(path))
    fields = query.stdout.split("|")
    if query.returncode or len(fields) != 8:
        raise NotAnSrpm(query.stderr.strip() or f"rpm cannot read {path.name}")
    source, name, epoch, version, release, arch, exclude, exclusive = fields
    if source != "1":
        raise NotAnSrpm(f"{path.name} is a binary package, not a source package")
    # A query reads the header alone; only the digests tell that the upload arrived in full.
    check = _rpm("-K", "--nosignature", str(path))
    if check.returncode:
        raise NotAnSrpm((check.stdout + check.stderr).strip())
    number = int(epoch) if epoch.isdigit() else 0
    return Header(name, number, version, release, arch, tuple(exclude.split()), tuple(exclusive.split()))
