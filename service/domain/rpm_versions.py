"""RPM's own order of versions and releases, so that nothing lower is ever pushed over something higher.

The rule is rpmvercmp's (rpm.org, "Dependencies: versioning"): runs of digits and of letters are compared in turn,
digits beat letters, ``~`` sorts before everything and ``^`` after the end. docs/decisions/0015 says why it is ours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_PIECE = re.compile(r"\d+|[a-zA-Z]+|~|\^", re.ASCII)
_TAG = re.compile(r"^(Epoch|Version|Release):[ \t]*(.*?)[ \t]*$", re.MULTILINE)
_DIST = re.compile(r"%\{\?dist\}$|%\{dist\}$|%dist$")


def compare_versions(one: str, other: str) -> int:
    """Below 0, 0 or above 0 as ``one`` is older than, the same as or newer than ``other`` for RPM."""
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


@dataclass(frozen=True)
class SpecEvr:
    """What a spec's preamble says. ``release`` is None for %autorelease, which rises with every commit."""

    epoch: int
    version: str
    release: str | None

    def __str__(self) -> str:
        epoch = f"{self.epoch}:" if self.epoch else ""
        return f"{epoch}{self.version}-{self.release or '%autorelease'}"

    @classmethod
    def read(cls, text: str) -> SpecEvr:
        """The literal tags of a spec's text; a version written with macros stays as it is written."""
        tags: dict[str, str] = {}
        for name, value in _TAG.findall(text.partition("\n%description")[0]):
            tags.setdefault(name, value)
        release = tags.get("Release", "")
        automatic = release.startswith(("%autorelease", "%{autorelease", "%{?autorelease"))
        epoch = tags.get("Epoch", "")
        return cls(
            int(epoch) if epoch.isdecimal() else 0,
            tags.get("Version", ""),
            None if automatic else _DIST.sub("", release),
        )


def push_refusal(now: SpecEvr | None, new: SpecEvr) -> str:
    """Why ``new`` must not be pushed over ``now``, or empty text. None: dist-git has no spec yet.

    With %autorelease on the new side a further commit of the same version is higher by itself.
    """
    if now is None:
        return ""
    verdict = (new.epoch > now.epoch) - (new.epoch < now.epoch) or compare_versions(new.version, now.version)
    if verdict < 0:
        return f"dist-git has {now}, which is higher than {new}: nothing is pushed"
    if verdict > 0 or new.release is None:
        return ""
    if now.release is None or compare_versions(new.release, now.release) <= 0:
        return (
            f"dist-git has {now} and the change would be {new}, which is not higher: raise the release there"
        )
    return ""
