"""On which line of a TOML file a thing stands: the parser of the standard library does not say."""

from __future__ import annotations

import re
from importlib.resources.abc import Traversable

_ROW = re.compile(r"\s*\[\[\s*([\w.-]+)\s*\]\]")
_TABLE = re.compile(r"\s*\[\s*([\w.-]+)\s*\]")
_KEY = re.compile(r"\s*([\w-]+|\"[^\"]+\")\s*=\s*(.*)")
# What a row is called in complaints: by its id or stream rather than by its number.
_NAMES = frozenset({"id", "stream", "file", "name"})
_PLAIN_TEXT = re.compile(r"[\"']([^\"']*)[\"']")


_COMPLAINT = re.compile(r"([\w./-]+\.toml): (.*)", re.DOTALL)
_PARSER = re.compile(r"\s*\(at line (\d+), column (\d+)\)")


def located(complaint: str, root: Traversable) -> str:
    """A complaint ``file: place: what is wrong`` as ``file:line: place: what is wrong``, where a line is known.

    ``root`` is the catalogue's folder, in which the file lies.
    """
    match = _COMPLAINT.fullmatch(complaint)
    if match is None:
        return complaint
    file, rest = match[1], match[2]
    parser = _PARSER.search(rest)
    if parser:
        return f"{file}:{parser[1]}: column {parser[2]}: {_PARSER.sub('', rest)}"
    try:
        text = root.joinpath(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return complaint
    line = Lines(text).find(rest.partition(": ")[0])
    return f"{file}:{line}: {rest}" if line else complaint


class Lines:
    """Places of one file: ``target[2].chroots``, ``workaround ld-undefs.why``, ``branches.f42.eol``."""

    def __init__(self, text: str) -> None:
        self._found: dict[str, int] = {}
        counts: dict[str, int] = {}
        places = [""]
        closing = ""
        for number, line in enumerate(text.splitlines(), start=1):
            if closing:
                closing = "" if closing in line else closing
                continue
            if row := _ROW.match(line):
                counts[row[1]] = counts.get(row[1], 0) + 1
                places = [f"{row[1]}[{counts[row[1]]}]"]
                self._add(places[0], number)
            elif table := _TABLE.match(line):
                places = [table[1]]
                self._add(table[1], number)
            elif key := _KEY.match(line):
                name, value = key[1].strip('"'), key[2]
                self._name_row(places, name, value)
                for place in places:
                    self._add(f"{place}.{name}" if place else name, number)
                closing = _left_open(value)

    def find(self, place: str) -> int:
        """The line of ``place``, or of the nearest thing around it that stands in the file; 0 for neither."""
        while place:
            if place in self._found:
                return self._found[place]
            place = place.rpartition(".")[0]
        return 0

    def _name_row(self, places: list[str], name: str, value: str) -> None:
        """Let a row be found by its name too, which stands in one of its first lines."""
        text = _PLAIN_TEXT.match(value)
        if name in _NAMES and text and places[0].endswith("]") and len(places) == 1:
            kind = places[0].partition("[")[0]
            places.append(f"{kind} {text[1]}")
            for place, number in list(self._found.items()):
                if place == places[0] or place.startswith(places[0] + "."):
                    self._add(places[1] + place.removeprefix(places[0]), number)

    def _add(self, place: str, number: int) -> None:
        self._found.setdefault(place, number)


def _left_open(value: str) -> str:
    """The quotes that end a text that began on this line and goes on below it; empty text otherwise."""
    for quotes in ('"""', "'''"):
        if value.startswith(quotes) and value.count(quotes) == 1:
            return quotes
    return ""
