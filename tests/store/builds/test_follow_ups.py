"""Follow-ups: claimed once, recorded together with their end, tried a bounded number of times."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.builds.follow_ups import (
    Done,
    FollowUpWork,
    NotYet,
    add_follow_up,
    claim_follow_up,
    end_follow_up,
    hasten_watch,
    postpone_follow_up,
)
from service.catalog import Catalog
from service.settings import Settings
from service.store.schema import BuildEvent, FollowUp, PackageBuild
from service.store.session import Database, database_now
from tests.store.deliveries import builds, deliver, payload
from workers import follow_ups
from workers.context import Context

CHROOT = "fedora-44-x86_64"


@pytest.fixture
def follow_up_id(db: Database, catalog: Catalog) -> int:
    """One follow-up that is due."""
    deliver(db, catalog, payload("v1.32.1"))
    build_id = builds(db, "1.32.1")[0].id
    with db.transaction() as session:
        build = session.get_one(PackageBuild, build_id)
        for _ in range(2):
            add_follow_up(session, build, "diagnose", CHROOT, due_at=database_now(session))
    with db.reader() as session:
        (found,) = session.scalars(select(FollowUp.id)).all()
        return found


def claim(db: Database, follow_up_id: int) -> FollowUpWork | None:
    return claim_follow_up(db, follow_up_id, lease_seconds=lambda _: 60.0, max_tries=9)


def row(db: Database, follow_up_id: int) -> FollowUp:
    with db.reader() as session:
        found = session.get_one(FollowUp, follow_up_id)
        session.expunge_all()
        return found


def make_due(db: Database, follow_up_id: int) -> None:
    """As if the lease had run out and the pause were over."""
    with db.transaction() as session:
        found = session.get_one(FollowUp, follow_up_id)
        found.due_at = database_now(session) - timedelta(seconds=1)
        found.lease_until = None


def history(db: Database) -> list[tuple[str, str, str]]:
    with db.reader() as session:
        events = session.scalars(select(BuildEvent).order_by(BuildEvent.id)).all()
        return [(event.kind, event.chroot, event.text) for event in events if event.kind != "state"]


def mark(session: Session, build: PackageBuild, now: datetime) -> None:
    build.note = "found"


def test_eight_workers_claim_a_follow_up_once(db: Database, follow_up_id: int) -> None:
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda _: claim(db, follow_up_id), range(8)))
    assert sum(work is not None for work in claims) == 1


def test_findings_and_end_are_recorded_together(db: Database, follow_up_id: int) -> None:
    work = claim(db, follow_up_id)
    assert work is not None and (work.kind, work.subject, work.tries) == ("diagnose", CHROOT, 1)

    def broken(session: Session, build: PackageBuild, now: datetime) -> None:
        mark(session, build, now)
        raise RuntimeError("the findings cannot be stored")

    with pytest.raises(RuntimeError):
        end_follow_up(db, work, "diagnosed", broken)
    assert builds(db, "1.32.1")[0].note == "" and row(db, follow_up_id).ended_at is None
    assert end_follow_up(db, work, "diagnosed", mark)
    ended = row(db, follow_up_id)
    assert ended.ended_at is not None and ended.outcome == "diagnosed" and ended.due_at is None
    assert builds(db, "1.32.1")[0].note == "found"
    assert history(db) == [("diagnose", CHROOT, "diagnosed")]


def test_a_lost_lease_records_nothing(db: Database, follow_up_id: int) -> None:
    old = claim(db, follow_up_id)
    make_due(db, follow_up_id)
    new = claim(db, follow_up_id)
    assert old is not None and new is not None
    assert not end_follow_up(db, old, "late", mark)
    postpone_follow_up(db, old, "late", delay_seconds=0)
    assert history(db) == [] and builds(db, "1.32.1")[0].note == ""
    assert end_follow_up(db, new, "in time", mark)


def run_often(
    db: Database, follow_up_id: int, monkeypatch: pytest.MonkeyPatch, act: Callable[..., Done], times: int
) -> FollowUp:
    """Let a worker run the follow-up as often as it is given back."""
    monkeypatch.setattr(follow_ups, "RUNNERS", {"diagnose": act, "pull-request": act})
    context = cast(Context, SimpleNamespace(db=db, settings=Settings()))
    for _ in range(times):
        if row(db, follow_up_id).ended_at is None:
            make_due(db, follow_up_id)
        follow_ups.run_follow_up(context, follow_up_id)
    return row(db, follow_up_id)


@pytest.mark.parametrize("trouble", [NotYet("no log there"), KeyError("a mistake of ours")])
def test_trouble_of_ours_is_tried_a_bounded_number_of_times(
    db: Database, follow_up_id: int, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    calls = []

    def act(*_: Any) -> Done:
        calls.append(1)
        raise trouble

    ended = run_often(db, follow_up_id, monkeypatch, act, follow_ups.FOLLOW_UP_TRIES + 3)
    assert ended.ended_at is not None and len(calls) == follow_ups.FOLLOW_UP_TRIES
    assert ended.outcome.startswith(f"gave up after {len(calls)} tries") and str(trouble) in ended.outcome
    # The same reason is told once, not with every try.
    assert len(history(db)) == 2


def test_who_waits_for_a_persons_merge_is_not_given_up(
    db: Database, follow_up_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with db.transaction() as session:
        session.get_one(FollowUp, follow_up_id).kind = "pull-request"

    def act(*_: Any) -> Done:
        raise KeyError("a mistake of ours")

    waiting = run_often(db, follow_up_id, monkeypatch, act, follow_ups.FOLLOW_UP_TRIES + 3)
    assert waiting.ended_at is None and waiting.tries == follow_ups.FOLLOW_UP_TRIES + 3
    # A pull request that nobody needs stays open for as long as the forge does not let us in.
    with db.transaction() as session:
        build = session.get_one(PackageBuild, waiting.build_id)
        build.ended_at = database_now(session) - timedelta(days=15)
    assert run_often(db, follow_up_id, monkeypatch, act, 1).ended_at is None


def test_who_is_waited_for_is_hastened_unless_it_has_met_trouble(db: Database, follow_up_id: int) -> None:
    with db.transaction() as session:
        found = session.get_one(FollowUp, follow_up_id)
        now, found.kind = database_now(session), "pull-request"
        found.due_at = now + timedelta(seconds=300)
        assert hasten_watch(session, found.build_id, now) and found.due_at == now
        found.outcome, found.due_at = "forge: is not to be reached", now + timedelta(seconds=300)
        session.flush()
        assert not hasten_watch(session, found.build_id, now)
        found.outcome = ""
    work = claim(db, follow_up_id)
    assert work is None
    make_due(db, follow_up_id)
    work = claim(db, follow_up_id)
    with db.transaction() as session:
        assert work is not None and not hasten_watch(session, work.build_id, database_now(session))


def test_an_outage_spends_no_tries_until_the_build_is_long_over(
    db: Database, follow_up_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> Done:
        raise NotYet("copr is away", spend_try=False)

    waiting = run_often(db, follow_up_id, monkeypatch, away, follow_ups.FOLLOW_UP_TRIES + 3)
    assert (waiting.ended_at, waiting.tries, waiting.outcome) == (None, 0, "copr is away")
    with db.transaction() as session:
        build = session.get_one(PackageBuild, waiting.build_id)
        build.ended_at = database_now(session) - timedelta(days=15)
    ended = run_often(db, follow_up_id, monkeypatch, away, 1)
    assert ended.ended_at is not None and "too long ago: copr is away" in ended.outcome


def test_a_worker_that_does_not_know_the_kind_leaves_it_to_a_newer_one(
    db: Database, follow_up_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow_ups, "RUNNERS", {})
    follow_ups.run_follow_up(cast(Context, SimpleNamespace(db=db, settings=Settings())), follow_up_id)
    left = row(db, follow_up_id)
    assert left.ended_at is None and left.tries == 0 and "knows no follow-up" in left.outcome
