"""The base classes of the API's request bodies and answers, and the fields that several of them have."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

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
Next = Annotated[str | None, Field(description="The cursor of the next page; null at the end.")]


class Shape(BaseModel):
    # No docstring: it would be the description of every shape that has none.
    model_config = ConfigDict(from_attributes=True)


class Body(BaseModel):
    """Unknown keys are refused: a misspelt one must not be silently without effect."""

    model_config = ConfigDict(extra="forbid")


class Reason(Body):
    """Why."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"why": "looked at the diff of go.mod"}]})

    why: Why
