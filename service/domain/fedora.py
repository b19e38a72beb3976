"""Parses and orders the names of Fedora's branches (f43, rawhide) and chroots (fedora-43-x86_64)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import total_ordering

from service.domain.errors import BadName

_BRANCH = re.compile(r"f([1-9]\d{1,2})", re.ASCII)
_CHROOT = re.compile(r"fedora-([1-9]\d{1,2}|rawhide|eln)-([a-z0-9_]{2,12})", re.ASCII)


@total_ordering
@dataclass(frozen=True)
class Branch:
    """A Fedora branch: ``f43`` or ``rawhide``. ``number`` is what ``%fedora`` is on it."""

    name: str
    number: int

    @property
    def dist(self) -> str:
        """The dist tag, such as ``.fc43``."""
        return f".fc{self.number}"

    @property
    def chroot_word(self) -> str:
        """The release in a chroot's name: ``43`` or ``rawhide``."""
        return "rawhide" if self.name == "rawhide" else str(self.number)

    def __str__(self) -> str:
        return self.name

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Branch):
            return NotImplemented
        return (self.number, self.name == "rawhide") < (other.number, other.name == "rawhide")

    @classmethod
    def parse(cls, name: str, *, rawhide_number: int) -> Branch:
        """Parse ``"f43"`` or ``"rawhide"``, whose number the catalogue knows. Raises BadName."""
        if name == "rawhide":
            return cls("rawhide", rawhide_number)
        match = _BRANCH.fullmatch(name)
        if not match:
            raise BadName(f"{name[:40]!r} is not a Fedora branch such as f43 or rawhide")
        return cls(name, int(match[1]))


@dataclass(frozen=True, order=True)
class Chroot:
    """A chroot such as ``fedora-43-x86_64``: the key for COPR's chroots and Koji's arches alike."""

    release: str
    arch: str

    def __str__(self) -> str:
        return f"fedora-{self.release}-{self.arch}"

    @classmethod
    def parse(cls, text: str) -> Chroot:
        """Parse ``"fedora-43-x86_64"``. Raises BadName."""
        match = _CHROOT.fullmatch(text)
        if not match:
            raise BadName(f"{text[:60]!r} is not a Fedora chroot such as fedora-43-x86_64")
        return cls(match[1], match[2])
