"""What a button of the pages is, and one press of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from service import board, overrides
from service.store.session import Database
from service.web.access.auth import Caller
from service.web.api.writes import Done
from service.web.base.context import WebContext
from service.web.base.problem import Problem


@dataclass(frozen=True)
class Asked:
    """One press of a button: on what, by whom, and what the form says besides."""

    context: WebContext
    subject: str
    caller: Caller
    form: Mapping[str, str]

    @property
    def build_id(self) -> int:
        return self.number

    @property
    def number(self) -> int:
        """The subject as a row's number. Raises Problem 404."""
        if not (self.subject.isascii() and self.subject.isdigit() and len(self.subject) < 18):
            raise Problem(404, "There is no such build, and no such side tag.")
        return int(self.subject)

    @property
    def by(self) -> dict[str, str]:
        return {"by": self.caller.name, "address": self.caller.address}

    def build(self) -> board.BuildDetail:
        """The build that it is about. Raises Problem 404."""
        with self.context.db.reader() as session:
            detail = board.build_detail(session, self.build_id)
        if detail is None:
            raise Problem(404, f"There is no build {self.subject}.")
        return detail


@dataclass(frozen=True)
class TextField:
    """One line that the form asks for. ``limit`` is in characters."""

    name: str
    label: str
    limit: int
    required: bool = True


WHY = TextField("why", "Why, for the others", overrides.WHY_LIMIT)


@dataclass(frozen=True)
class Button:
    """``what`` says what will happen, ``act`` does it in a given transaction, ``back`` is where to look then."""

    name: str
    scope: str
    label: str
    what: Callable[[Asked], str]
    act: Callable[[Asked, Database], Done]
    back: Callable[[str], str]
    texts: tuple[TextField, ...] = ()
    choices: Callable[[Asked], Mapping[str, Mapping[str, str]]] = field(default=lambda asked: {})
