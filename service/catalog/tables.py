"""TOML tables read strictly: every key is known and of the right type, or named in the complaint."""

from __future__ import annotations

import datetime
import string
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any, TypeVar

from service.catalog.model import StreamRange
from service.domain.errors import BadCatalog, BadName
from service.domain.versions import Stream

E = TypeVar("E", bound=StrEnum)


class Table:
    """One table of a file. Keys are taken out one by one; ``done()`` refuses what is left over."""

    def __init__(self, file: str, place: str, data: Mapping[str, Any]) -> None:
        self.file = file
        self.place = place
        self._left = dict(data)

    @classmethod
    def parse(cls, file: str, text: str) -> Table:
        """The top table of a TOML text. Raises BadCatalog with the parser's line and column."""
        try:
            return cls(file, "", tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            raise BadCatalog(f"{file}: {error}") from error

    def wrong(self, key: str, complaint: str) -> BadCatalog:
        """The error to raise about ``key``."""
        where = ".".join(part for part in (self.place, key) if part)
        return BadCatalog(f"{self.file}: {where}: {complaint}")

    def has(self, key: str) -> bool:
        """Whether the key is there and not yet taken."""
        return key in self._left

    def drop(self, key: str) -> None:
        """Take a key whose value is read elsewhere."""
        self._left.pop(key, None)

    def text(self, key: str, default: str | None = None) -> str:
        """A text that is not empty, or the default where the key is missing."""
        value = self._take(key, str, default)
        if value == "" and default != "":
            raise self.wrong(key, "must not be empty")
        return str(value)

    def word(self, key: str, kind: type[E], default: E | None = None) -> E:
        """A word of a StrEnum, or the default where the key is missing."""
        text = self.text(key, None if default is None else default.value)
        try:
            return kind(text)
        except ValueError:
            raise self.wrong(key, f"must be one of {', '.join(kind)}, not {text[:40]!r}") from None

    def pattern(self, key: str, allowed: set[str], *, needed: set[str]) -> str:
        """A text in which only ``{name}`` of ``allowed`` names stands in braces."""
        text = self.text(key)
        try:
            fields = [
                (name, spec, conversion) for _, name, spec, conversion in string.Formatter().parse(text)
            ]
        except ValueError as error:
            raise self.wrong(key, f"unbalanced braces ({error})") from error
        names = {name for name, _, _ in fields if name is not None}
        if names - allowed or any(spec or conversion for _, spec, conversion in fields):
            known = ", ".join(sorted(f"{{{name}}}" for name in allowed))
            raise self.wrong(key, f"may hold only {known} in braces")
        if needed - names:
            raise self.wrong(key, f"must hold {', '.join(sorted(f'{{{name}}}' for name in needed))}")
        return text

    def flag(self, key: str, default: bool | None = None) -> bool:
        return bool(self._take(key, bool, default))

    def number(self, key: str, *, low: int, high: int, default: int | None = None) -> int:
        """A whole number in an inclusive range."""
        value = self._take(key, int, default)
        if isinstance(value, bool) or not low <= value <= high:
            raise self.wrong(key, f"must be a whole number from {low} to {high}, not {value}")
        return int(value)

    def day(self, key: str) -> datetime.date | None:
        """A TOML date such as 2026-05-28, or None where the key is missing."""
        value = self._left.pop(key, None)
        if value is None:
            return None
        if isinstance(value, datetime.datetime) or not isinstance(value, datetime.date):
            raise self.wrong(key, "must be a date such as 2026-05-28, without quotes")
        return value

    def texts(self, key: str, default: Iterable[str] | None = None) -> tuple[str, ...]:
        """A list of texts without repeats."""
        value = self._take(key, list, None if default is None else list(default))
        if not all(isinstance(item, str) and item for item in value):
            raise self.wrong(key, "must be a list of texts")
        if len(set(value)) != len(value):
            raise self.wrong(key, "names something twice")
        return tuple(value)

    def optional_stream(self, key: str) -> Stream | None:
        """A stream, or None where the key is missing."""
        return self.stream(key) if self.has(key) else None

    def stream(self, key: str) -> Stream:
        """A stream such as "1.32"."""
        try:
            return Stream.parse(self.text(key))
        except BadName as error:
            raise self.wrong(key, str(error)) from error

    def streams(self) -> StreamRange:
        """The range that ``first_stream`` and ``last_stream`` make."""
        first, last = self.optional_stream("first_stream"), self.optional_stream("last_stream")
        if first is not None and last is not None and first > last:
            raise self.wrong("last_stream", f"{last} is older than first_stream {first}")
        return StreamRange(first, last)

    def mapping(self, key: str) -> dict[str, Any]:
        """A sub-table as it is, for data whose keys are free; empty where it is missing."""
        return dict(self._take(key, dict, {}))

    def table(self, key: str) -> Table:
        """The sub-table ``[key]``, which must be there."""
        return Table(self.file, self._below(key), self._take(key, dict, None))

    def named(self, key: str) -> Iterator[tuple[str, Table]]:
        """The sub-tables ``[key.name]`` with their names."""
        for name, value in self._take(key, dict, None).items():
            if not isinstance(value, dict):
                raise self.wrong(f"{key}.{name}", "must be a table")
            yield name, Table(self.file, f"{self._below(key)}.{name}", value)

    def rows(self, key: str) -> Iterator[Table]:
        """The rows ``[[key]]``, numbered from 1 in complaints."""
        for index, value in enumerate(self._take(key, list, []), start=1):
            if not isinstance(value, dict):
                raise self.wrong(key, f"must be written as [[{key}]] tables")
            yield Table(self.file, f"{self._below(key)}[{index}]", value)

    def done(self) -> None:
        """Refuse every key that nobody has taken: a misspelt key must not be silently without effect."""
        if self._left:
            key = min(self._left)
            raise self.wrong(key, "unknown key")

    def _below(self, key: str) -> str:
        return f"{self.place}.{key}" if self.place else key

    def _take(self, key: str, kind: type, default: Any) -> Any:
        if key not in self._left:
            if default is None:
                raise self.wrong(key, "is missing")
            return default
        value = self._left.pop(key)
        if not isinstance(value, kind):
            raise self.wrong(key, f"must be {_WORDS[kind]}, not {value!r}"[:300])
        return value


_WORDS = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    list: "a list",
    dict: "a table",
}
