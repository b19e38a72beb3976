"""Shapes of logs in the API."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

LogKind = Literal["builder", "root", "backend", "source"]


class KeptLog(BaseModel):
    """One stored log, or why there is none. Sizes are bytes; ``left_out`` are missing in its middle."""

    model_config = ConfigDict(from_attributes=True)

    kind: LogKind
    is_stored: bool
    plain_size: int
    stored_size: int
    lines: int
    left_out: int
    sha256: str
    stored_at: datetime
    removed_at: datetime | None
    problem: str


class LogShape(BaseModel):
    """Where a chroot's logs are: at the build system, and what we keep of them."""

    chroot: str
    state: str
    log_url: str
    result_url: str
    kept: list[KeptLog]


class HitShape(BaseModel):
    """A line that holds what was looked for."""

    line: int
    text: str


class HitsShape(BaseModel):
    """The hits of a search in a log, in its order; ``complete`` is false where there may be more."""

    kind: LogKind
    hits: list[HitShape]
    complete: bool
