"""Builds that end by hand, by deadline or by accident: never two at once, never for ever; on both databases."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, timedelta

import pytest
from sqlalchemy import select

from service.builds.claims import claim_build, end_build, find_due, permit_submission
from service.builds.commands import give_up_build, request_build, request_cancel, resume_build
from service.builds.follow_ups import (
    LOGS,
    FollowUpWork,
    add_follow_up,
    claim_follow_up,
    end_follow_up,
    postpone_follow_up,
    surplus_work,
)
from service.builds.polls import (
    PollWork,
    claim_polls,
    give_up_polling,
    record_poll_problem,
    record_report,
)
from service.catalog import Catalog
from service.domain.errors import CommandRefused
from service.domain.planning import BranchPolicy
from service.domain.reports import BuildReport, ChrootReport, PollProblem
from service.domain.states import BuildState, ChrootState
from service.store.schema import BuildEvent, ChrootBuild, FollowUp, PackageBuild
from service.store.session import Database
from tests.store.claims import change, claim, expire, record, submit
from tests.store.deliveries import builds

HOUR = timedelta(hours=1)


@pytest.fixture
def running(db: Database, build_id: int) -> int:
    assert record(db, submit(db, claim(db, build_id)))
    return build_id


def poll(db: Database, build_id: int, max_tries: int = 9) -> PollWork:
    expire(db, build_id)
    (work,) = claim_polls(db, "copr", "packbot/cri-o", lease_seconds=60, max_tries=max_tries)
    return work


def look(db: Database, follow_up_id: int) -> FollowUpWork | None:
    return claim_follow_up(db, follow_up_id, lease_seconds=lambda _: 60.0, max_tries=3)


def one(db: Database, build_id: int) -> PackageBuild:
    return next(build for build in builds(db, "1.32.1") if build.id == build_id)


def test_a_cancel_while_it_is_prepared_submits_nothing(db: Database, build_id: int) -> None:
    work = claim(db, build_id)
    request_cancel(db, build_id, by="bob")
    with pytest.raises(AssertionError):
        submit(db, work)
    assert (one(db, build_id).state, one(db, build_id).reason) == ("canceled", "canceled by bob")
    assert one(db, build_id).submission_key is None


def test_a_cancel_between_intent_and_act_submits_nothing(db: Database, build_id: int) -> None:
    work = submit(db, claim(db, build_id))
    assert permit_submission(db, work, lease_seconds=60)
    request_cancel(db, build_id, by="bob")
    assert not permit_submission(db, work, lease_seconds=60)
    assert one(db, build_id).state == "canceled"


def test_a_build_given_up_without_a_confirmed_cancel_is_not_built_beside(
    db: Database, catalog: Catalog, running: int
) -> None:
    change(db, running, deadline_at=one(db, running).created_at - HOUR)
    assert give_up_polling(db, poll(db, running), "no end", cancel_confirmed=False)
    again = request_build(db, catalog, running, by="alice").build_id
    assert claim_build(db, again, lease_seconds=60, max_tries=3) is None
    assert one(db, again).state == "pending" and f"has surely ended build {running}" in one(db, again).reason
    (follow_up,) = find_due(db).follow_ups
    work = look(db, follow_up)
    assert work is not None
    wanted = surplus_work(db, work)
    assert wanted.given_up is not None and wanted.given_up.external_id == "42"
    assert wanted.keep == "" and wanted.settled
    end_follow_up(db, work, "canceled surplus copr builds 42")
    expire(db, again)
    assert claim_build(db, again, lease_seconds=60, max_tries=3) is not None


def test_a_confirmed_cancel_leaves_nothing_to_look_for(db: Database, running: int) -> None:
    assert give_up_polling(db, poll(db, running), "no end", cancel_confirmed=True)
    assert find_due(db).follow_ups == () and one(db, running).state == "errored"


def test_a_poll_that_kills_its_worker_is_leased_alone_and_ends_at_its_deadline(
    db: Database, running: int
) -> None:
    other = next(b.id for b in builds(db, "1.32.1") if b.id != running)
    change(db, other, due_at=one(db, other).created_at)
    assert record(db, submit(db, claim(db, other), key="b2xabcdef"), "43")
    for build in (running, other):
        expire(db, build)
    change(db, running, tries=3)
    leased = claim_polls(db, "copr", "packbot/cri-o", lease_seconds=60, max_tries=3)
    assert [work.build_id for work in leased] == [running]
    expire(db, running)
    change(db, running, deadline_at=one(db, running).created_at - 2 * HOUR)
    assert claim_polls(db, "copr", "packbot/cri-o", lease_seconds=60, max_tries=3) == []
    assert one(db, running).state == "errored" and "ended without an answer" in one(db, running).reason
    assert len(find_due(db).follow_ups) == 1
    leased = claim_polls(db, "copr", "packbot/cri-o", lease_seconds=60, max_tries=3)
    assert [work.build_id for work in leased] == [other]


def test_a_follow_up_that_kills_its_worker_ends(db: Database, running: int) -> None:
    with db.transaction() as session:
        build = session.get_one(PackageBuild, running)
        add_follow_up(session, build, LOGS, "fedora-43-x86_64", due_at=build.created_at)
    (follow_up,) = find_due(db).follow_ups
    with db.transaction() as session:
        session.get_one(FollowUp, follow_up).tries = 3
    assert look(db, follow_up) is None
    assert find_due(db).follow_ups == ()


def test_no_number_of_tries_ends_the_search_that_a_new_attempt_waits_for(
    db: Database, catalog: Catalog, running: int
) -> None:
    assert give_up_polling(db, poll(db, running), "no end", cancel_confirmed=False)
    again = request_build(db, catalog, running, by="alice").build_id
    (follow_up,) = find_due(db).follow_ups
    with db.transaction() as session:
        session.get_one(FollowUp, follow_up).tries = 1000
    assert look(db, follow_up) is not None
    assert claim_build(db, again, lease_seconds=60, max_tries=3) is None
    assert "has surely ended" in one(db, again).reason


def test_an_outage_spends_no_try_of_a_follow_up(db: Database, running: int) -> None:
    assert give_up_polling(db, poll(db, running), "no end", cancel_confirmed=False)
    (follow_up,) = find_due(db).follow_ups
    for _ in range(10):
        work = look(db, follow_up)
        assert work is not None
        postpone_follow_up(db, work, "copr is away", delay_seconds=0, spend_try=False)


def test_a_chroot_that_is_listed_no_more_ends_with_the_others(db: Database, running: int) -> None:
    kept, dropped = one(db, running).options["chroots"]
    seen = (ChrootReport(kept, ChrootState.SUCCEEDED),)
    work = poll(db, running)
    assert record_report(db, work, BuildReport(work.ref, seen), poll_seconds=0) is BuildState.RUNNING
    work = poll(db, running)
    whole = BuildReport(work.ref, seen, complete=True)
    assert record_report(db, work, whole, poll_seconds=0) is BuildState.CANCELED
    with db.reader() as session:
        row = session.scalars(
            select(ChrootBuild).where(ChrootBuild.build_id == running, ChrootBuild.chroot == dropped)
        ).one()
        session.expunge_all()
    assert row.state == "canceled" and row.reason == "copr does not list this chroot in build 42"
    assert dropped in one(db, running).reason


def hold_at_start(db: Database, build: int) -> None:
    end_build(db, claim(db, build), BuildState.HELD, "a person must act")


def hold_after_hand_over(db: Database, build: int) -> None:
    end_build(db, submit(db, claim(db, build)), BuildState.HELD, "a person must act")


@pytest.mark.parametrize("hold", [hold_at_start, hold_after_hand_over])
def test_a_resumed_build_gets_its_whole_time_anew(
    db: Database,
    catalog: Catalog,
    build_id: int,
    hold: Callable[[Database, int], None],
) -> None:
    hold(db, build_id)
    change(db, build_id, deadline_at=one(db, build_id).created_at - HOUR)
    resume_build(db, catalog, build_id, by="alice")
    row = one(db, build_id)
    assert row.deadline_at - row.created_at >= timedelta(hours=23)
    assert not claim(db, build_id).past_deadline


@pytest.mark.parametrize("state", ["submitting", "running"])
def test_a_person_can_give_up_what_waits_for_a_silent_build_system(
    db: Database,
    catalog: Catalog,
    build_id: int,
    state: str,
) -> None:
    submitted = submit(db, claim(db, build_id))
    if state == "running":
        assert record(db, submitted)
    give_up_build(db, build_id, by="alice", why="copr is gone for good", surplus_seconds=0)
    row = one(db, build_id)
    assert row.state == "errored"
    assert row.reason.startswith("given up by alice: copr is gone for good; copr is being asked")
    (follow_up,) = find_due(db).follow_ups
    work = look(db, follow_up)
    assert work is not None
    found = surplus_work(db, work)
    assert found.settled and found.keep == ""
    assert (found.given_up is not None) == (state == "running")
    with pytest.raises(CommandRefused, match="errored already"):
        give_up_build(db, build_id, by="alice", why="again", surplus_seconds=0)
    again = request_build(db, catalog, build_id, by="alice").build_id
    assert claim_build(db, again, lease_seconds=60, max_tries=3) is None, "the first one may still be there"


def test_what_was_never_handed_over_is_given_up_without_a_search(db: Database, build_id: int) -> None:
    give_up_build(db, build_id, by="alice", why="not wanted", surplus_seconds=0)
    assert one(db, build_id).reason == "given up by alice: not wanted" and find_due(db).follow_ups == ()


def test_a_retry_is_refused_where_nothing_is_built_any_more(
    db: Database,
    catalog: Catalog,
    build_id: int,
) -> None:
    end_build(db, claim(db, build_id), BuildState.FAILED, "why")
    branch = one(db, build_id).branch
    ended = BranchPolicy(catalog.branches[branch].branch, date(2026, 1, 1))
    with pytest.raises(CommandRefused, match="end of life since 2026-01-01"):
        request_build(db, replace(catalog, branches={**catalog.branches, branch: ended}), build_id, by="x")
    off = tuple(replace(target, enabled=False) for target in catalog.targets)
    with pytest.raises(CommandRefused, match="switched off"):
        request_build(db, replace(catalog, targets=off), build_id, by="x")
    with pytest.raises(CommandRefused, match="no strategy 'bold'"):
        request_build(db, catalog, build_id, by="x", strategy="bold")
    assert len([b for b in builds(db, "1.32.1") if b.branch == branch]) == 1


def test_a_chroot_named_twice_is_recorded_once(db: Database, build_id: int) -> None:
    options = dict(one(db, build_id).options)
    change(db, build_id, options={**options, "chroots": ["fedora-44-x86_64", "fedora-44-x86_64"]})
    assert record(db, submit(db, claim(db, build_id)))
    with db.reader() as session:
        assert len(session.scalars(select(ChrootBuild).where(ChrootBuild.build_id == build_id)).all()) == 1


def test_a_vanished_build_is_no_surplus(db: Database, running: int) -> None:
    work = poll(db, running)
    assert (
        record_poll_problem(db, work, PollProblem("gone", vanished=True), poll_seconds=0)
        is BuildState.ERRORED
    )
    assert find_due(db).follow_ups == ()


def test_a_build_that_is_held_is_not_taken_for_a_surplus_one(db: Database, build_id: int) -> None:
    old = submit(db, claim(db, build_id))
    expire(db, build_id)
    new = claim(db, build_id)
    assert not record(db, old, "41"), "a worker whose lease had ended saw build 41"
    assert end_build(db, new, BuildState.HELD, "the token has expired")
    (follow_up,) = find_due(db).follow_ups
    work = look(db, follow_up)
    assert work is not None and not surplus_work(db, work).settled


def test_a_build_that_no_worker_could_begin_has_its_whole_time(db: Database, build_id: int) -> None:
    change(db, build_id, deadline_at=one(db, build_id).created_at - HOUR)
    assert not claim(db, build_id).past_deadline
    assert one(db, build_id).deadline_at - one(db, build_id).created_at >= timedelta(hours=23)


def test_a_submission_that_kills_its_worker_is_held_for_a_person(
    db: Database, catalog: Catalog, build_id: int
) -> None:
    submit(db, claim(db, build_id))
    for _ in range(20):
        expire(db, build_id)
        if claim_build(db, build_id, lease_seconds=60, max_tries=3) is None:
            break
    row = one(db, build_id)
    assert (
        row.state == "held" and row.reason.startswith("gave up after 6 tries") and "may have it" in row.reason
    )
    resume_build(db, catalog, build_id, by="alice")
    assert one(db, build_id).state == "submitting"


def test_two_answers_to_workers_whose_leases_had_ended_are_both_noted(db: Database, build_id: int) -> None:
    old = submit(db, claim(db, build_id))
    expire(db, build_id)
    claim(db, build_id)
    for turn in range(5):
        with ThreadPoolExecutor(2) as pool:
            said = list(pool.map(lambda n: record(db, old, str(n)), (50 + turn, 80 + turn)))
        assert said == [False, False]
    with db.reader() as session:
        texts = list(session.scalars(select(BuildEvent.text).where(BuildEvent.build_id == build_id)))
    assert sum("whose lease had ended" in text for text in texts) == 10


def test_every_build_is_read_some_time(db: Database, build_id: int) -> None:
    for n, build in enumerate(builds(db, "1.32.1")):
        change(db, build.id, due_at=build.created_at)
        assert record(db, submit(db, claim(db, build.id), key=f"b{n}xabcdef"), str(40 + n))
    read = set()
    for _ in range(10):
        with db.transaction() as session:
            for row in session.scalars(select(PackageBuild)):
                # As if the pace of polls had passed for all alike.
                row.due_at = (row.due_at or row.created_at) - HOUR
        leased = claim_polls(db, "copr", "packbot/cri-o", lease_seconds=60, max_tries=99)
        assert len(leased) == 4
        for n, work in enumerate(leased):
            if n < 2:
                read.add(work.build_id)
                record_report(db, work, BuildReport(work.ref), poll_seconds=1)
            else:
                record_poll_problem(db, work, PollProblem("no time left", unread=True), poll_seconds=1)
    assert len(read) == 4
