"""What the API says about causes, and what it takes for a name."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from service.domain.diagnosis import Fault, Retry
from service.web.api.schemas import Shape


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


class NameShape(BaseModel):
    """A name for a cluster. Every text is one line."""

    model_config = ConfigDict(extra="forbid")

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
