"""The shapes of the API's answers. Times are RFC 3339 in UTC, ages and durations are seconds."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from service.web.api.distgit_shapes import DistGitShape


class Shape(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class ProblemShape(Shape):
    """An error, as RFC 9457 says. 'detail' is one line that says what to do."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[dict[str, str]] | None = Field(None, description="422: each parameter that does not fit.")
    error_id: str | None = Field(None, description="500: what to look for in the log.")


class Chroot(Shape):
    """One chroot of a build: pending, running, succeeded, failed, canceled or skipped."""

    chroot: str
    arch: str
    state: str
    reason: str
    started_at: datetime | None
    ended_at: datetime | None
    result_url: str
    log_url: str


class Build(Shape):
    """One attempt to build one release for one target. 'failed' is the package's fault, 'errored' is not."""

    id: int
    family: str
    stream: str
    package: str
    version: str
    nvr: str = Field(
        description="As the build system calls the build, or our SRPM; empty while neither is known."
    )
    target: str
    branch: str
    system: str
    project: str
    attempt: int
    state: str
    reason: str
    note: str
    cause: str = Field(description="What the logs say went wrong, in one line; empty where nothing was read.")
    soundness: str
    shipped: str = Field(description="How far the build is on its way to users: candidate, testing, stable.")
    shipped_at: datetime | None
    external_id: str | None
    web_url: str
    requested_by: str | None
    created_at: datetime
    submitted_at: datetime | None
    ended_at: datetime | None
    spec_sha256: str | None
    srpm_name: str | None
    srpm_sha256: str | None
    chroots: list[Chroot]


class Event(Shape):
    """One line of a build's history."""

    id: int
    at: datetime
    kind: str
    old_state: str
    new_state: str
    text: str
    chroot: str


class BuildWithHistory(Build):
    """A build with how it was made; its history has an address of its own."""

    strategy: str
    workarounds: list[str]
    source_log_url: str
    submissions: int
    observed_at: datetime | None
    deadline_at: datetime
    due_at: datetime | None
    tries: int
    cancel_requested: str | None
    attempts: list[int] = Field(description="Ids of all attempts at this cell, newest first.")
    last_good: int | None = Field(description="The build that succeeded here before this one.")
    partial: str = Field(description="What the source archive lacks; empty for a whole one.")
    confirmed: bool = Field(description="False until a person has looked at the stream.")
    dist_git: DistGitShape | None = Field(description="Null for a build that is made from an SRPM.")


class SpecShape(Shape):
    """A rendered spec, and its unified diff to the one before it in the same cell."""

    build_id: int
    package: str
    version: str
    target: str
    sha256: str
    text: str
    previous_build_id: int | None
    diff: list[str]


class Delivery(Shape):
    """One webhook delivery and what became of it."""

    guid: str
    event: str
    action: str
    repository: str
    tag: str
    state: str
    reason: str
    received_at: datetime
    ended_at: datetime | None
    due_at: datetime | None
    tries: int
    repeats: int


class DeliveryWithPayload(Delivery):
    """A delivery with its size in bytes, its payload (null where too long to show), and its release."""

    size: int
    payload: Any | None
    release: str | None = Field(description="family/version of the release that it is about.")


class Release(Shape):
    """One upstream release. 'state' is our decision, 'status' what its builds make of it."""

    family: str
    version: str
    stream: str
    tag: str
    commit: str
    prerelease: bool
    published_at: datetime | None
    first_seen_at: datetime
    origin: str
    html_url: str
    state: str
    reason: str
    mark: str
    status: str
    builds: dict[str, int] = Field(description="How many targets' latest attempts are in which state.")


class Skipped(Shape):
    """A target that does not build a release, and why."""

    target_id: str
    branch: str
    reason: str


class DisagreementShape(Shape):
    """A fact in which source and catalogue differ; the source wins. Empty: there is none."""

    name: str
    source: str
    catalogue: str


class ReleaseWithBuilds(Release):
    """A release with its source and all its builds."""

    package: str
    facts: dict[str, Any]
    delivery: str | None = Field(description="The delivery that announced it.")
    attempts: list[Build]
    not_planned: list[Skipped]
    disagreements: list[DisagreementShape]
    confirmed: bool = Field(description="False until a person has looked at the stream.")
    bugs: list[int] = Field(description="Bugs of Fedora's Bugzilla that ask for the release.")


class LastGood(Shape):
    """The last version that succeeded in a cell."""

    build_id: int
    version: str
    nvr: str
    ended_at: datetime
    shipped: str


class MatrixCell(Shape):
    """One package on one target: the newest version's latest attempt, and whether it is behind upstream."""

    target: str
    branch: str
    system: str
    state: str = Field(description="The build's state, or 'empty'.")
    reason: str = Field(description="Why it is not green; in an empty cell why nothing is planned.")
    soundness: str
    shipped: str = Field(
        description="candidate, testing or stable by the build's tags; empty where not shipped."
    )
    nvr: str
    version: str
    age_seconds: int | None = Field(description="Since the build ended, or began if it has not.")
    behind: bool
    planned: bool
    build: Build | None
    last_good: LastGood | None


class StreamShape(Shape):
    """One stream of a family. 'refusal' says why it is not built."""

    family: str
    stream: str
    package: str
    confirmed: bool
    eol: date | None
    is_eol: bool
    refusal: str
    newest: str | None
    buildable: str | None


class MatrixRow(StreamShape):
    """One stream with its cells, in the order of the matrix's targets."""

    cells: list[MatrixCell]


class Target(Shape):
    """One branch on one build system. 'is_eol': the branch gets no new builds. 'style': srpm or dist-git."""

    target: str
    branch: str
    system: str
    project: str
    chroots: list[str]
    strategy: str
    enabled: bool
    eol: date | None
    is_eol: bool
    style: str


class MatrixShape(Shape):
    """Packages × (branches × build systems), newest stream first."""

    targets: list[Target]
    rows: list[MatrixRow]
    counts: dict[str, int]


class WorkaroundShape(Shape):
    """One row of the catalogue's workarounds: when it applies, what it adds, and why."""

    id: str
    families: list[str]
    strategies: list[str]
    first_stream: str | None
    last_stream: str | None
    requires: list[str]
    first_branch: int | None
    last_branch: int | None
    macros: dict[str, str]
    linker_flags: list[str]
    build_tags: list[str]
    toolchain: list[str] = Field(description="Facts of a branch's compilers and linkers that must hold.")
    symptoms: list[str] = Field(description="Patterns of log lines that the row's trouble writes.")
    free_of: list[str] = Field(description="Findings that a binary built with the row lacks.")
    why: str
    reference: str


class Builds(Shape):
    items: list[Build]
    next: str | None = Field(description="The cursor of the next page; null at the end.")


class Releases(Shape):
    items: list[Release]
    next: str | None = Field(description="The cursor of the next page; null at the end.")


class Deliveries(Shape):
    items: list[Delivery]
    next: str | None = Field(description="The cursor of the next page; null at the end.")


class Events(Shape):
    items: list[Event]
    next: str | None = Field(description="The cursor of the next page; null at the end.")


class Streams(Shape):
    items: list[StreamShape]
    next: str | None = None


class Targets(Shape):
    items: list[Target]
    next: str | None = None
