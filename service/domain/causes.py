"""The rules by which a log is read: patterns, cause, advice, and what may be tried. Types only, and their safety."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from service.domain.patterns import LINE_LIMIT, SHORTEST, BadPattern, safe_pattern

_NAME = re.compile(r"\{(\w{1,30})\}")
_OPTIONAL = re.compile(r"\[([^\[\]]{1,200})\]")


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
    """A pattern that is safe on any line. Raises BadPattern with the reason."""
    if len(has) < SHORTEST or "\n" in has:
        raise BadPattern(f"'has' must be one line of at least {SHORTEST} characters, not {has[:40]!r}")
    if not match:
        return Pattern(has)
    try:
        return Pattern(has, safe_pattern(match))
    except BadPattern as error:
        raise BadPattern(f"'match' {error}") from None
