"""Parameters of addresses and queries, bounded so that no text or number can trouble a database.

Routes of the API declare them by type. Pages read them themselves: what a form leaves open is not an error there.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Path, Query
from pydantic import AfterValidator
from starlette.datastructures import QueryParams

from service.board import LIMIT, LIMIT_MAX
from service.web.base.context import WebContext, context_of
from service.web.base.problems import Problem

# Printable ASCII: PostgreSQL refuses NUL in a text, and no name of ours holds anything else.
WORD = r"^[!-~]{1,100}$"
ID_MAX = 2**63 - 1

_WORD = re.compile(r"[!-~]{1,100}", re.ASCII)
_ID = re.compile(r"[1-9]\d{0,17}", re.ASCII)


def _in_utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


Context = Annotated[WebContext, Depends(context_of)]
Word = Annotated[str | None, Query(pattern=WORD)]
WordInPath = Annotated[str, Path(pattern=WORD)]
IdInPath = Annotated[int, Path(ge=1, le=ID_MAX)]
Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX, description="How many rows at most.")]
Cursor = Annotated[str | None, Query(max_length=64, description="The 'next' of the page before.")]
Since = Annotated[
    datetime | None,
    AfterValidator(lambda value: _in_utc(value) if value else None),
    Query(description="RFC 3339; without a zone it is UTC."),
]
DEFAULT_LIMIT = LIMIT


def word(query: QueryParams, name: str) -> str:
    """Return a word of a page's query, or empty text where it is missing or not a word."""
    value = query.get(name, "")
    return value if _WORD.fullmatch(value) else ""


def known_word(text: str, what: str) -> str:
    """Return a word from a page's path. Raises Problem 404 for what cannot be a name of ours."""
    if not _WORD.fullmatch(text):
        raise Problem(404, f"There is no such {what}.")
    return text


def known_id(text: str, what: str) -> int:
    """Return a row's id from a page's path. Raises Problem 404 for what cannot be one."""
    if not _ID.fullmatch(text):
        raise Problem(404, f"There is no such {what}.")
    return int(text)
