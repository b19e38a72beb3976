"""Work that comes after a submission or an end: claim, act elsewhere, record. Each public function commits.

A follow-up is unique by (build, kind, subject). Its runner is in ``workers/follow_ups.py``; what a runner found is
recorded in the transaction that closes the follow-up, so that neither is there without the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from service.builds.claims import take_lease
from service.domain.planning import BuildTarget
from service.domain.reports import BuildRef
from service.domain.states import ENDED_BUILD, ENDED_CHROOT, BuildState, ChrootState
from service.store.options import target_of
from service.store.schema import FollowUp, PackageBuild
from service.store.session import Database, database_now
from service.store.transitions import note_event

LOGS, VERIFY, DIAGNOSE, SURPLUS, REPOSITORY = "logs", "verify", "diagnose", "surplus", "repository"
SHIPPED = "shipped"
PULL_REQUEST = "pull-request"
PATIENT = frozenset({SURPLUS, PULL_REQUEST})
"""Kinds that no number of tries ends: the next build at the cell, or a person's merge, would wait in vain."""

SOURCE_STEP = "source"
"""The subject of what follows a failure before any chroot began; no chroot has a name without a dash."""

KEPT_ELSEWHERE = timedelta(days=14)
"""How long COPR keeps logs and results of failed and superseded builds (facts of its backend's pruning)."""

AFTER_LOGS: Mapping[str, str] = {
    ChrootState.SUCCEEDED.value: VERIFY,
    ChrootState.FAILED.value: DIAGNOSE,
}
"""What comes after the logs of a chroot, by the chroot's state; ``failed`` also stands for the source step."""

FETCHING = frozenset({LOGS, VERIFY, DIAGNOSE})
"""Kinds that download or read whole logs and RPMs, which may take minutes."""

NOT_KEPT = FETCHING | {SURPLUS}
"""Kinds that look for what the other side deletes. Tags and pull requests stay, and kinds of a newer version may."""

Record = Callable[[Session, PackageBuild, datetime], None]
"""Writes a runner's findings within the closing transaction, which it must not end."""


@dataclass(frozen=True)
class FollowUpWork:
    """A leased follow-up. ``tries`` counts this claim; ``subject`` is a chroot, or "source", or a number.

    ``past_deadline``: the build ended so long ago that the other side will have deleted what we look for.
    """

    id: int
    token: str
    kind: str
    subject: str
    tries: int
    build_id: int
    past_deadline: bool


@dataclass(frozen=True)
class Done:
    """A runner has ended the follow-up: one line for the history, and what records its findings when it is closed."""

    outcome: str
    record: Record | None = None


@dataclass(frozen=True)
class Again:
    """A runner wants to run again after a pause; its findings are recorded now, and no try is spent."""

    text: str
    delay_seconds: float
    record: Record | None = None


class NotYet(Exception):
    """A runner could not do its work yet and is tried again; ``str(error)`` is one line that is shown meanwhile.

    ``retry_after`` is seconds, 0 for the usual pause, which doubles with each try. ``spend_try=False``, where the
    other side is away or not ready, spends no try: only the follow-up's deadline ends it.
    """

    def __init__(self, reason: str, *, retry_after: float = 0.0, spend_try: bool = True) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        self.spend_try = spend_try


@dataclass(frozen=True)
class SurplusWork:
    """A search for builds of one submission that must not go on. ``keep`` is the external id that we follow.

    ``given_up`` is the build that we followed and gave up without a confirmed cancel. ``settled`` is False while
    the build itself is still being submitted: then nothing may be cancelled.
    """

    target: BuildTarget
    key: str
    fence: Mapping[str, Any]
    keep: str
    given_up: BuildRef | None
    settled: bool


def claim_follow_up(
    db: Database, follow_up_id: int, *, lease_seconds: Callable[[str], float], max_tries: int
) -> FollowUpWork | None:
    """Lease a follow-up that is due, for as long as its kind needs; None if there is nothing to do.

    One whose claims ended without an answer ``max_tries`` times kills its worker, and ends here; the PATIENT kinds
    do not, because somebody relies on them: their lease is long instead.
    """
    with db.transaction() as session:
        now = database_now(session)
        row = session.scalars(
            select(FollowUp)
            .where(
                FollowUp.id == follow_up_id,
                FollowUp.ended_at.is_(None),
                FollowUp.due_at <= now,
                or_(FollowUp.lease_until.is_(None), FollowUp.lease_until <= now),
            )
            .with_for_update(skip_locked=True)
        ).one_or_none()
        if row is None:
            return None
        build = session.get_one(PackageBuild, row.build_id)
        if row.tries >= max_tries and row.kind not in PATIENT:
            _end(session, build, row, now, f"gave up after {row.tries} tries that ended without an answer")
            return None
        return FollowUpWork(
            id=row.id,
            token=take_lease(row, now, lease_seconds(row.kind)),
            kind=row.kind,
            subject=row.subject,
            tries=row.tries,
            build_id=row.build_id,
            past_deadline=(
                row.kind in NOT_KEPT and build.ended_at is not None and now > build.ended_at + KEPT_ELSEWHERE
            ),
        )


def fetching(db: Database, follow_ups: Iterable[int]) -> frozenset[int]:
    """Those of the follow-ups (by id) that download or read much. Reads only."""
    with db.reader() as session:
        return frozenset(
            session.scalars(
                select(FollowUp.id).where(FollowUp.id.in_(list(follow_ups)), FollowUp.kind.in_(FETCHING))
            )
        )


def surplus_work(db: Database, work: FollowUpWork) -> SurplusWork:
    """What a search for surplus builds needs to know of its build. Reads only."""
    with db.reader() as session:
        build = session.get_one(PackageBuild, work.build_id)
        followed = build.external_id or ""
        given_up = build.state == BuildState.ERRORED and followed
        return SurplusWork(
            target=target_of(build),
            key=build.submission_key or "",
            fence=dict(build.fence or {}),
            keep="" if given_up else followed,
            given_up=BuildRef(build.system, build.project, followed) if given_up else None,
            settled=bool(followed) or build.state in ENDED_BUILD,
        )


def end_follow_up(db: Database, work: FollowUpWork, outcome: str, record: Record | None = None) -> bool:
    """Close a follow-up with one line on what it came to, which also goes into the build's history.

    ``record`` writes the findings in the same transaction. False: the lease was lost, nothing was written.
    """
    with db.transaction() as session:
        row = leased_row(session, work)
        if row is None:
            return False
        now = database_now(session)
        build = session.get_one(PackageBuild, row.build_id)
        if record is not None:
            record(session, build, now)
        _end(session, build, row, now, outcome)
        if row.kind == LOGS:
            _after_logs(session, build, row.subject, now)
        return True


def _end(session: Session, build: PackageBuild, row: FollowUp, now: datetime, outcome: str) -> None:
    row.outcome = outcome
    row.ended_at = now
    row.due_at = None
    row.lease_token = None
    row.lease_until = None
    _note(session, build, row, now, outcome)


def look_for_surplus(session: Session, build: PackageBuild, now: datetime, *, delay_seconds: float) -> None:
    """Have somebody look for builds of this submission that must not go on. The caller commits."""
    _add_numbered(session, build, SURPLUS, now, delay_seconds)


def wait_for_repository(
    session: Session, build: PackageBuild, now: datetime, *, delay_seconds: float
) -> None:
    """Have somebody look whether the dist-git repository or branch of a held build has appeared. The caller commits."""
    _add_numbered(session, build, REPOSITORY, now, delay_seconds)


def watch_pull_request(session: Session, build: PackageBuild, now: datetime, *, delay_seconds: float) -> None:
    """Add what follows a pull request to its end, unless that is there. The build's row must be locked."""
    watched = select(FollowUp.id).where(
        FollowUp.build_id == build.id, FollowUp.kind == PULL_REQUEST, FollowUp.ended_at.is_(None)
    )
    if session.scalar(watched.limit(1)) is None:
        _add_numbered(session, build, PULL_REQUEST, now, delay_seconds)


def hasten_watch(session: Session, build_id: int, now: datetime) -> bool:
    """Make due what follows the pull request of a build, since somebody waits for it. The caller commits.

    False where it is at work already, or has met trouble, which more haste would not help.
    """
    idle = (FollowUp.ended_at.is_(None), FollowUp.lease_token.is_(None), FollowUp.outcome == "")
    mine = (FollowUp.build_id == build_id, FollowUp.kind == PULL_REQUEST)
    found = session.scalars(select(FollowUp).where(*mine, *idle).with_for_update(skip_locked=True)).all()
    for row in found:
        row.due_at = now
    return bool(found)


def _add_numbered(
    session: Session, build: PackageBuild, kind: str, now: datetime, delay_seconds: float
) -> None:
    """A build may need such a follow-up more than once, so its subject is a number."""
    count = session.scalar(
        select(func.count()).select_from(FollowUp).where(FollowUp.build_id == build.id, FollowUp.kind == kind)
    )
    _add(session, build, kind, [str(count or 0)], now + timedelta(seconds=delay_seconds))


def postpone_follow_up(
    db: Database, work: FollowUpWork, reason: str, *, delay_seconds: float, spend_try: bool = True
) -> None:
    """Give a follow-up back, due again later, with the reason shown meanwhile.

    Trouble of the other side spends no try (``spend_try=False``).
    """
    with db.transaction() as session:
        row = leased_row(session, work)
        if row is None:
            return
        now = database_now(session)
        if reason and row.outcome != reason:
            _note(session, session.get_one(PackageBuild, row.build_id), row, now, f"later again: {reason}")
        row.outcome = reason
        row.due_at = now + timedelta(seconds=delay_seconds)
        row.lease_token = None
        row.lease_until = None
        if not spend_try:
            row.tries = max(row.tries - 1, 0)


def add_follow_up(
    session: Session, build: PackageBuild, kind: str, subject: str, *, due_at: datetime
) -> None:
    """Add a follow-up unless the build has it already. The build's row must be locked; the caller commits."""
    _add(session, build, kind, [subject], due_at)


def follow_ends(session: Session, build: PackageBuild, now: datetime) -> None:
    """Add what must follow the chroots that have ended, and the failed source step. Repeating it adds nothing.

    The build's row must be locked; the caller commits.
    """
    ended = [
        row.chroot
        for row in build.chroots
        if ChrootState(row.state) in ENDED_CHROOT and row.state != ChrootState.SKIPPED and row.result_url
    ]
    began = any(row.result_url for row in build.chroots)
    if build.state == BuildState.FAILED and build.source_log_url and not began:
        ended.append(SOURCE_STEP)
    if ended:
        _add(session, build, LOGS, ended, now)


def follow_tags(session: Session, build: PackageBuild, now: datetime) -> None:
    """Have somebody read from the build's tags how far it is shipped. The build is locked; the caller commits."""
    _add(session, build, SHIPPED, ["tags"], now)


def _add(session: Session, build: PackageBuild, kind: str, subjects: Iterable[str], due_at: datetime) -> None:
    known = set(
        session.scalars(select(FollowUp.subject).where(FollowUp.build_id == build.id, FollowUp.kind == kind))
    )
    for subject in subjects:
        if subject not in known:
            session.add(FollowUp(build_id=build.id, kind=kind, subject=subject, due_at=due_at))


def _after_logs(session: Session, build: PackageBuild, subject: str, now: datetime) -> None:
    states = {row.chroot: row.state for row in build.chroots} | {SOURCE_STEP: ChrootState.FAILED.value}
    kind = AFTER_LOGS.get(states.get(subject, ""))
    if kind is not None:
        _add(session, build, kind, [subject], now)


def leased_row(session: Session, work: FollowUpWork) -> FollowUp | None:
    """The claimed follow-up, locked, if its lease is still the claim's."""
    return session.scalars(
        select(FollowUp).where(FollowUp.id == work.id, FollowUp.lease_token == work.token).with_for_update()
    ).one_or_none()


def _note(session: Session, build: PackageBuild, row: FollowUp, now: datetime, text: str) -> None:
    numbered = {SURPLUS: "submission", REPOSITORY: "dist-git", PULL_REQUEST: "dist-git", SHIPPED: SHIPPED}
    kind, chroot = (numbered[row.kind], "") if row.kind in numbered else (row.kind, row.subject)
    note_event(session, build, at=now, kind=kind, text=text, chroot=chroot)
