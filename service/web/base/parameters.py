"""Parameters of addresses and queries, bounded so that no text or number can trouble a database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Path, Query
from pydantic import AfterValidator

from service.board import LIMIT, LIMIT_MAX
from service.web.base.context import WebContext, context_of

# Printable ASCII: PostgreSQL refuses NUL in a text, and no name of ours holds anything else.
WORD = r"^[!-~]{1,100}$"
ID_MAX = 2**63 - 1


def _in_utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


Context = Annotated[WebContext, Depends(context_of)]
Word = Annotated[str | None, Query(pattern=WORD)]
WordInPath = Annotated[str, Path(pattern=WORD)]
BuildId = Annotated[int, Path(ge=1, le=ID_MAX)]
Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX, description="How many rows at most.")]
Cursor = Annotated[str | None, Query(max_length=64, description="The 'next' of the page before.")]
Since = Annotated[
    datetime | None,
    AfterValidator(lambda value: _in_utc(value) if value else None),
    Query(description="RFC 3339; without a zone it is UTC."),
]
DEFAULT_LIMIT = LIMIT
