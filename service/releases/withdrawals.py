"""What upstream takes back or changes after the fact: withdrawn releases, moved tags. The callers commit."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.domain.states import ReleaseState
from service.domain.versions import Version
from service.store.schema import PackageBuild, UpstreamRelease
from service.store.transitions import move_release


def withdraw(session: Session, family: str, version: Version, *, at: datetime, reason: str) -> bool:
    """Mark a release as withdrawn: its builds stay, nothing is rebuilt. Returns whether it was known.

    Builds that have not begun are left to their claim, which cancels them with this reason. The caller commits.
    """
    release = session.scalars(
        select(UpstreamRelease)
        .where(UpstreamRelease.family == family, UpstreamRelease.version == str(version))
        .with_for_update()
    ).one_or_none()
    if release is None:
        return False
    if release.state != ReleaseState.WITHDRAWN:
        move_release(release, ReleaseState.WITHDRAWN, reason=reason)
        release.mark = f"withdrawn {at:%Y-%m-%d %H:%M} UTC: {reason}"
    return True


def note_commit(release: UpstreamRelease, commit: str) -> bool:
    """Remember the tag's commit, or mark that the tag has moved; nothing is rebuilt for it. True if it moved."""
    if not release.commit:
        release.commit = commit
        return False
    if release.commit == commit:
        return False
    if not release.facts.get("sha256"):
        moved = f"tag moved from {release.commit[:12]} to {commit[:12]}"
        release.mark = f"{moved} before its source was fetched; the new one counts"
        release.commit = commit
        return True
    release.mark = (
        f"tag moved from {release.commit[:12]} to {commit[:12]}; existing builds stay and nothing is rebuilt"
    )
    return True


def handed_over(session: Session, release: UpstreamRelease) -> bool:
    """Whether any build of the release was ever handed over to a build system. Reads only."""
    return bool(
        session.scalar(
            select(func.count())
            .select_from(PackageBuild)
            .where(PackageBuild.release_id == release.id, PackageBuild.submission_key.is_not(None))
        )
    )
