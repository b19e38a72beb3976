"""Fills spec templates: ``@{name}`` and lines ``@if``, ``@else``, ``@end``; and makes texts safe for a spec.

A condition is a stream comparison (``@if stream >= 1.35``, ``@if stream <= 1.30``) or the name of a value,
which holds if the value is not empty. A line that begins with ``@`` and is no such line is an error, and so
is a name without a value. Values are set in as they are: tags, names and notes from upstream are hostile until the
caller has made them safe with ``rpm_text`` or ``comment``.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet

from service.domain.errors import BadCatalog, BadSpec
from service.domain.versions import Stream

_DIRECTIVE = re.compile(r"@(if|else|end)(?:[ ]+(.+?))?[ ]*")
_COMPARISON = re.compile(r"stream[ ]*(>=|<=)[ ]*(\d{1,6}\.\d{1,6})")
_NAME = re.compile(r"[a-z][a-z_]*", re.ASCII)
_PLACEHOLDER = re.compile(r"@\{([^}\n]*)\}")


def fill(text: str, *, file: str, stream: Stream, values: Mapping[str, str]) -> str:
    """Fill every placeholder of a template for ``stream`` and return the text.

    Raises BadCatalog for a malformed template or a name that is not in ``values``, and BadSpec for a
    placeholder whose value is empty, each with file and line: an unfilled place must not reach a spec.
    """
    lines: list[str] = []
    open_blocks: list[bool] = []
    for number, line, directive, argument in _directives(text, file):
        if directive == "if":
            open_blocks.append(_holds(argument, stream, values, f"{file}:{number}"))
        elif directive == "else":
            open_blocks[-1] = not open_blocks[-1]
        elif directive == "end":
            open_blocks.pop()
        elif all(open_blocks):
            lines.append(_fill_line(line, values, f"{file}:{number}"))
    return "\n".join(lines) + "\n"


def check(text: str, *, file: str, names: AbstractSet[str]) -> None:
    """Refuse a template that no request could fill: bad directives, or a name that is not in ``names``.

    Raises BadCatalog with file and line. Blocks that one stream leaves out are checked too.
    """
    for number, line, directive, argument in _directives(text, file):
        wanted = set(_PLACEHOLDER.findall(line)) if not directive else set()
        if directive == "if" and not _COMPARISON.fullmatch(argument):
            wanted.add(argument)
        for name in sorted(wanted - names):
            raise BadCatalog(f"{file}:{number}: unknown name {name[:60]!r}")


def _directives(text: str, file: str) -> Iterator[tuple[int, str, str, str]]:
    """Yield lines as (number, line, directive or empty text, its argument), and check the nesting."""
    opened: list[tuple[int, bool]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        match = _DIRECTIVE.fullmatch(line)
        if match is None:
            if line.startswith("@") and not line.startswith("@{"):
                raise BadCatalog(f"{file}:{number}: {line[:40]!r} is not @if, @else or @end")
            yield number, line, "", ""
            continue
        directive, argument = match[1], match[2] or ""
        if directive == "if":
            if not (_COMPARISON.fullmatch(argument) or _NAME.fullmatch(argument)):
                raise BadCatalog(f"{file}:{number}: {argument[:40]!r} is not a condition")
            opened.append((number, False))
        elif argument:
            raise BadCatalog(f"{file}:{number}: @{directive} takes nothing after it")
        elif not opened or (directive == "else" and opened[-1][1]):
            raise BadCatalog(f"{file}:{number}: @{directive} without an open @if")
        elif directive == "else":
            opened[-1] = (opened[-1][0], True)
        else:
            opened.pop()
        yield number, line, directive, argument
    if opened:
        raise BadCatalog(f"{file}:{opened[-1][0]}: this @if is never closed")


def _holds(condition: str, stream: Stream, values: Mapping[str, str], place: str) -> bool:
    comparison = _COMPARISON.fullmatch(condition)
    if comparison:
        bound = Stream.parse(comparison[2])
        return stream >= bound if comparison[1] == ">=" else stream <= bound
    if condition not in values:
        raise BadCatalog(f"{place}: unknown name {condition[:60]!r}")
    return values[condition] != ""


def _fill_line(line: str, values: Mapping[str, str], place: str) -> str:
    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name not in values:
            raise BadCatalog(f"{place}: unknown name {name[:60]!r}")
        if values[name] == "" and name not in _MAY_BE_EMPTY:
            raise BadSpec(f"{place}: nothing to fill in for @{{{name}}}")
        return values[name]

    return _PLACEHOLDER.sub(value, line)


# Values that may be empty: each is only the end of a line.
_MAY_BE_EMPTY = frozenset({"commit_comment", "extra_tags"})


def rpm_text(text: str, *, limit: int = 400) -> str:
    """Return ``text`` as one printable line in which RPM expands nothing, cut at ``limit`` characters.

    ``%`` is doubled; control characters are removed, and backslashes, because at the end of a line RPM would join
    the next line to it.
    """
    line = " ".join("".join(c if c.isprintable() and c != "\\" else " " for c in text).split())
    if len(line) > limit:
        line = line[: limit - 1].rstrip() + "…"
    return line.replace("%", "%%")


def comment(text: str, *, limit: int = 2000) -> str:
    """Return ``text`` as comment lines of about 100 characters, safe as in ``rpm_text``."""
    plain = rpm_text(text, limit=limit).replace("%%", "%")
    lines = textwrap.wrap(plain, width=100, break_long_words=False, break_on_hyphens=False)
    return "\n".join(f"# {line}".replace("%", "%%") for line in lines)
