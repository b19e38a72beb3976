"""Reads the dist-git changes of builds: commit, conflict and pull request."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.domain.distgit import ChecklistStep, PullState, new_stream_checklist
from service.domain.states import BuildState
from service.store.schema import DistGitChange, PackageBuild


@dataclass(frozen=True)
class ChangeRow:
    """One change of dist-git. ``open_conflict`` says that a person must settle ``conflict`` now.

    ``checklist`` is what a new stream needs, and is there only while repository or branch are missing.
    ``open_pull`` says that a person's merge is waited for now; without a pull request its fields are empty.
    """

    build_id: int
    package: str
    branch: str
    repository: str
    decision: str
    resolution: str
    conflict: str
    open_conflict: bool
    evr: str
    commit: str
    landed_commit: str
    checklist: tuple[ChecklistStep, ...]
    pull_number: int | None
    pull_url: str
    pull_state: str
    pull_opened_at: datetime | None
    open_pull: bool


def changes_of(session: Session, build_ids: Collection[int]) -> tuple[ChangeRow, ...]:
    """Return the dist-git changes of these builds, oldest first; builds made from an SRPM have none."""
    if not build_ids:
        return ()
    rows = session.execute(
        select(DistGitChange, PackageBuild.state)
        .join(PackageBuild, PackageBuild.id == DistGitChange.build_id)
        .where(DistGitChange.build_id.in_(build_ids))
        .order_by(DistGitChange.id)
    ).all()
    return tuple(_shown(row, state) for row, state in rows)


def _shown(row: DistGitChange, state: str) -> ChangeRow:
    held = state == BuildState.HELD
    checklist: tuple[ChecklistStep, ...] = ()
    if held and row.missing:
        checklist = new_stream_checklist(
            row.package, row.branch, repository=row.missing != "repository", branch_there=False
        )
    return ChangeRow(
        build_id=row.build_id,
        package=row.package,
        branch=row.branch,
        repository=row.repository,
        decision=row.decision,
        resolution=row.resolution,
        conflict=row.conflict,
        open_conflict=held and bool(row.conflict),
        evr=row.evr,
        commit=row.commit_id,
        landed_commit=row.landed_commit,
        checklist=checklist,
        pull_number=row.pull_number,
        pull_url=row.pull_url,
        pull_state=row.pull_state,
        pull_opened_at=row.pull_opened_at,
        open_pull=held and row.pull_state == PullState.OPEN,
    )
