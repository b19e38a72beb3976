"""Versions: parses upstream's tags and RPM's name-version-release, and compares versions as RPM does."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import total_ordering

from service.domain.errors import BadName, BadTag

# The historic shapes are v1.19.0-rc.1, v1.18.0-rc1 and v1.9.0-beta.1; numbers are bounded so that a
# hostile tag cannot make a huge integer; leading zeros are refused because two tags would then be one version.
_NUMBER = r"(0|[1-9]\d{0,5})"
_TAG = re.compile(
    rf"v{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-((?:alpha|beta|rc)(?:\.?(?:0|[1-9]\d{{0,5}}))?))?", re.ASCII
)
_STREAM = re.compile(rf"{_NUMBER}\.{_NUMBER}", re.ASCII)
_PRE = re.compile(r"(alpha|beta|rc)\.?(\d*)", re.ASCII)
# What RPM compares one by one: runs of digits, runs of letters, and its two special characters.
_PIECE = re.compile(r"\d+|[a-zA-Z]+|~|\^", re.ASCII)


@dataclass(frozen=True, order=True)
class Stream:
    """One upstream minor, such as 1.32: the unit that becomes one versioned package."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"

    @classmethod
    def parse(cls, text: str) -> Stream:
        """Parse ``"1.32"``. Raises BadName."""
        match = _STREAM.fullmatch(text)
        if not match:
            raise BadName(f"{text[:40]!r} is not a stream such as 1.32")
        return cls(int(match[1]), int(match[2]))


@total_ordering
@dataclass(frozen=True, eq=True)
class Version:
    """One upstream version. Ordered as upstream means it: 1.33.0-rc.1 comes before 1.33.0."""

    major: int
    minor: int
    patch: int
    pre: str = ""

    @property
    def stream(self) -> Stream:
        return Stream(self.major, self.minor)

    @property
    def is_prerelease(self) -> bool:
        return bool(self.pre)

    @property
    def tag(self) -> str:
        """The git tag, such as ``v1.33.0-rc.1``."""
        return f"v{self}"

    @property
    def rpm(self) -> str:
        """RPM's Version, such as ``1.33.0~rc.1``: ``~`` sorts a pre-release first (``-`` is not allowed there)."""
        return f"{self.major}.{self.minor}.{self.patch}" + (f"~{self.pre}" if self.pre else "")

    @property
    def sort_key(self) -> str:
        """Text of fixed width that sorts byte by byte as the versions do, for indexes and keyset pages."""
        return f"{self.major:06d}.{self.minor:06d}.{self.patch:06d}{self._pre_key}"

    @property
    def _pre_key(self) -> str:
        if not self.pre:
            return "~"
        match = _PRE.fullmatch(self.pre)
        word, number = (match[1], match[2]) if match else (self.pre, "")
        return f"-{word}.{int(number or 0):06d}"

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}" + (f"-{self.pre}" if self.pre else "")

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Version):
            return NotImplemented
        return self.sort_key < other.sort_key

    @classmethod
    def parse(cls, text: str) -> Version:
        """Parse ``"1.32.1"``, without the v of the tag. Raises BadTag."""
        return parse_tag(f"v{text}")


def parse_tag(tag: str) -> Version:
    """Parse a git tag such as ``v1.32.1``, ``v1.100.0`` or ``v2.0.0-rc.1``. Raises BadTag."""
    match = _TAG.fullmatch(tag)
    if not match:
        raise BadTag(f"tag {tag[:80]!r} is not a version tag such as v1.32.1")
    return Version(int(match[1]), int(match[2]), int(match[3]), match[4] or "")


@dataclass(frozen=True)
class Evr:
    """RPM's epoch, version and release. ``release`` is the R of NVR, not an upstream release."""

    version: str
    release: str
    epoch: int = 0


@dataclass(frozen=True)
class Nvr:
    """RPM's name-version-release, such as ``cri-o1.32-1.32.1-0.1.fc43``."""

    name: str
    version: str
    release: str

    def __str__(self) -> str:
        return f"{self.name}-{self.version}-{self.release}"

    @classmethod
    def parse(cls, text: str) -> Nvr:
        """Parse from the right: names may hold dashes, versions and releases may not. Raises BadName."""
        parts = text.rsplit("-", 2)
        if len(parts) != 3 or not all(parts):
            raise BadName(f"{text[:80]!r} is not a name-version-release")
        return cls(*parts)


def compare_versions(one: str, other: str) -> int:
    """Return -1, 0 or 1 as ``one`` is older than, the same as or newer than ``other`` for RPM.

    The rule is rpmvercmp's (rpm.org, "Dependencies: versioning"): runs of digits and of letters are compared in turn,
    digits beat letters, ``~`` sorts before everything and ``^`` after the end. docs/decisions/0015 says why it is
    ours and not the library's.
    """
    left, right = _PIECE.findall(one), _PIECE.findall(other)
    for mine, yours in zip(left, right, strict=False):
        if mine == yours:
            continue
        if "~" in (mine, yours):
            return -1 if mine == "~" else 1
        if "^" in (mine, yours):
            return -1 if mine == "^" else 1
        verdict = _compare_pieces(mine, yours)
        if verdict:
            return verdict
    if len(left) == len(right):
        return 0
    longer, sign = (left, 1) if len(left) > len(right) else (right, -1)
    following = longer[min(len(left), len(right))]
    return -sign if following == "~" else sign


def _compare_pieces(mine: str, yours: str) -> int:
    if mine.isdigit() and yours.isdigit():
        return (int(mine) > int(yours)) - (int(mine) < int(yours))
    if mine.isdigit() != yours.isdigit():
        return 1 if mine.isdigit() else -1
    return (mine > yours) - (mine < yours)
