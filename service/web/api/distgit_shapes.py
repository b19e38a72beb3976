"""Shapes of dist-git in the API."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class DistGitShape(BaseModel):
    """What a build changed in its package's dist-git branch, or is going to."""

    model_config = ConfigDict(from_attributes=True)

    package: str
    branch: str
    repository: str
    decision: str
    resolution: str
    evr: str
    commit: str = Field(description="The commit that was made; empty before that.")
    landed_commit: str = Field(description="The commit of the branch that is built; empty before that.")
    open_conflict: bool = Field(description="Whether a person must settle a conflict now.")
    conflict: str
    pull_number: int | None = Field(description="The pull request's number at its forge.")
    pull_url: str
    pull_state: Literal["", "open", "merged", "closed"]
    pull_opened_at: datetime | None
