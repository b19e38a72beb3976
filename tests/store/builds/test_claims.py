"""Claims, leases, tries and deadlines, on both databases."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import select

from service import board
from service.board.builds import BUILD_COLUMNS, build_row
from service.builds.claims import back_off, claim_build, end_build, find_due
from service.builds.commands import request_build, request_cancel
from service.builds.polls import claim_polls, record_report
from service.builds.submissions import begin_submit, reserve_release_number
from service.catalog import Catalog
from service.domain.errors import CommandRefused
from service.domain.reports import BuildReport, ChrootReport, SubmissionKey
from service.domain.states import BuildState, ChrootState
from service.store.schema import BuildEvent, ChrootBuild
from service.store.session import Database
from tests.store.claims import SPEC, change, claim, expire, record, submit
from tests.store.deliveries import builds, deliver, payload


def test_eight_workers_claim_a_build_once(db: Database, build_id: int) -> None:
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda _: claim_build(db, build_id, lease_seconds=60, max_tries=3), range(8)))
    assert Counter(claim is None for claim in claims) == {True: 7, False: 1}


def test_a_lost_lease_records_nothing(db: Database, build_id: int) -> None:
    old = claim(db, build_id)
    expire(db, build_id)
    new = claim(db, build_id)
    assert not end_build(db, old, BuildState.FAILED, "late")
    assert not back_off(db, old, "late", delay_seconds=1)
    assert begin_submit(
        db, old, spec=SPEC, srpm_name="x", srpm_sha256="x", release_number=1,
        key=SubmissionKey("b1late"), fence={}, lease_seconds=60,
    ) is None  # fmt: skip
    assert submit(db, new).state is BuildState.SUBMITTING


def test_an_answer_to_a_lost_lease_is_noted_and_looked_after(db: Database, build_id: int) -> None:
    old = submit(db, claim(db, build_id))
    expire(db, build_id)
    new = claim(db, build_id)
    assert not record(db, old, "41")
    assert record(db, new, "42")
    (build,) = (b for b in builds(db, "1.32.1") if b.id == build_id)
    assert (build.external_id, build.state) == ("42", "running")
    assert find_due(db).follow_ups, "somebody must look for build 41 and cancel it"


def test_a_step_that_kills_its_worker_does_not_loop_for_ever(db: Database, build_id: int) -> None:
    for _ in range(3):
        claim(db, build_id)
        expire(db, build_id)
    assert claim_build(db, build_id, lease_seconds=60, max_tries=3) is None
    build = builds(db, "1.32.1")[0]
    assert build.state == "errored" and "gave up after 3 tries" in build.reason


def test_trouble_of_the_other_side_spends_no_try(db: Database, build_id: int) -> None:
    for _ in range(10):
        back_off(db, claim(db, build_id), "COPR is away", delay_seconds=0, spend_try=False)
    assert builds(db, "1.32.1")[0].tries == 0


def test_the_deadline_ends_what_was_never_submitted(db: Database, build_id: int) -> None:
    back_off(db, claim(db, build_id), "COPR is away", delay_seconds=0, spend_try=False)
    build = builds(db, "1.32.1")[0]
    change(db, build_id, deadline_at=build.created_at - timedelta(hours=1))
    assert claim_build(db, build_id, lease_seconds=60, max_tries=3) is None
    build = builds(db, "1.32.1")[0]
    assert build.state == "errored" and "COPR is away" in build.reason


def test_in_submitting_neither_deadline_nor_tries_end_a_build(db: Database, build_id: int) -> None:
    submit(db, claim(db, build_id))
    build = builds(db, "1.32.1")[0]
    for _ in range(3):
        expire(db, build_id)
        change(db, build_id, deadline_at=build.created_at - timedelta(hours=1), cancel_requested="x")
        work = claim(db, build_id, max_tries=2)
    assert work.past_deadline and work.tries_left == 0 and work.cancel_requested == "x"


def test_reports_never_take_an_end_back(db: Database, build_id: int) -> None:
    assert record(db, submit(db, claim(db, build_id)))
    chroots = builds(db, "1.32.1")[0].options["chroots"]

    def report(*states: ChrootState) -> BuildState | None:
        expire(db, build_id)
        (poll,) = claim_polls(db, "copr", "packbot/cri-o", lease_seconds=60, max_tries=9)
        seen = tuple(ChrootReport(c, s, reason="why") for c, s in zip(chroots, states, strict=True))
        return record_report(db, poll, BuildReport(poll.ref, seen), poll_seconds=0)

    assert report(ChrootState.FAILED, ChrootState.RUNNING) is BuildState.RUNNING
    assert report(ChrootState.RUNNING, ChrootState.PENDING) is BuildState.RUNNING
    with db.reader() as session:
        rows = {c.chroot: c.state for c in session.query(ChrootBuild).filter_by(build_id=build_id)}
    assert rows == {chroots[0]: "failed", chroots[1]: "running"}
    assert report(ChrootState.SUCCEEDED, ChrootState.SUCCEEDED) is BuildState.FAILED
    build = builds(db, "1.32.1")[0]
    assert build.reason == f"failed in 1 of 2 chroots ({chroots[0]}): why"


@pytest.mark.parametrize(
    ("built", "end", "why"),
    [
        ("cri-o1.32-1.32.1-7.fc43", BuildState.SUCCEEDED, ""),
        ("cri-o1.32-1.32.2-1.fc43", BuildState.ERRORED, "and cri-o1.32-1.32.1 was planned: the spec of the commit"),
        ("cri-o1.33-1.32.1-7.fc43", BuildState.ERRORED, "what was built is cri-o1.33-1.32.1-7.fc43"),
    ],
)  # fmt: skip
def test_what_a_build_is_called_there_is_kept_and_must_be_what_was_planned(
    db: Database, build_id: int, built: str, end: BuildState, why: str
) -> None:
    assert record(db, submit(db, claim(db, build_id)))
    chroots = builds(db, "1.32.1")[0].options["chroots"]

    def report(state: ChrootState, nvr: str) -> tuple[str, str]:
        expire(db, build_id)
        (poll,) = claim_polls(db, "copr", "packbot/cri-o", lease_seconds=60, max_tries=9)
        seen = tuple(ChrootReport(chroot, state) for chroot in chroots)
        record_report(db, poll, BuildReport(poll.ref, seen, nvr=nvr), poll_seconds=0)
        with db.reader() as session:
            row = session.execute(select(*BUILD_COLUMNS).where(BUILD_COLUMNS[0] == build_id)).one()
            assert build_row(row).state == builds(db, "1.32.1")[0].state
            return build_row(row).nvr, build_row(row).reason

    counted = report(ChrootState.RUNNING, "")
    assert counted == ("cri-o1.32-1.32.1-0.1.fc43", "")
    named, reason = report(ChrootState.RUNNING, built)
    assert named == built and why in reason and bool(why) == bool(reason)
    # What is known is not forgotten by a poll that could not read it again.
    named, reason = report(ChrootState.SUCCEEDED, "")
    assert named == built and why in reason and bool(why) == bool(reason)
    assert builds(db, "1.32.1")[0].state == end
    with db.reader() as session:
        lines = list(session.scalars(select(BuildEvent.text).where(BuildEvent.text.contains("calls it"))))
    assert lines == [f"copr calls it {built}"]


def test_a_poll_is_leased_once(db: Database, build_id: int) -> None:
    assert record(db, submit(db, claim(db, build_id)))
    with ThreadPoolExecutor(4) as pool:
        claimed = pool.map(
            lambda _: claim_polls(db, "copr", "packbot/cri-o", lease_seconds=60, max_tries=9), range(4)
        )
        assert sum(len(polls) for polls in claimed) == 1


def test_the_release_number_belongs_to_the_content(db: Database, build_id: int) -> None:
    work = claim(db, build_id)
    numbers = [
        reserve_release_number(db, work, content_sha256=content, why="Update").number
        for content in ("a" * 64, "b" * 64, "a" * 64, "c" * 64)
    ]
    assert numbers == [1, 2, 1, 3]
    third = reserve_release_number(db, work, content_sha256="c" * 64, why="Update")
    assert [entry.evr for entry in third.changelog] == ["1.32.1-0.3", "1.32.1-0.2", "1.32.1-0.1"]


def test_parallel_contents_get_different_numbers(db: Database, build_id: int) -> None:
    work = claim(db, build_id)
    with ThreadPoolExecutor(8) as pool:
        got = list(
            pool.map(
                lambda n: reserve_release_number(db, work, content_sha256=f"{n:064d}", why="x").number,
                range(8),
            )
        )
    assert sorted(got) == list(range(1, 9))


def test_two_maintainers_who_ask_at_once_get_one_build(db: Database, catalog: Catalog, build_id: int) -> None:
    end_build(db, claim(db, build_id), BuildState.FAILED, "why")

    def ask(n: int) -> str:
        try:
            return request_build(db, catalog, build_id, by=f"maintainer {n}").sentence
        except CommandRefused as error:
            return f"refused: {error}"

    with ThreadPoolExecutor(2) as pool:
        answers = sorted(pool.map(ask, range(2)))
    assert answers[0].startswith("build ") and answers[1].startswith("refused: build ")


def test_an_ended_build_cannot_be_cancelled(db: Database, build_id: int) -> None:
    end_build(db, claim(db, build_id), BuildState.FAILED, "why")
    with pytest.raises(CommandRefused, match="failed already"):
        request_cancel(db, build_id, by="a maintainer")


def test_a_withdrawn_release_cancels_what_had_not_begun(
    db: Database, catalog: Catalog, build_id: int
) -> None:
    deliver(db, catalog, payload("v1.32.1", "deleted"))
    assert claim_build(db, build_id, lease_seconds=60, max_tries=3) is None
    build = builds(db, "1.32.1")[0]
    assert build.state == "canceled" and "deleted" in build.reason


def test_what_people_ask_for_is_in_the_audit_trail(db: Database, catalog: Catalog, build_id: int) -> None:
    end_build(db, claim(db, build_id), BuildState.FAILED, "why")
    new = request_build(db, catalog, build_id, by="alice")
    request_cancel(db, new.build_id, by="bob")
    with pytest.raises(CommandRefused):
        request_build(db, catalog, build_id, by="carol")
    with db.reader() as session:
        rows = board.list_audit(session).items
    assert [(row.actor, row.action, row.subject) for row in rows] == [
        ("bob", "build.cancel", f"build {new.build_id}"),
        ("alice", "build.retry", f"build {build_id}"),
    ], "what was refused was not done, so it is not there"


def test_unpublished_and_published_again_is_built(db: Database, catalog: Catalog, build_id: int) -> None:
    deliver(db, catalog, payload("v1.32.1", "unpublished"))
    assert claim_build(db, build_id, lease_seconds=60, max_tries=3) is None
    outcome = deliver(db, catalog, payload("v1.32.1"))
    assert outcome is not None and len(outcome.builds) == 1
    again = next(b for b in builds(db, "1.32.1") if b.id == outcome.builds[0])
    assert (again.attempt, again.state) == (2, "pending")


def test_the_older_patch_is_built_when_the_newer_is_withdrawn(db: Database, catalog: Catalog) -> None:
    for tag in ("v1.32.1", "v1.32.2"):
        deliver(db, catalog, payload(tag))
    deliver(db, catalog, payload("v1.32.2", "deleted"))
    outcome = deliver(db, catalog, payload("v1.32.1", "edited"))
    assert outcome is not None and len(outcome.builds) == 4
