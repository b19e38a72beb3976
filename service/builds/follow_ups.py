"""Follow-ups: the work that comes after a build's submission or end, from being added to being closed.

Logs, verification, diagnosis, the search for surplus builds, watching pull requests, and how far a build is shipped.
A follow-up is a row, unique by (build, kind, subject), that is claimed like a build. Its runner is in
``workers/follow_ups.py``; what a runner found is recorded in the transaction that closes the follow-up, so that
neither is there without the other. Functions that take a ``Database`` are one transaction and commit; those that take
a ``Session`` leave the commit to the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.builds.claims import end_lease, lease_is_free, lock_claimed_row, lock_due_row, take_lease
from service.domain.planning import BuildTarget
from service.domain.reports import BuildRef
from service.domain.shipping import Shipping, StageTags, fedora_tags
from service.domain.states import ENDED_BUILD, ENDED_CHROOT, BuildState, ChrootState
from service.store.options import target_of
from service.store.schema import FollowUp, PackageBuild
from service.store.session import Database, database_now
from service.store.transitions import note_event

LOGS, VERIFY, DIAGNOSE, SURPLUS, REPOSITORY = "logs", "verify", "diagnose", "surplus", "repository"
SHIPPED = "shipped"
PULL_REQUEST = "pull-request"
PATIENT = frozenset({SURPLUS, PULL_REQUEST})
"""Kinds that no number of tries ends: the next build of the cell, or a person's merge, would wait in vain."""

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
"""Kinds that look for what the build system deletes. Tags and pull requests stay; kinds of a newer version may, too."""

Record = Callable[[Session, PackageBuild, datetime], None]
"""Writes a runner's findings in the transaction that closes the follow-up; it must not commit."""

TAGS_READ_AT_ONCE = 100


@dataclass(frozen=True)
class FollowUpWork:
    """A claimed follow-up. ``tries`` counts this claim; ``subject`` is a chroot, or "source", or a number.

    ``past_deadline``: the build ended so long ago that the build system will have deleted what we look for.
    """

    id: int
    token: str
    kind: str
    subject: str
    tries: int
    build_id: int
    past_deadline: bool


@dataclass(frozen=True)
class SurplusWork:
    """What a search for surplus builds of one submission needs. ``keep`` is the external id that we follow.

    ``given_up`` is the build that we followed and gave up without a confirmed cancel. ``settled`` is False while
    the build itself is still being submitted: then nothing may be cancelled.
    """

    target: BuildTarget
    key: str
    fence: Mapping[str, Any]
    keep: str
    given_up: BuildRef | None
    settled: bool


@dataclass(frozen=True)
class ShippedWork:
    """A build whose tags are to be read. ``moved_at`` is the time of its last stage, or of its end before the first."""

    work: FollowUpWork
    ref: BuildRef
    stages: StageTags
    moved_at: datetime
    now: datetime


def claim_follow_up(
    db: Database, follow_up_id: int, *, lease_seconds: Callable[[str], float], max_tries: int
) -> FollowUpWork | None:
    """Claim a follow-up that is due and return its work, or None if there is nothing to do. Commits.

    ``lease_seconds`` gives the length of the lease by kind. One that was claimed ``max_tries`` times without an answer
    has probably killed its workers, and ends here; the PATIENT kinds do not, because somebody relies on them: their
    lease is long instead.
    """
    with db.transaction() as session:
        now = database_now(session)
        row = lock_due_row(session, FollowUp, follow_up_id, now, FollowUp.ended_at.is_(None))
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
    """Return which of these follow-ups (ids) download or read whole logs or RPMs. Reads only."""
    with db.reader() as session:
        return frozenset(
            session.scalars(
                select(FollowUp.id).where(FollowUp.id.in_(list(follow_ups)), FollowUp.kind.in_(FETCHING))
            )
        )


def surplus_work(db: Database, work: FollowUpWork) -> SurplusWork:
    """Return what a search for surplus builds needs to know of its build. Reads only."""
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


def shipped_work(db: Database, work: FollowUpWork) -> ShippedWork:
    """Return what is needed to read the tags of one build. Reads only."""
    with db.reader() as session:
        return _shipped_work(session.get_one(PackageBuild, work.build_id), work, database_now(session))


def claim_alike(db: Database, first: ShippedWork, *, lease_seconds: float) -> list[ShippedWork]:
    """Claim the other follow-ups of a project that read tags and are due, so that one request reads them together.

    At most TAGS_READ_AT_ONCE. One that was claimed before without an answer is left to be claimed alone. Commits.
    """
    f = FollowUp
    with db.transaction() as session:
        now = database_now(session)
        rows = session.execute(
            select(f, PackageBuild)
            .join(PackageBuild, PackageBuild.id == f.build_id)
            .where(
                f.kind == SHIPPED,
                f.ended_at.is_(None),
                f.due_at <= now,
                f.tries == 0,
                lease_is_free(f, now),
                PackageBuild.system == first.ref.system,
                PackageBuild.project == first.ref.project,
            )
            .order_by(f.due_at)
            .limit(TAGS_READ_AT_ONCE)
            .with_for_update(of=f, skip_locked=True)
        ).all()
        claimed = []
        for row, build in rows:
            token = take_lease(row, now, lease_seconds)
            work = FollowUpWork(
                row.id, token, row.kind, row.subject, row.tries, build.id, past_deadline=False
            )
            claimed.append(_shipped_work(build, work, now))
        return claimed


def _shipped_work(build: PackageBuild, work: FollowUpWork, now: datetime) -> ShippedWork:
    target = target_of(build)
    ended = build.ended_at or now
    return ShippedWork(
        work=work,
        ref=BuildRef(build.system, build.project, build.external_id or "", build.web_url),
        stages=target.stages or fedora_tags(target.branch.number),
        moved_at=max(ended, build.shipped_at or ended),
        now=now,
    )


def end_follow_up(db: Database, work: FollowUpWork, outcome: str, record: Record | None = None) -> bool:
    """Close a follow-up with its outcome in one line, which also goes into the build's history. Commits.

    ``record`` writes the findings in the same transaction. What comes after the logs of a chroot is added here.
    Returns False if the lease was lost; then nothing is written.
    """
    with db.transaction() as session:
        row = claimed_follow_up(session, work)
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
    end_lease(row, None)
    _note(session, build, row, now, outcome)


def look_for_surplus(session: Session, build: PackageBuild, now: datetime, *, delay_seconds: float) -> None:
    """Add a follow-up that looks for surplus builds of this submission and cancels them. The caller commits."""
    _add_numbered(session, build, SURPLUS, now, delay_seconds)


def wait_for_repository(
    session: Session, build: PackageBuild, now: datetime, *, delay_seconds: float
) -> None:
    """Add a follow-up that waits until a held build's dist-git repository or branch appears. The caller commits."""
    _add_numbered(session, build, REPOSITORY, now, delay_seconds)


def watch_pull_request(session: Session, build: PackageBuild, now: datetime, *, delay_seconds: float) -> None:
    """Add a follow-up that watches a build's pull request, unless one is open. The caller commits.

    The build's row must be locked.
    """
    watched = select(FollowUp.id).where(
        FollowUp.build_id == build.id, FollowUp.kind == PULL_REQUEST, FollowUp.ended_at.is_(None)
    )
    if session.scalar(watched.limit(1)) is None:
        _add_numbered(session, build, PULL_REQUEST, now, delay_seconds)


def hasten_watch(session: Session, build_id: int, now: datetime) -> bool:
    """Make the follow-up that watches a build's pull request due now, because another build waits for it.

    Returns False where it is claimed, or has met trouble, which looking sooner would not help. The caller commits.
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
    """Add a follow-up that a build may need more than once, so that its subject is a number."""
    count = session.scalar(
        select(func.count()).select_from(FollowUp).where(FollowUp.build_id == build.id, FollowUp.kind == kind)
    )
    _add(session, build, kind, [str(count or 0)], now + timedelta(seconds=delay_seconds))


def postpone_follow_up(
    db: Database, work: FollowUpWork, reason: str, *, delay_seconds: float, spend_try: bool = True
) -> None:
    """Put a claimed follow-up back, due again later, with the reason shown meanwhile. Commits.

    Trouble of the other side spends no try (``spend_try=False``). Nothing is written if the lease was lost.
    """
    with db.transaction() as session:
        row = claimed_follow_up(session, work)
        if row is None:
            return
        now = database_now(session)
        if reason and row.outcome != reason:
            _note(session, session.get_one(PackageBuild, row.build_id), row, now, f"later again: {reason}")
        row.outcome = reason
        end_lease(row, now + timedelta(seconds=delay_seconds))
        if not spend_try:
            row.tries = max(row.tries - 1, 0)


def repeat_follow_up(
    db: Database, work: FollowUpWork, text: str, *, delay_seconds: float, record: Record | None = None
) -> bool:
    """Put a follow-up back that went well and must be done again later; ``text`` is shown meanwhile. Commits.

    ``record`` writes the findings in the same transaction, and the count of tries begins anew. Returns False if the
    lease was lost; then nothing is written.
    """
    with db.transaction() as session:
        row = claimed_follow_up(session, work)
        if row is None:
            return False
        now = database_now(session)
        if record is not None:
            record(session, session.get_one(PackageBuild, row.build_id), now)
        row.outcome = text
        end_lease(row, now + timedelta(seconds=delay_seconds))
        row.tries = 0
        return True


def add_follow_up(
    session: Session, build: PackageBuild, kind: str, subject: str, *, due_at: datetime
) -> None:
    """Add a follow-up of any kind, unless the build has it. The build's row must be locked; the caller commits."""
    _add(session, build, kind, [subject], due_at)


def follow_ends(session: Session, build: PackageBuild, now: datetime) -> None:
    """Add the follow-ups that fetch the logs of ended chroots and of a failed source step, unless they are there.

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
    """Add the follow-up that reads from a build's tags how far it is shipped, unless it is there.

    The build's row must be locked; the caller commits.
    """
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


def claimed_follow_up(session: Session, work: FollowUpWork) -> FollowUp | None:
    """Return a claimed follow-up's row, locked, if its lease is still that of the claim; else None."""
    return lock_claimed_row(session, FollowUp, work.id, work.token)


def _note(session: Session, build: PackageBuild, row: FollowUp, now: datetime, text: str) -> None:
    numbered = {SURPLUS: "submission", REPOSITORY: "dist-git", PULL_REQUEST: "dist-git", SHIPPED: SHIPPED}
    kind, chroot = (numbered[row.kind], "") if row.kind in numbered else (row.kind, row.subject)
    note_event(session, build, at=now, kind=kind, text=text, chroot=chroot)


def record_name(session: Session, build: PackageBuild, nvr: str, now: datetime) -> None:
    """Record the NVR under which the build system has a build, with a line of history; empty where it did not tell.

    The caller commits.
    """
    if nvr and nvr != build.built_nvr:
        build.built_nvr = nvr
        note_event(session, build, at=now, kind="submission", text=f"{build.system} calls it {nvr}")


def stage_record(seen: Shipping, nvr: str) -> Record:
    """Return a ``Record`` that writes a build's stage and NVR down, each with a line of history where it is new."""

    def record(session: Session, build: PackageBuild, now: datetime) -> None:
        record_name(session, build, nvr, now)
        stage = seen.stage.value if seen.stage else ""
        if stage == build.shipped:
            return
        build.shipped = stage
        build.shipped_at = (seen.since or now) if stage else None
        # Where this look is the last one, the end of the follow-up writes the same line.
        if not seen.ended:
            note_event(session, build, at=now, kind=SHIPPED, text=seen.text)

    return record
