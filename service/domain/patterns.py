"""Compiles regular expressions from data files and from people, and refuses those that could run for very long.

Both kinds of patterns come through here: the symptoms of workarounds and the lines of diagnoses.
"""

from __future__ import annotations

import re

from service.domain.errors import DomainError

LINE_LIMIT = 1000
"""Characters of a line that are searched: this bounds the cost of a pattern."""
SHORTEST, LONGEST = 4, 300
"""Characters that a pattern may have."""

_WIDE = re.compile(r"(?<!\\)(?:[*+]|\{(\d+)(?:,(\d*))?\})")
_NARROW = 20
_CLASS = re.compile(r"\[(?:\\.|[^\]\\])+\]")
_FORBIDDEN = {
    "repeats a group": re.compile(r"(?<!\\)\)(?:[*+]|\{)"),
    "looks around": re.compile(r"\(\?<?[=!]"),
    "refers back to a group": re.compile(r"\\[1-9]|\(\?P="),
    "sets flags": re.compile(r"\(\?[aiLmsux-]+[:)]"),
}


class BadPattern(DomainError):
    """A text that is no pattern, or no safe one; ``str(error)`` says why and begins with a verb ("must have …")."""


def safe_pattern(text: str) -> re.Pattern[str]:
    """Compile ``text`` if its cost on a line of LINE_LIMIT characters is at most quadratic. Raises BadPattern.

    A repeated group is what makes matching exponential, so none may be repeated. Each wide quantifier (without an
    upper bound, or above 20) is one more power of the line's length, so at most one may stand before the end of
    the pattern, where another may follow. Nothing that fits an empty line is accepted.
    """
    if not SHORTEST <= len(text) <= LONGEST:
        raise BadPattern(f"must have {SHORTEST} to {LONGEST} characters, not {len(text)}")
    for sin, sign in _FORBIDDEN.items():
        if sign.search(text):
            raise BadPattern(f"{sin}, which can make it slow without end; write it plainer: {text[:60]!r}")
    bare = _CLASS.sub("x", text)
    wide = [found for found in _WIDE.finditer(bare) if _is_wide(found)]
    if len(wide) > 2 or (len(wide) == 2 and not bare.rstrip(")").endswith(wide[-1][0])):
        raise BadPattern(
            f"may have one wide repeat (*, + or above {_NARROW}) and another at its end, not more: {text[:60]!r}"
        )
    try:
        compiled = re.compile(text)
    except re.error as error:
        raise BadPattern(f"is not a regular expression ({error}): {text[:60]!r}") from error
    if compiled.search(""):
        raise BadPattern("fits an empty line, and so everything")
    return compiled


def _is_wide(found: re.Match[str]) -> bool:
    if found[1] is None:
        return True
    high = found[2] if found[2] is not None else found[1]
    return high == "" or int(high) > _NARROW


def first_match(patterns: tuple[str, ...], log: str) -> str:
    """Return the first line of ``log`` in which one of the (safe) patterns is found, stripped; else empty text."""
    compiled = [re.compile(pattern) for pattern in patterns]
    for line in log.splitlines():
        if any(pattern.search(line[:LINE_LIMIT]) for pattern in compiled):
            return line[:LINE_LIMIT].strip()
    return ""
