"""The rules by which a log is read: patterns, cause, advice, and what may be tried. Types only, and their safety."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from service.domain.errors import DomainError

LINE_LIMIT = 1000
"""Characters of a line that are looked at, so that the cost of a pattern has a bound."""
PATTERN_LIMIT = 300
NEEDLE_SHORTEST = 4
_WIDE = re.compile(r"(?<!\\)(?:[*+]|\{(\d+)(?:,(\d*))?\})")
_NARROW = 20
_NAME = re.compile(r"\{(\w{1,30})\}")
_OPTIONAL = re.compile(r"\[([^\[\]]{1,200})\]")
_FORBIDDEN = {
    "a quantifier of a group": re.compile(r"(?<!\\)\)(?:[*+]|\{)"),
    "a look-around": re.compile(r"\(\?<?[=!]"),
    "a reference to a group": re.compile(r"\\[1-9]|\(\?P="),
    "a flag": re.compile(r"\(\?[aiLmsux-]+[:)]"),
}


class Fault(StrEnum):
    """Whose fault a cause is."""

    PACKAGE = "package"
    INFRASTRUCTURE = "infrastructure"


class Retry(StrEnum):
    """Whether building the same again helps."""

    YES = "yes"
    NO = "no"
    LATER = "later"


class Outcome(StrEnum):
    """Which logs a rule is for: of what failed, of what succeeded, or of both."""

    FAILED = "failed"
    SUCCEEDED = "succeeded"
    ANY = "any"


class RemedyKind(StrEnum):
    """What a remedy does: another strategy, the same again later, or waiting until the branch can build it."""

    STRATEGY = "strategy"
    LATER = "later"
    WAIT = "wait"


class RemedyPolicy(StrEnum):
    """What a target allows: apply remedies by itself, show them, or neither."""

    AUTO = "auto"
    SUGGEST = "suggest"
    OFF = "off"


class UnsafePattern(DomainError):
    """A pattern whose cost has no bound, or that no literal text precedes."""


@dataclass(frozen=True)
class Pattern:
    """What a decisive line looks like: it holds ``has``, and ``match`` (if there is one) is found in it.

    ``has`` is plain text that is searched first, which is what makes a log of any size cheap. The named groups of
    ``match`` may stand in the rule's texts.
    """

    has: str
    match: re.Pattern[str] | None = None

    def find(self, line: str) -> dict[str, str] | None:
        """The named groups of a decisive line, without those that took no part; None if the line is none."""
        if self.has not in line:
            return None
        if self.match is None:
            return {}
        found = self.match.search(line[:LINE_LIMIT])
        if found is None:
            return None
        return {name: text.strip() for name, text in found.groupdict().items() if text}


@dataclass(frozen=True)
class Remedy:
    """What is tried once after a failure. ``strategy`` names the other one, ``minutes`` the wait before the next."""

    kind: RemedyKind
    strategy: str = ""
    minutes: int = 0


@dataclass(frozen=True)
class Cause:
    """One rule: how a cause shows in a log, and what is known about it.

    ``cause`` is one line; both it and ``advice`` may name groups of the patterns in braces (see ``in_words``).
    ``anywhere`` lets a line count that stands in a section of the log that ended well; without it, only the section
    that failed counts. ``named_by`` is a person for a rule that was made from a cluster, else empty.
    """

    id: str
    patterns: tuple[Pattern, ...]
    cause: str
    advice: str
    reference: str
    fault: Fault
    retry: Retry
    of: Outcome = Outcome.FAILED
    anywhere: bool = False
    remedy: Remedy | None = None
    named_by: str = ""

    def reads(self, *, succeeded: bool) -> bool:
        """Whether the rule is for logs of this outcome."""
        return self.of is Outcome.ANY or (self.of is Outcome.SUCCEEDED) == succeeded

    def groups(self, text: str, *, optional: bool) -> set[str]:
        """The groups that ``text`` names, with or without those in square brackets."""
        return set(_NAME.findall(text if optional else _OPTIONAL.sub("", text)))


def in_words(text: str, groups: Mapping[str, str]) -> str:
    """``text`` with its groups put in. What stands in square brackets is left out where a group of it is missing."""

    def fill(part: str) -> str:
        return _NAME.sub(lambda name: groups.get(name[1], "?"), part)

    def choose(part: re.Match[str]) -> str:
        return fill(part[1]) if set(_NAME.findall(part[1])) <= set(groups) else ""

    return fill(_OPTIONAL.sub(choose, text))


def compile_pattern(has: str, match: str) -> Pattern:
    """A pattern that is safe on any line. Raises UnsafePattern with the reason.

    At most one quantifier may be wide (without an upper bound, or above 20), none may repeat a group: the cost on a
    line is then at most quadratic, and lines are cut at LINE_LIMIT.
    """
    if len(has) < NEEDLE_SHORTEST or "\n" in has:
        raise UnsafePattern(
            f"'has' must be one line of at least {NEEDLE_SHORTEST} characters, not {has[:40]!r}"
        )
    if not match:
        return Pattern(has)
    if len(match) > PATTERN_LIMIT:
        raise UnsafePattern(f"'match' is longer than {PATTERN_LIMIT} characters")
    for what, sign in _FORBIDDEN.items():
        if sign.search(match):
            raise UnsafePattern(f"'match' must not hold {what}: {match[:60]!r}")
    bare = re.sub(r"\[(?:\\.|[^\]\\])+\]", "x", match)
    wide = [found for found in _WIDE.finditer(bare) if _is_wide(found)]
    if len(wide) > 2 or (len(wide) == 2 and not bare.rstrip(")").endswith(wide[-1][0])):
        raise UnsafePattern(f"'match' may hold one wide quantifier and another at its end: {match[:60]!r}")
    try:
        return Pattern(has, re.compile(match))
    except re.error as error:
        raise UnsafePattern(f"'match' is not a regular expression ({error}): {match[:60]!r}") from error


def _is_wide(found: re.Match[str]) -> bool:
    if found[1] is None:
        return True
    high = found[2] if found[2] is not None else found[1]
    return high == "" or int(high) > _NARROW
