"""Deliveries that are understood out of order, lists that lie, and times that no calendar has; on both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text

from service.builds.claims import claim_build, claim_delivery, find_due
from service.builds.submissions import record_source_facts
from service.catalog import Catalog
from service.contacts import record_contact, store_answer, stored_answer
from service.domain.sources import SourceFacts
from service.releases.intake import Incoming, accept_deliveries, process_delivery, read_time
from service.releases.reconcile import LOOK_UPS, ListedRelease, UpstreamList, reconcile_family, unlisted_tags
from service.store.schema import Contact, UpstreamRelease, WebhookDelivery
from service.store.session import Database, database_now
from tests.store.deliveries import builds, deliver, payload, release


def store(db: Database, guid: str, action: str) -> int:
    (accepted,) = accept_deliveries(db, [Incoming(guid, "release", payload("v1.32.1", action))])
    return accepted.id


def understand(db: Database, catalog: Catalog, delivery_id: int) -> str:
    token = claim_delivery(db, delivery_id, lease_seconds=60, max_tries=3)
    outcome = process_delivery(db, delivery_id, token or "", catalog)
    assert outcome is not None
    return f"{outcome.state}: {outcome.reason}"


def state(db: Database) -> str:
    row = release(db, "1.32.1")
    assert row is not None
    return row.state


@pytest.mark.parametrize("word", ["unpublished", "deleted"])
def test_a_withdrawal_understood_after_a_later_publication_is_ignored(
    db: Database, catalog: Catalog, word: str
) -> None:
    understand(db, catalog, store(db, "a", "published"))
    withdrawal, again = store(db, "b", word), store(db, "c", "published")
    understand(db, catalog, again)
    assert understand(db, catalog, withdrawal) == (
        "ignored: v1.32.1 was published by a delivery that came after this one"
    )
    assert state(db) == "planned"


def test_a_publication_understood_after_a_later_withdrawal_is_ignored(db: Database, catalog: Catalog) -> None:
    first, second = store(db, "a", "published"), store(db, "b", "unpublished")
    understand(db, catalog, second)
    assert understand(db, catalog, first).startswith("ignored: v1.32.1 was unpublished by a delivery")
    assert release(db, "1.32.1") is None and not builds(db, "1.32.1")
    understand(db, catalog, store(db, "c", "published"))
    assert state(db) == "planned"


def test_order_is_kept_when_both_are_understood_at_once(db: Database, catalog: Catalog) -> None:
    understand(db, catalog, store(db, "0", "published"))
    for turn in range(6):
        pair = [store(db, f"{turn}u", "unpublished"), store(db, f"{turn}p", "published")]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda delivery: understand(db, catalog, delivery), pair))
        assert state(db) == "planned", f"turn {turn}"


def listing(*tags: str, gone: tuple[str, ...] = (), complete: bool = True) -> UpstreamList:
    return UpstreamList([ListedRelease(tag) for tag in tags], {}, complete, frozenset(gone))


def age(db: Database, by: timedelta) -> None:
    """As if everything had happened that much earlier."""
    with db.transaction() as session:
        now = database_now(session)
        for row in session.scalars(select(UpstreamRelease)):
            row.first_seen_at = now - by
        for delivery in session.scalars(select(WebhookDelivery)):
            delivery.ended_at = now - by


def test_who_was_listed_before_its_delivery_had_its_turn_came_by_the_webhook(
    db: Database, catalog: Catalog
) -> None:
    reconcile_family(db, catalog, catalog.families["cri-o"], listing("v1.32.1"))
    listed = release(db, "1.32.1")
    assert listed is not None and (listed.origin, listed.delivery_id) == ("list", None)
    deliver(db, catalog, payload("v1.32.1"))
    told = release(db, "1.32.1")
    assert told is not None and told.origin == "webhook" and told.delivery_id is not None
    assert len(builds(db, "1.32.1")) == 4


def test_a_publication_whose_webhook_was_lost_is_found_in_the_list(db: Database, catalog: Catalog) -> None:
    family = catalog.families["cri-o"]
    deliver(db, catalog, payload("v1.32.1"))
    deliver(db, catalog, payload("v1.32.1", "unpublished"))
    reconcile_family(db, catalog, family, listing("v1.32.1"))
    assert state(db) == "withdrawn", "the list may lag behind the webhook"
    age(db, timedelta(hours=1))
    reconcile_family(db, catalog, family, listing("v1.32.1"))
    assert state(db) == "planned"


def test_a_gap_in_a_list_withdraws_nothing_by_itself(db: Database, catalog: Catalog) -> None:
    family = catalog.families["cri-o"]
    for tag in ("v1.32.1", "v1.33.0"):
        deliver(db, catalog, payload(tag))
    young = listing("v1.33.0")
    assert unlisted_tags(db, family, young) == []
    age(db, timedelta(hours=1))
    assert unlisted_tags(db, family, young) == ["v1.32.1"]
    assert unlisted_tags(db, family, listing("v1.33.0", complete=False)) == []
    reconcile_family(db, catalog, family, young)
    assert state(db) == "planned"
    reconcile_family(db, catalog, family, listing("v1.33.0", gone=("v1.32.1",)))
    assert state(db) == "withdrawn"
    assert unlisted_tags(db, family, young) == []


def test_a_delivery_that_kills_its_worker_does_not_loop_for_ever(db: Database) -> None:
    delivery_id = store(db, "a", "published")
    for _ in range(3):
        assert claim_delivery(db, delivery_id, lease_seconds=60, max_tries=3)
        with db.transaction() as session:
            row = session.get_one(WebhookDelivery, delivery_id)
            row.due_at = row.lease_until = database_now(session) - timedelta(seconds=1)
    assert claim_delivery(db, delivery_id, lease_seconds=60, max_tries=3) is None
    with db.reader() as session:
        row = session.get_one(WebhookDelivery, delivery_id)
        assert row.state == "errored" and row.reason.startswith("gave up after 3 tries")
    assert find_due(db).deliveries == ()


@pytest.mark.parametrize(
    "text",
    ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1969-12-31T23:59:59Z",
     "2026-11-20T10:00:00", "20 November", ""],
)  # fmt: skip
def test_a_time_that_cannot_be_meant_is_no_time(db: Database, catalog: Catalog, text: str) -> None:
    assert read_time(text) is None
    outcome = deliver(db, catalog, payload("v1.32.1", published_at=text))
    assert outcome is not None and outcome.state == "processed" and state(db) == "planned"


def test_a_time_with_another_zone_is_kept_in_utc() -> None:
    assert read_time("2026-11-20T10:00:00+02:00") == datetime(2026, 11, 20, 8, 0, tzinfo=UTC)


def test_years_of_three_digits_keep_their_order_in_the_database(db: Database) -> None:
    early = datetime(987, 6, 5, 4, 3, 2, tzinfo=UTC)
    with db.transaction() as session:
        session.add(Contact(name="early", problem="", etag="", ok_at=early))
        session.add(Contact(name="late", problem="", etag="", ok_at=datetime(2026, 1, 1, tzinfo=UTC)))
    with db.reader() as session:
        rows = session.scalars(select(Contact).order_by(Contact.ok_at)).all()
        assert [row.name for row in rows] == ["early", "late"] and rows[0].ok_at == early


def test_workers_that_reach_a_side_for_the_first_time_together_do_not_collide(db: Database) -> None:
    for turn in range(5):
        with ThreadPoolExecutor(4) as pool:
            list(
                pool.map(lambda n, turn=turn: record_contact(db, f"side {turn}", "" if n else "x"), range(4))
            )
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda n, turn=turn: store_answer(db, f"page {turn}", f"{n}", [n]), range(4)))
        answer = stored_answer(db, f"page {turn}")
        assert answer is not None and answer.body == [int(answer.etag)]


def test_order_within_a_group_is_that_of_arrival(db: Database, catalog: Catalog) -> None:
    deliver(db, catalog, payload("v1.32.1"))
    first = Incoming("z", "release", payload("v1.32.1", "unpublished"))
    second = Incoming(
        "a", "release", payload("v1.32.1"), arrived_at=first.arrived_at + timedelta(milliseconds=5)
    )
    for accepted in accept_deliveries(db, [first, second]):
        understand(db, catalog, accepted.id)
    assert state(db) == "planned"


def test_a_draft_that_is_deleted_takes_no_release_away(db: Database, catalog: Catalog) -> None:
    deliver(db, catalog, payload("v1.32.1"))
    (late,) = accept_deliveries(db, [Incoming("late", "release", payload("v1.32.1", "edited"))])
    outcome = deliver(db, catalog, payload("v1.32.1", "deleted", draft=True))
    assert outcome is not None and outcome.state == "ignored" and "draft" in outcome.reason
    assert understand(db, catalog, late.id).startswith("processed") and state(db) == "planned"


def test_the_last_word_on_a_prerelease_counts(db: Database, catalog: Catalog) -> None:
    first = store(db, "a", "published")
    (second,) = accept_deliveries(
        db, [Incoming("b", "release", payload("v1.32.1", "edited", prerelease=True))]
    )
    understand(db, catalog, second.id)
    understand(db, catalog, first)
    assert state(db) == "unsupported" and not builds(db, "1.32.1")


def test_what_turns_out_to_be_a_prerelease_is_not_built_and_the_older_patch_is(
    db: Database, catalog: Catalog
) -> None:
    for tag in ("v1.32.1", "v1.32.2"):
        deliver(db, catalog, payload(tag))
    deliver(db, catalog, payload("v1.32.2", "edited", prerelease=True))
    for build in builds(db, "1.32.2"):
        assert claim_build(db, build.id, lease_seconds=60, max_tries=3) is None
    assert {(b.state, "pre-release" in b.reason) for b in builds(db, "1.32.2")} == {("canceled", True)}
    reconcile_family(db, catalog, catalog.families["cri-o"], None)
    assert {b.state for b in builds(db, "1.32.1") if b.attempt == 2} == {"pending"}


def test_a_tag_that_moved_before_its_source_was_fetched_is_built(db: Database, catalog: Catalog) -> None:
    family = catalog.families["cri-o"]
    for commit in ("a" * 40, "b" * 40):
        upstream = UpstreamList([ListedRelease("v1.32.1")], {"v1.32.1": commit}, True)
        reconcile_family(db, catalog, family, upstream)
    row = release(db, "1.32.1")
    assert row is not None and row.commit == "b" * 40 and "tag moved" in row.mark
    facts = SourceFacts(origin="archive", go="1.24", commit="b" * 40, sha256="1" * 64, url="u", size=1)
    assert record_source_facts(db, row.id, facts).contradiction == ""
    upstream = UpstreamList([ListedRelease("v1.32.1")], {"v1.32.1": "c" * 40}, True)
    reconcile_family(db, catalog, family, upstream)
    row = release(db, "1.32.1")
    assert row is not None and row.commit == "b" * 40 and "nothing is rebuilt" in row.mark


def test_every_unlisted_release_is_asked_for_some_time(db: Database, catalog: Catalog) -> None:
    for patch in range(LOOK_UPS + 5):
        deliver(db, catalog, payload(f"v1.32.{patch}"))
    age(db, timedelta(hours=1))
    seen: set[str] = set()
    for _ in range(200):
        asked = unlisted_tags(db, catalog.families["cri-o"], listing("v1.33.0"))
        assert len(asked) == LOOK_UPS
        seen.update(asked)
        if len(seen) == LOOK_UPS + 5:
            return
    pytest.fail(f"only {len(seen)} were ever asked for")


def test_a_repeat_of_a_delivery_that_is_being_understood_waits_for_nobody(db: Database) -> None:
    if db.is_sqlite:
        pytest.skip("SQLite has one writer at a time: nobody can hold a row")
    store(db, "x", "published")
    with db.transaction() as session:
        session.scalars(select(WebhookDelivery).where(WebhookDelivery.guid == "x").with_for_update()).one()
        answers = accept_deliveries(db, [Incoming(guid, "release", payload("v1.32.1")) for guid in "xy"])
    assert [(answer.guid, answer.duplicate) for answer in answers] == [("x", True), ("y", False)]


def test_a_frozen_worker_loses_its_locks(postgres_url: str) -> None:
    db = Database(postgres_url)
    with db.reader() as session:
        for name in ("lock_timeout", "idle_in_transaction_session_timeout", "tcp_keepalives_idle"):
            shown = str(session.execute(text(f"SHOW {name}")).scalar_one())
            assert shown not in ("0", "7200"), name
    db.dispose()
