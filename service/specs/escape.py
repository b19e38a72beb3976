"""Texts made safe for a spec. Tags, names and notes from upstream are hostile until they have been here."""

from __future__ import annotations

import textwrap


def rpm_text(text: str, *, limit: int = 400) -> str:
    """One printable line in which RPM expands nothing: ``%`` is doubled, control characters go.

    A backslash goes as well: at the end of a line RPM would join the next line to it.
    """
    line = " ".join("".join(c if c.isprintable() and c != "\\" else " " for c in text).split())
    if len(line) > limit:
        line = line[: limit - 1].rstrip() + "…"
    return line.replace("%", "%%")


def comment(text: str, *, limit: int = 2000) -> str:
    """The text as comment lines of about 100 characters."""
    plain = rpm_text(text, limit=limit).replace("%%", "%")
    lines = textwrap.wrap(plain, width=100, break_long_words=False, break_on_hyphens=False)
    return "\n".join(f"# {line}".replace("%", "%%") for line in lines)
