"""What must not go on at COPR is ended there, however long that takes, and nothing is built beside it."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from sqlalchemy import select

from service.builds.claims import BuildWork
from service.builds.commands import give_up_build, request_build, request_cancel
from service.builds.polls import claim_polls
from service.store.schema import FollowUp, PackageBuild
from tests.flow.house import House
from workers.builds import polling, steps
from workers.buildsystems import BuildSystem
from workers.context import Context
from workers.packaging.preparation import Prepared

CANCEL = "/api_3/build/cancel/*"


@pytest.fixture
def house(sqlite_house: House) -> House:
    sqlite_house.only("f44-copr", "f45-copr")
    return sqlite_house


def alive(house: House) -> list[str]:
    """Ids of COPR's builds that were not cancelled."""
    return [str(build["id"]) for build in house.farm.builds() if build["state"] != "canceled"]


def running(house: House) -> list[int]:
    """Two builds that run for ever, as ids of ours."""
    house.farm.set_outcome("pending")
    house.announce("v1.35.6")
    house.run(lambda builds: len(builds) == 2 and all(build.state == "running" for build in builds))
    return [build.id for build in house.builds()]


def outcomes(house: House) -> list[str]:
    with house.context.db.reader() as session:
        return [row.outcome for row in session.scalars(select(FollowUp)) if row.kind == "surplus"]


def test_a_retry_waits_until_copr_has_taken_the_cancel_of_what_was_given_up(house: House) -> None:
    first, _ = running(house)
    house.farm.fault("bad_gateway", CANCEL, times=None)
    house.set_past_deadline(first)
    house.run(lambda builds: builds[0].state == "errored")
    at_copr = house.builds()[0].external_id
    again = request_build(house.context.db, house.context.catalog, first, by="alice").build_id
    house.run(lambda builds: "has surely ended" in builds[2].reason)
    assert alive(house) == ["1", "2"], "the old build still runs, so there is no new one yet"
    house.farm.clear_faults()
    house.run(lambda builds: builds[2].state == "running")
    rows = {build.id: build for build in house.builds()}
    assert at_copr not in alive(house) and rows[again].external_id in alive(house)
    assert any(text == f"canceled surplus copr builds {at_copr}" for text in outcomes(house))


def test_an_outage_longer_than_all_tries_ends_no_search(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = running(house)
    house.farm.fault("dropped", "/api_3/*", times=None)
    house.set_past_deadline(first)
    house.run(lambda builds: builds[0].state == "errored")
    asked = len(house.farm.requests())
    until = time.monotonic() + 60
    while len(house.farm.requests()) < asked + 40:
        house.turn()
        time.sleep(0.02)
        assert time.monotonic() < until
    assert all(text.startswith("looking for surplus builds") for text in outcomes(house)), outcomes(house)
    house.farm.clear_faults()
    house.settle()
    assert outcomes(house) == ["canceled surplus copr builds 1"] and alive(house) == ["2"]


def test_a_given_up_submission_that_lands_late_is_cancelled(house: House) -> None:
    house.only("f44-copr")
    house.farm.set_outcome("pending")
    house.farm.fault("late_commit", "/api_3/build/create/upload", method="POST", times=1, seconds=4)
    house.announce("v1.35.6")
    house.process_inbox()
    steps.advance(house.context, 1)
    assert house.builds()[0].state == "submitting"
    give_up_build(house.context.db, 1, by="alice", why="not wanted", surplus_seconds=6.0)
    house.farm.wait(lambda builds: len(builds) == 1, 30)
    house.settle(60)
    assert alive(house) == [] and house.builds()[0].state == "errored"


@pytest.mark.parametrize("fault", ["bad_gateway", "forbidden"])
def test_a_cancel_that_fails_leaves_its_neighbour_readable(house: House, fault: str) -> None:
    first, second = running(house)
    at_copr = {build.id: int(build.external_id or 0) for build in house.builds()}
    house.farm.fault(fault, f"/api_3/build/cancel/{at_copr[first]}", times=None)
    request_cancel(house.context.db, first, by="alice")
    request_cancel(house.context.db, second, by="alice")
    house.run(lambda builds: builds[1].state == "canceled")
    assert house.builds()[0].state == "running"
    house.farm.clear_faults()
    house.run()
    assert house.builds()[0].state == "canceled"


def test_a_report_that_cannot_be_stored_leaves_its_neighbour_alone(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = polling.record_report

    def fragile(db: object, poll: object, *rest: object, **more: object) -> object:
        if poll.build_id == 1:  # type: ignore[attr-defined]
            raise OverflowError("a date that no calendar has")
        return real(db, poll, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(polling, "record_report", fragile)
    house.announce("v1.35.6")
    house.run(lambda builds: len(builds) == 2 and builds[1].state == "succeeded")
    first = house.builds()[0]
    assert first.state == "running" and "could not be stored (OverflowError)" in first.reason
    house.set_past_deadline(1)
    house.run()
    assert house.builds()[0].state == "errored" and "could not be stored" in house.builds()[0].reason


def test_a_cancel_that_comes_while_a_build_is_prepared_submits_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[[Context, BuildWork], Prepared] = steps.prepare_srpm

    def meanwhile(ctx: Context, work: BuildWork) -> Prepared:
        request_cancel(ctx.db, work.id, by="alice")
        return real(ctx, work)

    monkeypatch.setattr(steps, "prepare_srpm", meanwhile)
    house.announce("v1.35.6")
    house.run()
    assert {build.reason for build in house.builds()} == {"canceled by alice"} and house.farm.builds() == []


def test_slow_cancels_do_not_outlast_the_lease_of_their_poll(house: House) -> None:
    for build in running(house):
        request_cancel(house.context.db, build, by="alice")
    real = house.context.system("copr")
    sent: list[str] = []

    class Slow:
        def cancel(self, ref: object) -> None:
            sent.append(ref.external_id)  # type: ignore[attr-defined]
            time.sleep(house.settings.poll_lease_seconds)

        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

    slow: BuildSystem = Slow()  # type: ignore[assignment]
    with house.context.db.transaction() as session:
        for row in session.scalars(select(PackageBuild)):
            row.due_at = row.created_at
    polls = claim_polls(house.context.db, "copr", "packbot/cri-o", lease_seconds=60, max_tries=9)
    assert len(polls) == 2
    assert len(polling._cancel_all(house.context, slow, polls)) == len(sent) == 1
