"""Reads TOML tables, refuses unknown keys and wrong types, and finds the line of each mistake."""

from __future__ import annotations

import datetime
import re
import string
import tomllib
from collections.abc import Container, Iterable, Iterator, Mapping
from enum import StrEnum
from importlib.resources.abc import Traversable
from typing import Any, TypeVar

from service.catalog.model import StreamRange
from service.domain.errors import BadCatalog, BadName
from service.domain.fedora import Branch
from service.domain.versions import Stream

E = TypeVar("E", bound=StrEnum)
ID = re.compile(r"[a-z0-9][a-z0-9-]{0,39}", re.ASCII)
"""The form of the ids of targets, sets, strategies, toolchain facts and workarounds."""
PLACEHOLDERS = frozenset({"branch", "chroot_branch"})
"""What may stand in braces in the texts of a row for several branches."""

# The standard library's parser does not say on which line a key stands, so each line is looked at once more.
_ROW = re.compile(r"\s*\[\[\s*([\w.-]+)\s*\]\]")
_TABLE = re.compile(r"\s*\[\s*([\w.\"-]+)\s*\]")
_KEY = re.compile(r"\s*([\w.\"-]+)\s*=\s*(.*)")
# Errors call a row by the first of these keys that it has, where they do not number it.
_NAMES = ("id", "stream", "file", "name")
_COMPLAINT = re.compile(r"([\w./-]+\.toml): (.*)", re.DOTALL)
_PARSER = re.compile(r"\s*\(at line (\d+), column (\d+)\)")


def read_text(root: Traversable, file: str) -> str:
    """Return the text of a file of the catalogue in ``root``. Raises BadCatalog."""
    try:
        return root.joinpath(file).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadCatalog(f"{file}: is not UTF-8 text") from error
    except OSError as error:
        raise BadCatalog(f"{file}: cannot be read ({error.strerror or type(error).__name__})") from error


def check_form(file: str, key: str, form: re.Pattern[str], text: str) -> None:
    """Refuse a text that does not match ``form`` as a whole. Raises BadCatalog with file and key."""
    if not form.fullmatch(text):
        raise BadCatalog(f"{file}: {key}: {text[:80]!r} does not have the expected form")


def words_of(branch: Branch) -> dict[str, str]:
    """Return what PLACEHOLDERS stand for on a branch."""
    return {"branch": branch.name, "chroot_branch": branch.chroot_word}


class Table:
    """One table of a TOML file. Each method takes a key out; ``done()`` refuses the keys that are left.

    ``place`` is what errors call the table: ``target[2]``, ``workaround ld-undefs``. Methods raise BadCatalog with
    file, place and key for a key that is missing or has the wrong type.

    ``words`` are what the placeholders in its texts stand for, as ``{"branch": "f44"}`` for ``{branch}``. Where there
    are some, any other placeholder in a text is an error; without them, braces are plain characters.
    """

    def __init__(
        self, file: str, place: str, data: Mapping[str, Any], words: Mapping[str, str] | None = None
    ) -> None:
        self.file = file
        self.place = place
        self._left = dict(data)
        self._words = dict(words or {})

    @classmethod
    def read(cls, root: Traversable, file: str) -> Table:
        """Return the top table of a TOML file of the catalogue in ``root``.

        Raises BadCatalog, with the parser's line and column where the text is not TOML.
        """
        try:
            return cls(file, "", tomllib.loads(read_text(root, file)))
        except tomllib.TOMLDecodeError as error:
            raise BadCatalog(f"{file}: {error}") from error

    def wrong(self, key: str, complaint: str) -> BadCatalog:
        """Return the error to raise about ``key``."""
        where = ".".join(part for part in (self.place, key) if part)
        return BadCatalog(f"{self.file}: {where}: {complaint}")

    def over(self, below: Table, words: Mapping[str, str]) -> Table:
        """Return a table at the place of ``below``: its keys with this one's over them, placeholders filled in.

        Keys that were taken from either are in it no more. Sub-tables are laid over each other key by key.
        """
        return Table(below.file, below.place, _laid_over(below._left, self._left), words)

    def has(self, key: str) -> bool:
        """Return whether the key is there and not yet taken."""
        return key in self._left

    def drop(self, key: str) -> None:
        """Take a key whose value is read elsewhere."""
        self._left.pop(key, None)

    def text(self, key: str, default: str | None = None) -> str:
        """Return a text that is not empty, or the default where the key is missing."""
        return self._filled(key, self._text(key, default))

    def fitting(self, key: str, form: re.Pattern[str]) -> str:
        """Return a text that matches ``form`` as a whole."""
        text = self.text(key)
        check_form(self.file, self._below(key), form, text)
        return text

    def new_id(self, known: Container[str]) -> str:
        """Return ``id``, which must have the form of ID and be none of ``known``."""
        identity = self.fitting("id", ID)
        if identity in known:
            raise self.wrong("id", f"'{identity}' is there twice")
        return identity

    def word(self, key: str, kind: type[E], default: E | None = None) -> E:
        """Return a member of a StrEnum, or the default where the key is missing."""
        text = self.text(key, None if default is None else default.value)
        try:
            return kind(text)
        except ValueError:
            raise self.wrong(key, f"must be one of {', '.join(kind)}, not {text[:40]!r}") from None

    def pattern(self, key: str, allowed: set[str], *, needed: set[str]) -> str:
        """Return a text in which only ``{name}`` of ``allowed`` names stands in braces.

        The table's own placeholders may stand in it too; those are filled in.
        """
        parts = self._parts(key, self._text(key), allowed | set(self._words))
        self._need(key, parts, needed)
        return "".join(
            literal.replace("{", "{{").replace("}", "}}")
            + ("" if name is None else self._words.get(name, f"{{{name}}}"))
            for literal, name in parts
        )

    def check_placeholders(self, key: str, allowed: set[str], *, needed: set[str]) -> None:
        """Refuse a text without the ``needed`` placeholders, or with one that is not allowed. The key is left."""
        self._left[key] = text = self._text(key)
        self._need(key, self._parts(key, text, allowed), needed)

    def flag(self, key: str, default: bool | None = None) -> bool:
        """Return true or false, or the default where the key is missing."""
        return bool(self._take(key, bool, default))

    def number(self, key: str, *, low: int, high: int, default: int | None = None) -> int:
        """Return a whole number from ``low`` to ``high``, both inclusive."""
        value = self._take(key, int, default)
        if isinstance(value, bool) or not low <= value <= high:
            raise self.wrong(key, f"must be a whole number from {low} to {high}, not {value}")
        return int(value)

    def day(self, key: str) -> datetime.date | None:
        """Return a TOML date such as 2026-05-28, or None where the key is missing."""
        value = self._left.pop(key, None)
        if value is None:
            return None
        if isinstance(value, datetime.datetime) or not isinstance(value, datetime.date):
            raise self.wrong(key, "must be a date such as 2026-05-28, without quotes")
        return value

    def texts(self, key: str, default: Iterable[str] | None = None) -> tuple[str, ...]:
        """Return a list of texts without repeats."""
        value = self._take(key, list, None if default is None else list(default))
        if not all(isinstance(item, str) and item for item in value):
            raise self.wrong(key, "must be a list of texts")
        texts = tuple(self._filled(key, item) for item in value)
        if len(set(texts)) != len(texts):
            raise self.wrong(key, "names something twice")
        return texts

    def optional_stream(self, key: str) -> Stream | None:
        """Return a stream, or None where the key is missing."""
        return self.stream(key) if self.has(key) else None

    def stream(self, key: str) -> Stream:
        """Return a stream such as "1.32"."""
        try:
            return Stream.parse(self.text(key))
        except BadName as error:
            raise self.wrong(key, str(error)) from error

    def streams(self) -> StreamRange:
        """Return the range from ``first_stream`` to ``last_stream``."""
        first, last = self.optional_stream("first_stream"), self.optional_stream("last_stream")
        if first is not None and last is not None and first > last:
            raise self.wrong("last_stream", f"{last} is older than first_stream {first}")
        return StreamRange(first, last)

    def mapping(self, key: str) -> dict[str, Any]:
        """Return a sub-table whose keys may be any, without placeholders; empty where it is missing."""
        values: dict[str, Any] = self._filled_within(key, self._take(key, dict, {}))
        return values

    def table(self, key: str) -> Table:
        """Return the sub-table ``[key]``, which must be there."""
        return Table(self.file, self._below(key), self._take(key, dict, None), self._words)

    def named(self, key: str) -> Iterator[tuple[str, Table]]:
        """Yield the sub-tables ``[key.name]`` with their names."""
        for name, value in self._take(key, dict, None).items():
            if not isinstance(value, dict):
                raise self.wrong(f"{key}.{name}", "must be a table")
            yield name, Table(self.file, f"{self._below(key)}.{name}", value, self._words)

    def rows(self, key: str) -> Iterator[Table]:
        """Yield the rows ``[[key]]``, which errors number from 1."""
        for index, value in enumerate(self._take(key, list, []), start=1):
            if not isinstance(value, dict):
                raise self.wrong(key, f"must be written as [[{key}]] tables")
            yield Table(self.file, f"{self._below(key)}[{index}]", value, self._words)

    def done(self) -> None:
        """Raise BadCatalog for a key that was not taken: a misspelt key must not be silently without effect."""
        if self._left:
            key = min(self._left)
            raise self.wrong(key, "unknown key")

    def _below(self, key: str) -> str:
        return f"{self.place}.{key}" if self.place else key

    def _text(self, key: str, default: str | None = None) -> str:
        value = self._take(key, str, default)
        if value == "" and default != "":
            raise self.wrong(key, "must not be empty")
        return str(value)

    def _filled(self, key: str, text: str) -> str:
        if not self._words:
            return text
        parts = self._parts(key, text, set(self._words))
        return "".join(literal + ("" if name is None else self._words[name]) for literal, name in parts)

    def _filled_within(self, key: str, value: Any) -> Any:
        """Return a value of any type with the placeholders of every text in it filled in."""
        if isinstance(value, str):
            return self._filled(key, value)
        if isinstance(value, list):
            return [self._filled_within(key, item) for item in value]
        if isinstance(value, dict):
            for name in value:
                if self._words and ("{" in name or "}" in name):
                    raise self.wrong(key, f"{name[:40]!r}: placeholders stand in values, not in keys")
            return {name: self._filled_within(f"{key}.{name}", item) for name, item in value.items()}
        return value

    def _parts(self, key: str, text: str, allowed: set[str]) -> list[tuple[str, str | None]]:
        """Split a text into literals, each with the name of the placeholder behind it, or None at the end."""
        try:
            fields = list(string.Formatter().parse(text))
        except ValueError as error:
            raise self.wrong(key, f"unbalanced braces ({error})") from error
        for _, name, spec, conversion in fields:
            if name is not None and (name not in allowed or spec or conversion):
                known = ", ".join(sorted(f"{{{name}}}" for name in allowed))
                raise self.wrong(key, f"may hold only {known} in braces")
        return [(literal, name) for literal, name, _, _ in fields]

    def _need(self, key: str, parts: Iterable[tuple[str, str | None]], needed: set[str]) -> None:
        missing = needed - {name for _, name in parts if name is not None}
        if missing:
            raise self.wrong(key, f"must hold {', '.join(sorted(f'{{{name}}}' for name in needed))}")

    def _take(self, key: str, kind: type, default: Any) -> Any:
        if key not in self._left:
            if default is None:
                raise self.wrong(key, "is missing")
            return default
        value = self._left.pop(key)
        if not isinstance(value, kind):
            raise self.wrong(key, f"must be {_KINDS[kind]}, not {value!r}"[:300])
        return value


_KINDS = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    list: "a list",
    dict: "a table",
}


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return both mappings in one, ``above`` winning; where both have a table, it is laid over in the same way."""
    both = dict(below)
    for key, value in above.items():
        old = both.get(key)
        both[key] = _laid_over(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return both


def located(complaint: str, root: Traversable) -> str:
    """Return ``file: place: what is wrong`` as ``file:line: place: what is wrong``, where the line can be found.

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
        text = read_text(root, file)
    except BadCatalog:
        return complaint
    line = Lines(text).find(rest.partition(": ")[0])
    return f"{file}:{line}: {rest}" if line else complaint


class Lines:
    """The line numbers of the places in a TOML file: ``target[2].chroots``, ``workaround ld-undefs.why``.

    A row's keys are found by its number and by its name. A target that a row makes for one of several branches is
    found by its id, its keys first in the row's table for that branch: ``target rawhide-koji.options``.
    """

    def __init__(self, text: str) -> None:
        self._found: dict[str, int] = {}
        counts: dict[str, int] = {}
        place = closing = ""
        for number, line in enumerate(text.splitlines(), start=1):
            if closing:
                closing = "" if closing in line else closing
            elif row := _ROW.match(line):
                counts[row[1]] = counts.get(row[1], 0) + 1
                place = f"{row[1]}[{counts[row[1]]}]"
                self._found.setdefault(place, number)
            elif table := _TABLE.match(line):
                first, dot, rest = table[1].replace('"', "").partition(".")
                # A table below rows belongs to the last of them.
                place = f"{first}[{counts[first]}]{dot}{rest}" if first in counts else first + dot + rest
                self._found.setdefault(place, number)
            elif key := _KEY.match(line):
                name = key[1].replace('"', "")
                self._found.setdefault(f"{place}.{name}" if place else name, number)
                closing = _left_open(key[2])
        self._name_rows(text)

    def find(self, place: str) -> int:
        """Return the line of ``place``, or of the nearest thing around it that stands in the file; 0 for neither."""
        while place:
            if place in self._found:
                return self._found[place]
            place = place.rpartition(".")[0]
        return 0

    def _name_rows(self, text: str) -> None:
        """Let what stands in rows be found by the rows' names too."""
        try:
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError:
            return
        for kind, rows in data.items():
            if not isinstance(rows, list):
                continue
            for index, row in enumerate(rows, start=1):
                if not isinstance(row, dict):
                    continue
                for name, branch in _names_of(row):
                    if branch:
                        self._copy(f"{kind}[{index}].per_branch.{branch}.", f"{kind} {name}.")
                    self._copy(f"{kind}[{index}]", f"{kind} {name}")

    def _copy(self, start: str, other: str) -> None:
        for place, number in list(self._found.items()):
            if place.startswith(start):
                self._found.setdefault(other + place.removeprefix(start), number)


def _names_of(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the name of a row, or one for each of its branches, with that branch; otherwise with an empty text."""
    name = next((row[key] for key in row if key in _NAMES), None)
    if not isinstance(name, str):
        return
    branches = row.get("branches")
    for branch in branches if isinstance(branches, list) else ():
        try:
            words = words_of(Branch.parse(str(branch), rawhide_number=0))
        except BadName:
            continue
        made = name
        for word, text in words.items():
            made = made.replace(f"{{{word}}}", text)
        yield made, str(branch)
    yield name, ""


def _left_open(value: str) -> str:
    """Return the quotes that will end a text which goes on in the next line; an empty text if none does."""
    for quotes in ('"""', "'''"):
        if value.startswith(quotes) and value.count(quotes) == 1:
            return quotes
    return ""
