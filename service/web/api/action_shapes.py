"""The bodies of what the API is asked to do, and the answers."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.web.api.schemas import Shape

Name = Annotated[str, Field(pattern=r"^[!-~]{1,100}$")]
Why = Annotated[
    str,
    Field(
        min_length=1,
        max_length=500,
        pattern=r"\S",
        description="Why, for the others. Kept in the audit trail.",
    ),
]


class Body(BaseModel):
    """Unknown keys are refused: a misspelt one must not be silently without effect."""

    model_config = ConfigDict(extra="forbid")


class NewRelease(Body):
    """A release to announce by hand. A pre-release named here is built, too."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"family": "cri-o", "tag": "v1.35.6"}]})

    family: Name
    tag: Name
    bugs: list[Annotated[int, Field(gt=0, lt=2**31)]] = Field(
        default_factory=list,
        max_length=20,
        description="Bugs of Fedora's Bugzilla that ask for the release; dist-git's commit resolves them.",
    )


class RetryBody(Body):
    """How to build again. ``strategy`` null: as before."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"strategy": "compat"}, {}]})

    strategy: Name | None = None


class RebuildBody(Body):
    """Cells to build again. At least one of stream, version, branch and target; what is given composes.

    Without a version it is each stream's newest planned release.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"family": "cri-o", "version": "1.35.6", "only": "failed"},
                {"family": "cri-o", "branch": "f44", "dry_run": True},
                {"family": "cri-o", "stream": "1.34", "system": "copr", "strategy": "compat"},
            ]
        }
    )

    family: Name
    stream: Name | None = None
    version: Name | None = None
    branch: Name | None = None
    system: Name | None = None
    target: Name | None = None
    only: Literal["all", "failed"] = Field("all", description="failed: what failed or errored last.")
    strategy: Name | None = Field(None, description="Instead of the targets' own.")
    dry_run: bool = Field(False, description="Only say what would be done.")

    @model_validator(mode="after")
    def _says_which(self) -> RebuildBody:
        if not (self.stream or self.version or self.branch or self.target):
            raise ValueError("say which cells: a stream, a version, a branch or a target")
        return self


class HowResolved(Body):
    """Whose lines win in a conflict of dist-git, or ``done`` where it was edited there."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"how": "dist-git"}]})

    how: Literal["generated", "dist-git", "done"]


class Reason(Body):
    """Why."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"why": "looked at the diff of go.mod"}]})

    why: Why


class EndOfLife(Body):
    """Why, and since which day; today where it is not given."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"why": "upstream announced it", "eol": "2026-11-25"}]}
    )

    why: Why
    eol: date | None = None


class TargetChanges(Body):
    """What to change of a target, and why. What is not named stays; null opens the range of streams."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"strategy": "compat", "first_stream": "1.32", "why": "f44's linker"}]
        }
    )

    why: Why
    enabled: bool | None = None
    project: Annotated[str, Field(pattern=r"^[!-~]{1,200}$")] | None = None
    chroots: Annotated[list[Name], Field(max_length=50)] | None = None
    strategy: Name | None = None
    first_stream: Name | None = None
    last_stream: Name | None = None
    deadline_hours: Annotated[int, Field(ge=1, le=720)] | None = None

    def changes(self) -> dict[str, Any]:
        """The keys that were given; null means something for the ends of the range only."""
        given = self.model_dump(exclude_unset=True, exclude={"why"})
        return {
            key: value
            for key, value in given.items()
            if value is not None or key in ("first_stream", "last_stream")
        }


class NewTokenBody(Body):
    """A token to make."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "ci", "scopes": ["builds:write"], "days": 90}]}
    )

    name: Name
    scopes: Annotated[
        list[Literal["read", "builds:write", "releases:write", "catalog:write", "admin"]],
        Field(min_length=1, max_length=5),
    ]
    days: Annotated[int, Field(ge=1, le=3660)] | None = Field(90, description="null: it never expires.")


class Announced(Shape):
    """The decision about a release, and the builds that are now due."""

    family: str
    version: str
    sentence: str
    builds: list[int]


class BuildAsked(Shape):
    """The build that was made or touched, and what becomes of it."""

    build: int
    sentence: str


class DeliveryAsked(Shape):
    """The delivery that is due again."""

    delivery: str
    sentence: str


class RebuildCell(Shape):
    """One cell of the wish: its last attempt, the new one, or why there is none."""

    package: str
    version: str
    target: str
    branch: str
    system: str
    last_build: int | None
    last_state: str
    refusal: str
    build: int | None


class Rebuilt(Shape):
    """What became of each cell, or would."""

    dry_run: bool
    builds: list[int]
    cells: list[RebuildCell]


class CatalogChanged(Shape):
    """What a change of the catalogue changed. The next planning, in a moment, follows it."""

    kind: str
    subject: str
    before: dict[str, Any]
    after: dict[str, Any]
    sentence: str


class OverrideShape(Shape):
    """What differs from the catalogue's files, and who wanted it, when and why."""

    id: int
    kind: str
    subject: str
    changes: dict[str, Any]
    files: dict[str, Any] = Field(description="What the files say of the same keys.")
    why: str
    actor: str
    at: datetime
    refused: str = Field(
        description="Why it is not in force: it does not fit the files any more. Empty: it is."
    )


class Overrides(Shape):
    items: list[OverrideShape]
    next: str | None = None


class TokenShape(Shape):
    """A token without its text. ``state`` is active, expired or revoked."""

    name: str
    scopes: list[str]
    state: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str | None


class TokenMade(Shape):
    """A new token. ``text`` is shown this once."""

    text: str
    token: TokenShape


class Tokens(Shape):
    items: list[TokenShape]
    next: str | None = None
