"""Storing deliveries, and the outcome of each kind of delivery."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import select

from service.builds.claims import claim_delivery, find_due
from service.builds.commands import replay_delivery
from service.catalog import Catalog
from service.domain.errors import CommandRefused, NotFound
from service.domain.states import DeliveryState
from service.releases.intake import Incoming, accept_deliveries, back_off_delivery, process_delivery
from service.store.schema import PackageBuild, WebhookDelivery
from service.store.session import Database
from tests.store.deliveries import builds, deliver, matrix, payload, release


def test_one_delivery_three_times_is_one(db: Database, catalog: Catalog) -> None:
    incoming = Incoming("guid-1", "release", payload("v1.32.1"))
    answers = accept_deliveries(db, [incoming, incoming, incoming])
    assert [answer.duplicate for answer in answers] == [False, True, True]
    assert len({answer.id for answer in answers}) == 1
    deliver(db, catalog, payload("v1.32.1"), guid="guid-1")
    assert accept_deliveries(db, [incoming])[0].state == "processed"
    assert len(builds(db, "1.32.1")) == 4


def test_eight_threads_that_store_the_same_guids_store_each_once(db: Database) -> None:
    batch = [Incoming(f"guid-{n}", "release", b"{}") for n in range(20)]

    def store(shift: int) -> list[bool]:
        return [a.duplicate for a in accept_deliveries(db, batch[shift:] + batch[:shift])]

    with ThreadPoolExecutor(8) as pool:
        answers = [flag for flags in pool.map(store, range(8)) for flag in flags]
    assert answers.count(False) == 20 and answers.count(True) == 140


def test_a_release_gives_four_builds_that_are_due(db: Database, catalog: Catalog) -> None:
    outcome = deliver(db, catalog, payload("v1.32.1"))
    assert outcome is not None and outcome.state is DeliveryState.PROCESSED
    assert set(find_due(db).builds) == set(outcome.builds) and len(outcome.builds) == 4
    assert {(b.package, b.state) for b in builds(db, "1.32.1")} == {("cri-o1.32", "pending")}


def test_a_second_guid_for_the_same_release_plans_nothing_new(db: Database, catalog: Catalog) -> None:
    for action in ("published", "released", "edited"):
        deliver(db, catalog, payload("v1.32.1", action))
    assert len(builds(db, "1.32.1")) == 4


@pytest.mark.parametrize(
    ("body", "event", "why"),
    [
        (payload("v1.32.1", draft=True), "release", "draft"),
        (payload("v1.32.1", "created"), "release", "'published' will follow"),
        (payload("v1.32.1", "exploded"), "release", "'exploded'"),
        (payload("nightly"), "release", "'nightly' is not a version tag"),
        (payload("v1.32.1", "deleted"), "release", "before we knew it"),
        (json.dumps({"action": "published", "repository": {"full_name": "a/b"}, "release": {}}).encode(),
         "release", "'a/b' belongs to no family"),
        (json.dumps({"action": "published", "repository": {"full_name": "cri-o/cri-o"}}).encode(),
         "release", "no release with a tag_name"),
        (json.dumps({"action": "published", "repository": "cri-o/cri-o", "release": [1]}).encode(),
         "release", "belongs to no family"),
        (b"[1, 2]", "release", "not a JSON object"),
        (b"{", "release", "not JSON"),
        (b"\xff\xfe", "release", "not JSON"),
        (b"[" * 100_000, "release", "not JSON"),
        (payload("v1.32.1"), "push", "event 'push'"),
        (payload("v1.32.1\x00"), "release", "is not a version tag"),
        (payload("v1.32.\ud800"), "release", "is not a version tag"),
    ],
)  # fmt: skip
def test_what_is_ignored_says_why(db: Database, catalog: Catalog, body: bytes, event: str, why: str) -> None:
    outcome = deliver(db, catalog, body, event=event)
    assert outcome is not None and outcome.state is DeliveryState.IGNORED
    assert why in outcome.reason
    with db.reader() as session:
        row = session.scalars(select(WebhookDelivery)).one()
        assert (row.state, row.reason, row.payload) == ("ignored", outcome.reason, body)
        assert session.scalars(select(PackageBuild)).all() == []


def test_a_prerelease_is_known_and_not_built_until_it_is_released(db: Database, catalog: Catalog) -> None:
    deliver(db, catalog, payload("v1.36.0", "prereleased", prerelease=True))
    row = release(db, "1.36.0")
    assert row is not None and row.state == "unsupported" and "pre-release" in row.reason
    deliver(db, catalog, payload("v1.36.0", "released"))
    assert len(builds(db, "1.36.0")) == 4


@pytest.mark.parametrize("action", ["deleted", "unpublished"])
def test_a_withdrawn_release_keeps_its_builds_and_gets_no_new_ones(
    db: Database, catalog: Catalog, action: str
) -> None:
    deliver(db, catalog, payload("v1.32.1"))
    deliver(db, catalog, payload("v1.32.1", action))
    row = release(db, "1.32.1")
    assert row is not None and row.state == "withdrawn" and action in row.reason and row.mark
    deliver(db, catalog, payload("v1.32.1", "edited"))
    assert release(db, "1.32.1").state == "withdrawn"  # type: ignore[union-attr]
    assert len(builds(db, "1.32.1")) == 4
    deliver(db, catalog, payload("v1.32.1", "published"))
    assert release(db, "1.32.1").state == "planned"  # type: ignore[union-attr]
    assert len(builds(db, "1.32.1")) == 4


def test_a_newer_patch_supersedes_what_has_not_begun(db: Database, catalog: Catalog) -> None:
    deliver(db, catalog, payload("v1.32.1"))
    deliver(db, catalog, payload("v1.32.2"))
    assert {(b.state, b.reason) for b in builds(db, "1.32.1")} == {
        ("superseded", "v1.32.2 is newer than 1.32.1")
    }
    assert {b.state for b in builds(db, "1.32.2")} == {"pending"}


def test_an_older_patch_that_arrives_later_is_superseded_at_once(db: Database, catalog: Catalog) -> None:
    deliver(db, catalog, payload("v1.32.2"))
    outcome = deliver(db, catalog, payload("v1.32.1"))
    assert outcome is not None and outcome.builds == () and "superseded" in outcome.reason
    assert {b.state for b in builds(db, "1.32.1")} == {"superseded"}
    assert {b.state for b in builds(db, "1.32.2")} == {"pending"}


def test_streams_do_not_supersede_each_other(db: Database, catalog: Catalog) -> None:
    for tag in ("v1.35.6", "v1.34.11", "v1.36.3"):
        deliver(db, catalog, payload(tag))
        deliver(db, catalog, payload(tag))
    assert Counter(state for _, state in matrix(db).values()) == {"pending": 12}


def test_two_workers_that_process_one_delivery_plan_once(db: Database, catalog: Catalog) -> None:
    (accepted,) = accept_deliveries(db, [Incoming("g", "release", payload("v1.32.1"))])
    tokens = [claim_delivery(db, accepted.id, lease_seconds=60, max_tries=3) for _ in range(2)]
    assert [token is None for token in tokens] == [False, True]
    assert process_delivery(db, accepted.id, "another token", catalog) is None
    assert process_delivery(db, accepted.id, tokens[0] or "", catalog) is not None
    assert process_delivery(db, accepted.id, tokens[0] or "", catalog) is None


def test_our_own_trouble_backs_off_and_ends_as_errored_which_can_be_replayed(
    db: Database, catalog: Catalog
) -> None:
    (accepted,) = accept_deliveries(db, [Incoming("g", "release", payload("v1.32.1"))])
    for _ in range(3):
        token = claim_delivery(db, accepted.id, lease_seconds=60, max_tries=3)
        assert token is not None
        back_off_delivery(db, accepted.id, token, "disk full", delay=timedelta(0), max_tries=3)
    assert claim_delivery(db, accepted.id, lease_seconds=60, max_tries=3) is None
    with db.reader() as session:
        row = session.scalars(select(WebhookDelivery)).one()
        assert row.state == "errored" and "gave up after 3 tries: disk full" in row.reason
    again = accept_deliveries(db, [Incoming("g", "release", payload("v1.32.1"))])[0]
    assert (again.state, again.duplicate, again.due) == ("received", True, True)
    token = claim_delivery(db, accepted.id, lease_seconds=60, max_tries=3)
    assert process_delivery(db, accepted.id, token or "", catalog) is not None
    with pytest.raises(CommandRefused, match="processed"):
        replay_delivery(db, "g", by="a maintainer")
    with pytest.raises(NotFound):
        replay_delivery(db, "unknown", by="a maintainer")


def test_an_ignored_delivery_can_be_replayed(db: Database, catalog: Catalog) -> None:
    deliver(db, catalog, payload("v1.32.1", draft=True), guid="g")
    delivery_id = replay_delivery(db, "g", by="a maintainer")
    assert find_due(db).deliveries == (delivery_id,)
