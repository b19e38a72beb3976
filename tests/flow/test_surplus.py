"""Surplus builds at COPR are cancelled, however long that takes, and no new attempt starts before."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from sqlalchemy import select

from service.builds.claims import BuildWork
from service.builds.commands import give_up_build, request_build, request_cancel
from service.builds.polls import claim_polls
from service.store.schema import FollowUp, PackageBuild
from tests.flow.pipeline import Pipeline
from workers.builds import polling, steps
from workers.buildsystems import BuildSystem
from workers.context import Context
from workers.packaging.preparation import Prepared

CANCEL = "/api_3/build/cancel/*"


@pytest.fixture
def pipeline(sqlite_pipeline: Pipeline) -> Pipeline:
    sqlite_pipeline.only("f44-copr", "f45-copr")
    return sqlite_pipeline


def alive(pipeline: Pipeline) -> list[str]:
    """Ids of COPR's builds that were not cancelled."""
    return [str(build["id"]) for build in pipeline.farm.builds() if build["state"] != "canceled"]


def running(pipeline: Pipeline) -> list[int]:
    """Two builds that run for ever, as ids of ours."""
    pipeline.farm.set_outcome("pending")
    pipeline.announce("v1.35.6")
    pipeline.run(lambda builds: len(builds) == 2 and all(build.state == "running" for build in builds))
    return [build.id for build in pipeline.builds()]


def outcomes(pipeline: Pipeline) -> list[str]:
    with pipeline.context.db.reader() as session:
        return [row.outcome for row in session.scalars(select(FollowUp)) if row.kind == "surplus"]


def test_a_retry_waits_until_copr_has_taken_the_cancel_of_what_was_given_up(pipeline: Pipeline) -> None:
    first, _ = running(pipeline)
    pipeline.farm.fault("bad_gateway", CANCEL, times=None)
    pipeline.set_past_deadline(first)
    pipeline.run(lambda builds: builds[0].state == "errored")
    at_copr = pipeline.builds()[0].external_id
    again = request_build(pipeline.context.db, pipeline.context.catalog, first, by="alice").build_id
    pipeline.run(lambda builds: "has surely ended" in builds[2].reason)
    assert alive(pipeline) == ["1", "2"], "the old build still runs, so there is no new one yet"
    pipeline.farm.clear_faults()
    pipeline.run(lambda builds: builds[2].state == "running")
    rows = {build.id: build for build in pipeline.builds()}
    assert at_copr not in alive(pipeline) and rows[again].external_id in alive(pipeline)
    assert any(text == f"canceled surplus copr builds {at_copr}" for text in outcomes(pipeline))


def test_an_outage_longer_than_all_tries_ends_no_search(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = running(pipeline)
    pipeline.farm.fault("dropped", "/api_3/*", times=None)
    pipeline.set_past_deadline(first)
    pipeline.run(lambda builds: builds[0].state == "errored")
    asked = len(pipeline.farm.requests())
    until = time.monotonic() + 60
    while len(pipeline.farm.requests()) < asked + 40:
        pipeline.turn()
        time.sleep(0.02)
        assert time.monotonic() < until
    assert all(text.startswith("looking for surplus builds") for text in outcomes(pipeline)), outcomes(
        pipeline
    )
    pipeline.farm.clear_faults()
    pipeline.settle()
    assert outcomes(pipeline) == ["canceled surplus copr builds 1"] and alive(pipeline) == ["2"]


def test_a_given_up_submission_that_lands_late_is_cancelled(pipeline: Pipeline) -> None:
    pipeline.only("f44-copr")
    pipeline.farm.set_outcome("pending")
    pipeline.farm.fault("late_commit", "/api_3/build/create/upload", method="POST", times=1, seconds=4)
    pipeline.announce("v1.35.6")
    pipeline.process_inbox()
    steps.advance(pipeline.context, 1)
    assert pipeline.builds()[0].state == "submitting"
    give_up_build(pipeline.context.db, 1, by="alice", why="not wanted", surplus_seconds=6.0)
    pipeline.farm.wait(lambda builds: len(builds) == 1, 30)
    pipeline.settle(60)
    assert alive(pipeline) == [] and pipeline.builds()[0].state == "errored"


@pytest.mark.parametrize("fault", ["bad_gateway", "forbidden"])
def test_a_cancel_that_fails_leaves_its_neighbour_readable(pipeline: Pipeline, fault: str) -> None:
    first, second = running(pipeline)
    at_copr = {build.id: int(build.external_id or 0) for build in pipeline.builds()}
    pipeline.farm.fault(fault, f"/api_3/build/cancel/{at_copr[first]}", times=None)
    request_cancel(pipeline.context.db, first, by="alice")
    request_cancel(pipeline.context.db, second, by="alice")
    pipeline.run(lambda builds: builds[1].state == "canceled")
    assert pipeline.builds()[0].state == "running"
    pipeline.farm.clear_faults()
    pipeline.run()
    assert pipeline.builds()[0].state == "canceled"


def test_a_report_that_cannot_be_stored_leaves_its_neighbour_alone(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = polling.record_report

    def fragile(db: object, poll: object, *rest: object, **more: object) -> object:
        if poll.build_id == 1:  # type: ignore[attr-defined]
            raise OverflowError("a date that no calendar has")
        return real(db, poll, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(polling, "record_report", fragile)
    pipeline.announce("v1.35.6")
    pipeline.run(lambda builds: len(builds) == 2 and builds[1].state == "succeeded")
    first = pipeline.builds()[0]
    assert first.state == "running" and "could not be stored (OverflowError)" in first.reason
    pipeline.set_past_deadline(1)
    pipeline.run()
    assert pipeline.builds()[0].state == "errored" and "could not be stored" in pipeline.builds()[0].reason


def test_a_cancel_that_comes_while_a_build_is_prepared_submits_nothing(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[[Context, BuildWork], Prepared] = steps.prepare_srpm

    def meanwhile(ctx: Context, work: BuildWork) -> Prepared:
        request_cancel(ctx.db, work.id, by="alice")
        return real(ctx, work)

    monkeypatch.setattr(steps, "prepare_srpm", meanwhile)
    pipeline.announce("v1.35.6")
    pipeline.run()
    assert {build.reason for build in pipeline.builds()} == {
        "canceled by alice"
    } and pipeline.farm.builds() == []


def test_slow_cancels_do_not_outlast_the_lease_of_their_poll(pipeline: Pipeline) -> None:
    for build in running(pipeline):
        request_cancel(pipeline.context.db, build, by="alice")
    real = pipeline.context.system("copr")
    sent: list[str] = []

    class Slow:
        def cancel(self, ref: object) -> None:
            sent.append(ref.external_id)  # type: ignore[attr-defined]
            time.sleep(pipeline.settings.poll_lease_seconds)

        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

    slow: BuildSystem = Slow()  # type: ignore[assignment]
    with pipeline.context.db.transaction() as session:
        for row in session.scalars(select(PackageBuild)):
            row.due_at = row.created_at
    polls = claim_polls(pipeline.context.db, "copr", "packbot/cri-o", lease_seconds=60, max_tries=9)
    assert len(polls) == 2
    assert len(polling._cancel_all(pipeline.context, slow, polls)) == len(sent) == 1
