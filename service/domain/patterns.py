"""Regular expressions from data files: compiled once, and refused where a line could make one run for minutes."""

from __future__ import annotations

import re

from service.domain.errors import DomainError

LINE_LIMIT = 2000
"""Characters of a line that are searched, so that the cost of a pattern has a bound."""
_LONGEST = 300
_WIDEST = 3

_UNBOUNDED = re.compile(r"(?<!\\)[*+]|(?<!\\)\{\d*,\}")
_FORBIDDEN = (
    ("repeats a group", re.compile(r"(?<!\\)\)[*+{]")),
    ("looks around", re.compile(r"\(\?<?[=!]")),
    ("refers back to a group", re.compile(r"\\[1-9]|\(\?P=")),
    ("sets flags", re.compile(r"\(\?[aiLmsux-]+[:)]")),
)


class BadPattern(DomainError):
    """A text that is no regular expression, or one that is not safe on any line; ``str(error)`` says why."""


def safe_pattern(text: str) -> re.Pattern[str]:
    """``text`` compiled, if its cost on a line of LINE_LIMIT characters has a bound that nobody will notice.

    A repeated group is what makes matching exponential, and each further unbounded repeat is one more power
    of the line's length; so the first is refused and the second limited. Raises BadPattern.
    """
    if not 4 <= len(text) <= _LONGEST:
        raise BadPattern(f"must have 4 to {_LONGEST} characters")
    for sin, pattern in _FORBIDDEN:
        if pattern.search(text):
            raise BadPattern(f"{sin}, which can make it slow without end; write it plainer")
    if len(_UNBOUNDED.findall(text)) > _WIDEST:
        raise BadPattern(f"has more than {_WIDEST} unbounded repeats (* or +), which makes it slow")
    try:
        compiled = re.compile(text)
    except re.error as error:
        raise BadPattern(f"is not a regular expression ({error})") from error
    if compiled.search(""):
        raise BadPattern("fits an empty line, and so everything")
    return compiled


def first_match(patterns: tuple[str, ...], log: str) -> str:
    """The first line of ``log`` that one of the (safe) patterns fits, without white space around; or empty text."""
    compiled = [re.compile(pattern) for pattern in patterns]
    for line in log.splitlines():
        if any(pattern.search(line[:LINE_LIMIT]) for pattern in compiled):
            return line[:LINE_LIMIT].strip()
    return ""
