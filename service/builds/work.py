"""What a claimed row looks like to the worker that claimed it. Frozen; made by progress and submissions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from service.domain.planning import BuildTarget
from service.domain.reports import BuildRef
from service.domain.states import BuildState
from service.store.options import target_of
from service.store.schema import PackageBuild


@dataclass(frozen=True)
class BuildWork:
    """A claimed build: the row as it was at the claim, and the token without which nothing may be recorded.

    ``tries_left`` is 0 at the last allowed claim. ``facts`` are the release's source facts, ``commit`` its tag's.
    """

    id: int
    token: str
    state: BuildState
    release_id: int
    family: str
    package: str
    version: str
    tag: str
    commit: str
    facts: Mapping[str, Any]
    bugs: tuple[int, ...]
    branch: str
    target: BuildTarget
    strategy: str
    attempt: int
    release_number: int | None
    spec_text: str | None
    srpm_name: str | None
    srpm_sha256: str | None
    workarounds: tuple[str, ...]
    submission_key: str | None
    submissions: int
    fence: Mapping[str, Any]
    tries_left: int
    past_deadline: bool
    cancel_requested: str
    last_reason: str


@dataclass(frozen=True)
class PollWork:
    """A running build that is leased for one poll.

    ``long_past`` means that its deadline is so long over that it ends although it cannot be read.
    """

    build_id: int
    token: str
    ref: BuildRef
    cancel_requested: str
    past_deadline: bool
    long_past: bool


@dataclass(frozen=True)
class Due:
    """What a sweep found: ids of rows whose time has come, and projects that have builds to poll."""

    deliveries: tuple[int, ...] = ()
    builds: tuple[int, ...] = ()
    projects: tuple[tuple[str, str], ...] = ()
    follow_ups: tuple[int, ...] = ()
    side_tags: tuple[int, ...] = ()
    oldest_seconds: float = 0.0
    counts: Mapping[str, int] = field(default_factory=dict)


def work_of(build: PackageBuild, token: str, *, now: datetime, max_tries: int) -> BuildWork:
    """The claimed row as frozen work. The session must still be open (the spec's text is loaded late)."""
    release = build.release
    return BuildWork(
        id=build.id,
        token=token,
        state=BuildState(build.state),
        release_id=release.id,
        family=build.family,
        package=build.package,
        version=build.version,
        tag=release.tag,
        commit=release.commit,
        facts=dict(release.facts),
        bugs=tuple(release.bugs),
        branch=build.branch,
        target=target_of(build),
        strategy=build.strategy,
        attempt=build.attempt,
        release_number=build.release_number,
        spec_text=build.spec_text,
        srpm_name=build.srpm_name,
        srpm_sha256=build.srpm_sha256,
        workarounds=tuple(build.workarounds),
        submission_key=build.submission_key,
        submissions=build.submissions,
        fence=dict(build.fence or {}),
        tries_left=max(max_tries - build.tries, 0),
        past_deadline=now > build.deadline_at,
        cancel_requested=build.cancel_requested or "",
        last_reason=build.reason,
    )
