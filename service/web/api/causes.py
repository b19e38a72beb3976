"""The API's causes of failures: read rules and clusters, and name a cluster."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import Field
from starlette.responses import Response

from service import board
from service.domain.diagnosis import Fault, Retry
from service.results import diagnoses
from service.store.session import Database
from service.web.access.auth import needs
from service.web.api.builds import known_build
from service.web.api.schemas import Body, Shape
from service.web.api.writes import Done, WriteRequest, write_needs
from service.web.base.parameters import Context, IdInPath
from service.web.base.problems import READ_PROBLEMS, WRITE_PROBLEMS

Fingerprint = Annotated[str, Path(pattern=r"^[0-9a-f]{16}$", description="The name of a cluster.")]

router = APIRouter(prefix="/api/v1", tags=["causes"], dependencies=[needs("read")], responses=READ_PROBLEMS)


ForBuilds = Annotated[WriteRequest, write_needs("builds:write")]


class ExcerptLine(Shape):
    """One line of a log's excerpt."""

    number: int
    text: str
    decisive: bool


class DiagnosisShape(Shape):
    """What one chroot's logs say; ``rule`` is empty where nobody knows the cause yet."""

    chroot: str
    log: str
    rule: str
    cause: str
    advice: str
    reference: str
    fault: str
    retry: str
    fingerprint: str = Field(description="The cluster of failures that look the same.")
    section: str
    excerpt: list[ExcerptLine]
    also: list[str] = Field(description="Further rules that match, of lower rank.")
    lines: int
    at: datetime


class RemedyShape(Shape):
    """What was decided about a failed build; ``attempt_id`` is null for a suggestion."""

    failed_id: int
    attempt_id: int | None
    rule: str
    kind: str
    strategy: str
    reason: str
    at: datetime


class BuildCauses(Shape):
    """Why a build failed, what follows from it, and of which failure it is the remedy itself."""

    diagnoses: list[DiagnosisShape]
    remedy: RemedyShape | None
    remedy_of: RemedyShape | None


class CountsShape(Shape):
    """How often a cause was met."""

    chroots: int
    builds: int
    last_at: datetime | None


class RuleShape(Shape):
    """One rule, of the catalogue or by a person."""

    id: str
    cause: str
    advice: str
    reference: str
    fault: str
    retry: str
    remedy: str
    counts: CountsShape
    fingerprint: str
    named_by: str
    why: str


class ClusterShape(Shape):
    """Failures of one unknown cause."""

    fingerprint: str
    cause: str
    counts: CountsShape
    branches: list[str]
    packages: list[str]
    build_id: int
    first_at: datetime


class CausesShape(Shape):
    """Unknown clusters, people's rules, and the catalogue's."""

    clusters: list[ClusterShape]
    named: list[RuleShape]
    rules: list[RuleShape]


class NameShape(Body):
    """A name for a cluster. Every text is one line."""

    cause: str = Field(min_length=1, max_length=300)
    why: str = Field(min_length=1, max_length=300, description="How you know.")
    advice: str = Field(default="", max_length=300)
    reference: str = Field(default="", max_length=300)
    fault: Fault = Fault.PACKAGE
    retry: Retry = Retry.NO


class NamedShape(Shape):
    """The rule that a name became, and how many diagnoses it was given to at once."""

    rule: str
    diagnoses: int
    sentence: str


@router.get("/causes", response_model=CausesShape)
def get_causes(context: Context) -> Any:
    """Every rule with its counts, and the clusters of unknown failures."""
    with context.db.reader() as session:
        return board.list_causes(session, context.catalog)


@router.get("/builds/{build_id}/causes", response_model=BuildCauses)
def get_build_causes(context: Context, build_id: IdInPath) -> Any:
    """What the logs of a build's chroots say, with the lines that decide, and what follows."""
    with context.db.reader() as session:
        known_build(session, build_id)
        of_failure, of_itself = board.remedies_of(session, build_id)
        found = board.diagnoses_of(session, context.catalog, build_id)
    return {"diagnoses": found, "remedy": of_failure, "remedy_of": of_itself}


@router.put("/causes/{fingerprint}", response_model=NamedShape, responses=WRITE_PROBLEMS)
def name_cause(write: ForBuilds, fingerprint: Fingerprint, name: NameShape) -> Response:
    """Give a cluster of unknown failures a name: a rule from now on. Repeating it changes the name."""

    def act(db: Database) -> Done:
        named = diagnoses.name_cluster(
            db, fingerprint, cause=name.cause, why=name.why, advice=name.advice, reference=name.reference,
            fault=name.fault, retry=name.retry, rename=True,
            **write.caller.by,
        )  # fmt: skip
        return Done(asdict(named), status=200)

    return write.do(act, name)
