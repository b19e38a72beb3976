"""Looks at tags: many builds are leased together, each by one worker, and what is seen is recorded under the lease."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from service.builds.follow_ups import (
    FollowUpWork,
    ShippedWork,
    claim_alike,
    claim_follow_up,
    end_follow_up,
    follow_tags,
    repeat_follow_up,
    shipped_work,
    stage_record,
)
from service.catalog import Catalog
from service.domain.shipping import Shipping, Stage, fedora_tags
from service.store.schema import BuildEvent, FollowUp, PackageBuild
from service.store.session import Database, database_now
from tests.store.deliveries import builds, deliver, payload

SINCE = datetime(2026, 11, 25, 10, 0, tzinfo=UTC)
TESTING = Shipping(Stage.TESTING, SINCE, ended=False, text="it is testing")


@pytest.fixture
def follow_ups(db: Database, catalog: Catalog) -> list[int]:
    """Four builds of one project whose tags are due, by the ids of their follow-ups."""
    deliver(db, catalog, payload("v1.32.1"))
    with db.transaction() as session:
        for build in session.scalars(select(PackageBuild).order_by(PackageBuild.id)).all():
            follow_tags(session, build, database_now(session) - timedelta(seconds=1))
    with db.reader() as session:
        found = list(session.scalars(select(FollowUp.id).order_by(FollowUp.id)))
    assert len(found) == 4
    return found


def claim(db: Database, follow_up_id: int) -> FollowUpWork:
    work = claim_follow_up(db, follow_up_id, lease_seconds=lambda _: 60.0, max_tries=9)
    assert work is not None
    return work


def test_the_others_that_are_due_are_leased_once(db: Database, follow_ups: list[int]) -> None:
    first = shipped_work(db, claim(db, follow_ups[0]))
    assert first.stages == fedora_tags(43) and first.ref.system == "copr"

    def alike(_: int) -> list[ShippedWork]:
        return claim_alike(db, first, lease_seconds=60.0)

    with ThreadPoolExecutor(6) as pool:
        claimed = [one.work.id for works in pool.map(alike, range(6)) for one in works]
    assert sorted(claimed) == follow_ups[1:]


def test_one_that_has_killed_its_worker_is_read_alone(db: Database, follow_ups: list[int]) -> None:
    with db.transaction() as session:
        session.get_one(FollowUp, follow_ups[1]).tries = 1
        session.get_one(FollowUp, follow_ups[2]).due_at = database_now(session) + timedelta(hours=1)
    first = shipped_work(db, claim(db, follow_ups[0]))
    assert [one.work.id for one in claim_alike(db, first, lease_seconds=60.0)] == [follow_ups[3]]


def test_a_stage_is_recorded_with_its_history_and_only_under_the_lease(
    db: Database, follow_ups: list[int]
) -> None:
    old = claim(db, follow_ups[0])
    with db.transaction() as session:
        row = session.get_one(FollowUp, follow_ups[0])
        row.due_at, row.lease_until = database_now(session) - timedelta(seconds=1), None
    new = claim(db, follow_ups[0])
    assert new.tries == 2
    assert not repeat_follow_up(db, old, "late", delay_seconds=0, record=stage_record(TESTING, "p-1-1"))
    assert builds(db, "1.32.1")[0].shipped == ""
    assert repeat_follow_up(db, new, "it is testing", delay_seconds=-1, record=stage_record(TESTING, "p-1-1"))
    build = builds(db, "1.32.1")[0]
    assert (build.shipped, build.shipped_at) == ("testing", SINCE)
    # Seen again, it is no news, and its time stays; a look that went well spends no try.
    again = claim(db, follow_ups[0])
    later = Shipping(Stage.TESTING, SINCE + timedelta(days=1), ended=False, text="it is testing")
    assert again.tries == 1 and repeat_follow_up(
        db, again, "", delay_seconds=-1, record=stage_record(later, "p-1-1")
    )
    assert builds(db, "1.32.1")[0].shipped_at == SINCE
    last = claim(db, follow_ups[0])
    gone = Shipping(None, None, ended=True, text="it has no tag any more")
    assert end_follow_up(db, last, gone.text, stage_record(gone, "p-1-1"))
    build = builds(db, "1.32.1")[0]
    assert (build.shipped, build.shipped_at) == ("", None)
    with db.reader() as session:
        told = session.scalars(
            select(BuildEvent.text).where(BuildEvent.kind == "shipped").order_by(BuildEvent.id)
        )
        assert list(told) == ["it is testing", "it has no tag any more"]
