"""Changes the states of builds, chroots, releases, deliveries and side tags, with reason and line of history.

No other file assigns a state. Each move must be in the tables of service/domain/states.py.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from service.domain.states import (
    ENDED_BUILD,
    ENDED_CHROOT,
    BuildState,
    ChrootState,
    DeliveryState,
    ReleaseState,
    SideTagState,
    move,
)
from service.store.schema import (
    BuildEvent,
    ChrootBuild,
    PackageBuild,
    SideTag,
    SideTagEvent,
    UpstreamRelease,
    WebhookDelivery,
)

REASON_LIMIT = 2000


def move_build(
    session: Session,
    build: PackageBuild,
    new: BuildState,
    *,
    at: datetime,
    reason: str,
    due_at: datetime | None = None,
) -> None:
    """Move a build to another state and append its line of history. Clears the lease; an ended build is not due.

    ``due_at`` is when the build is worked on next. ``reason`` must not be empty for failed, canceled, errored,
    superseded and held. Raises IllegalMove. The caller commits.
    """
    old = BuildState(build.state)
    build.state = move(old, new).value
    build.reason = reason[:REASON_LIMIT]
    build.due_at = due_at
    build.lease_token = None
    build.lease_until = None
    build.tries = 0
    if new in ENDED_BUILD:
        build.ended_at = at
        build.due_at = None
    note_event(session, build, at=at, kind="state", text=reason, old=old, new=new)


def start_build(session: Session, build: PackageBuild, *, at: datetime, text: str) -> None:
    """Add a new build in state pending, due at once, with the first line of its history. The caller commits."""
    build.state = BuildState.PENDING.value
    build.due_at = at
    session.add(build)
    session.flush()
    note_event(session, build, at=at, kind="state", text=text, new=BuildState.PENDING)


def note_event(
    session: Session,
    build: PackageBuild,
    *,
    at: datetime,
    kind: str,
    text: str,
    old: BuildState | ChrootState | None = None,
    new: BuildState | ChrootState | None = None,
    chroot: str = "",
) -> None:
    """Append one line to a build's history. The caller commits.

    ``kind`` says what the line is about: state, chroot, submission, retry, request, dist-git, side-tag and the like.
    """
    session.add(
        BuildEvent(
            build_id=build.id,
            at=at,
            kind=kind,
            old_state=old.value if old else "",
            new_state=new.value if new else "",
            text=text[:REASON_LIMIT],
            chroot=chroot,
        )
    )


def move_chroot(
    session: Session, build: PackageBuild, chroot: ChrootBuild, new: ChrootState, *, at: datetime, reason: str
) -> bool:
    """Move a chroot to the state that the build system reports, and append a line to its build's history.

    Does nothing and returns False where the chroot has that state or has ended, or where an older report says
    pending of a running one; else True. The caller commits.
    """
    old = ChrootState(chroot.state)
    if old is new or old in ENDED_CHROOT or (old is ChrootState.RUNNING and new is ChrootState.PENDING):
        return False
    chroot.state = move(old, new).value
    chroot.reason = reason[:REASON_LIMIT]
    note_event(session, build, at=at, kind="chroot", text=reason, old=old, new=new, chroot=chroot.chroot)
    return True


def move_release(release: UpstreamRelease, new: ReleaseState, *, reason: str) -> None:
    """Move a release to another state. Raises IllegalMove. The caller commits."""
    release.state = move(ReleaseState(release.state), new).value
    release.reason = reason[:REASON_LIMIT]


def move_delivery(delivery: WebhookDelivery, new: DeliveryState, *, at: datetime, reason: str) -> None:
    """Move a delivery to another state: received makes it due at once, every other one ends it.

    Clears the lease. Raises IllegalMove. The caller commits.
    """
    delivery.state = move(DeliveryState(delivery.state), new).value
    delivery.reason = reason[:REASON_LIMIT]
    delivery.lease_token = None
    delivery.lease_until = None
    delivery.tries = 0
    received = new is DeliveryState.RECEIVED
    delivery.due_at = at if received else None
    delivery.ended_at = None if received else at


def move_side_tag(
    session: Session,
    tag: SideTag,
    new: SideTagState,
    *,
    at: datetime,
    reason: str,
    due_at: datetime | None,
) -> None:
    """Move a side tag to another state and append its line of history. Clears the lease; a removed one is not due.

    Raises IllegalMove. The caller commits.
    """
    old = SideTagState(tag.state)
    tag.state = move(old, new).value
    tag.reason = reason[:REASON_LIMIT]
    tag.due_at = due_at
    tag.lease_token = None
    tag.lease_until = None
    tag.tries = 0
    if new is SideTagState.REMOVED:
        tag.ended_at = at
        tag.due_at = None
    note_side_tag(session, tag, at=at, text=reason, old=old, new=new)


def note_side_tag(
    session: Session,
    tag: SideTag,
    *,
    at: datetime,
    text: str,
    old: SideTagState | None = None,
    new: SideTagState | None = None,
) -> None:
    """Append one line to a side tag's history. The caller commits."""
    session.add(
        SideTagEvent(
            side_tag_id=tag.id,
            at=at,
            old_state=old.value if old else "",
            new_state=new.value if new else "",
            text=text[:REASON_LIMIT],
        )
    )
