"""COPR and the mirror misbehave: every build ends once, with one COPR build, or waits and says why."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import select

from service.builds.commands import request_cancel, resume_build
from service.domain.states import BuildState
from service.store.schema import BuildEvent, FollowUp, UpstreamRelease
from tests.flow.house import House
from workers.builds import deliveries, steps

UPLOAD = "/api_3/build/create/upload"


@pytest.fixture
def house(sqlite_house: House) -> House:
    """One target only: its one build must end as exactly one COPR build."""
    sqlite_house.only("f44-copr")
    return sqlite_house


def alive(house: House) -> list[dict[str, object]]:
    """COPR's builds that were not cancelled."""
    return [build for build in house.farm.builds() if build["state"] != "canceled"]


@pytest.mark.parametrize(
    ("fault", "options"),
    [
        ("answer_lost", {}),
        ("dropped", {}),
        ("hang", {"seconds": 4}),
        ("bad_gateway", {}),
        ("unavailable", {}),
        ("unavailable_json", {}),
        ("gateway_timeout", {}),
        ("too_many", {}),
        ("too_many_html", {}),
        ("html_200", {}),
        ("no_content", {}),
        ("redirect", {}),
        ("server_error", {}),
        ("bare_500", {}),
        ("conflict", {}),
    ],
)
def test_an_upload_in_doubt_becomes_one_build(house: House, fault: str, options: dict[str, float]) -> None:
    house.farm.fault(fault, UPLOAD, method="POST", times=1, **options)
    house.announce("v1.35.6")
    house.run()
    house.settle()
    (build,) = house.builds()
    assert build.state == "succeeded", build.reason
    assert [str(b["id"]) for b in alive(house)] == [build.external_id]


def test_an_upload_whose_answer_is_lost_is_adopted_not_repeated(house: House) -> None:
    house.farm.fault("answer_lost", UPLOAD, method="POST", times=1)
    house.announce("v1.35.6")
    house.run()
    assert len(house.farm.builds()) == 1 and len(house.farm.requests("POST", UPLOAD)) == 1
    with house.context.db.reader() as session:
        texts = list(session.scalars(select(BuildEvent.text).where(BuildEvent.kind == "submission")))
    assert any("adopted" in text for text in texts)


def test_a_late_first_upload_is_cancelled_as_surplus(house: House) -> None:
    # The first upload dies and lands only after a certain search and a second upload.
    house.farm.fault("late_commit", UPLOAD, method="POST", times=1, seconds=5)
    house.announce("v1.35.6")
    house.farm.pause()
    house.run_to("running")
    house.farm.wait(lambda builds: len(builds) == 2, 60)
    house.settle()
    house.farm.resume()
    house.run()
    (build,) = house.builds()
    assert build.state == "succeeded"
    assert [str(b["id"]) for b in alive(house)] == [build.external_id]
    with house.context.db.reader() as session:
        outcomes = list(session.scalars(select(FollowUp.outcome)))
    assert any("canceled surplus" in outcome for outcome in outcomes), outcomes


def test_two_builds_for_one_upload_are_one_after_adoption(house: House) -> None:
    house.farm.fault("twice", UPLOAD, method="POST", times=1)
    house.farm.fault("answer_lost", UPLOAD, method="POST", times=1)
    house.announce("v1.35.6")
    house.run()
    house.settle()
    (build,) = house.builds()
    assert [str(b["id"]) for b in alive(house)] in ([build.external_id], ["1", "2"])
    assert build.state == "succeeded"


def test_copr_down_spends_no_tries_and_everything_is_built_afterwards(house: House) -> None:
    house.announce("v1.35.6")
    house.announce("v1.36.0")
    house.farm.fault("dropped", "/api_3/*", times=None)
    until = time.monotonic() + 4
    while time.monotonic() < until:
        house.turn()
        time.sleep(0.05)
    waiting = house.builds()
    assert {b.state for b in waiting} == {"preparing"}
    assert all(b.reason.startswith("copr: ") for b in waiting)
    house.farm.clear_faults()
    house.run()
    assert {b.state for b in house.builds()} == {"succeeded"} and len(house.farm.builds()) == 2


@pytest.mark.parametrize(("fault", "word"), [("expired_token", "token"), ("forbidden", "denies")])
def test_a_lack_of_rights_holds_the_build_for_a_person(house: House, fault: str, word: str) -> None:
    house.farm.fault(fault, UPLOAD, method="POST", times=1)
    house.announce("v1.35.6")
    house.run_to("held")
    (build,) = house.builds()
    assert word in build.reason and not house.farm.builds()
    resume_build(house.context.db, house.context.catalog, build.id, by="a maintainer")
    house.run()
    assert house.builds()[0].state == "succeeded" and len(house.farm.builds()) == 1


def test_a_build_held_while_in_doubt_is_searched_for_when_resumed(house: House) -> None:
    house.farm.fault("expired_token", UPLOAD, method="POST", times=1)
    house.announce("v1.35.6")
    house.run_to("held")
    assert house.builds()[0].submission_key
    resume_build(house.context.db, house.context.catalog, 1, by="a maintainer")
    assert house.builds()[0].state == "submitting"
    house.run()
    assert house.builds()[0].state == "succeeded" and len(house.farm.builds()) == 1


def test_a_build_held_in_doubt_is_cancelled_only_after_a_certain_search(house: House) -> None:
    house.farm.fault("expired_token", UPLOAD, method="POST", times=1)
    house.announce("v1.35.6")
    house.run_to("held")
    request_cancel(house.context.db, 1, by="a maintainer")
    assert house.builds()[0].state == "submitting"
    house.run()
    assert house.builds()[0].state == "canceled" and not house.farm.builds()


def test_polls_that_fail_are_said_and_repeated(house: House) -> None:
    house.announce("v1.35.6")
    house.run_to("running")
    for fault in ("bad_gateway", "html_200", "too_many", "redirect"):
        house.farm.fault(fault, "/api_3/build/list", times=1)
    house.run()
    assert house.builds()[0].state == "succeeded"


def test_a_build_that_copr_forgot_is_errored(house: House) -> None:
    house.farm.pause()
    house.announce("v1.35.6")
    house.run_to("running")
    house.farm.fault("answer", "/api_3/build/list", times=None, status=200, json={"items": [], "meta": {}})
    gone = {"error": "Build 1 does not exist."}
    house.farm.fault("answer", "/api_3/build/1", times=None, status=404, json=gone)
    house.run()
    (build,) = house.builds()
    assert build.state == "errored" and "does not know build" in build.reason


def test_a_running_build_is_cancelled_at_copr(house: House) -> None:
    db = house.context.db
    house.announce("v1.35.6")
    house.farm.pause()
    house.run_to("running")
    request_cancel(db, 1, by="a maintainer")
    house.run()
    (build,) = house.builds()
    assert (build.state, build.reason) == ("canceled", "canceled by a maintainer")
    assert house.farm.builds()[0]["state"] == "canceled"
    assert {c.state for c in house.chroots(1).values()} == {"canceled"}


def test_a_cancel_before_anything_began_submits_nothing(house: House) -> None:
    house.announce("v1.35.6")
    house.process_inbox()
    request_cancel(house.context.db, 1, by="a maintainer")
    house.run()
    assert house.builds()[0].state == "canceled" and not house.farm.builds()


def test_a_deadline_ends_a_build_that_waits_for_ever(house: House) -> None:
    house.farm.set_outcome("pending")
    house.announce("v1.35.6")
    house.run_to("running")
    house.set_past_deadline(1)
    house.run()
    (build,) = house.builds()
    assert build.state == "errored" and build.reason.startswith("no end by its deadline")
    assert house.farm.builds()[0]["state"] == "canceled"


@pytest.mark.parametrize("fault", ["dropped", "bad_gateway"])
def test_a_deadline_also_ends_a_build_that_cannot_be_asked_for(house: House, fault: str) -> None:
    house.farm.set_outcome("pending")
    house.announce("v1.35.6")
    house.run_to("running")
    house.farm.fault(fault, "/api_3/*", times=None)
    house.set_past_deadline(1)
    house.run()
    (build,) = house.builds()
    assert build.state == "errored" and build.reason.startswith("no end by its deadline")


def test_a_chroot_cancelled_under_a_succeeded_build_is_not_green(house: House) -> None:
    house.farm.set_outcome("canceled", chroot="fedora-44-aarch64")
    build = house.build_one("v1.35.6")
    assert build.state == "canceled" and "fedora-44-aarch64" in build.reason


def test_states_that_go_back_never_reopen_a_chroot(house: House) -> None:
    # Only the x86_64 chroot of the answer is in question; the roll-up waits for the other one.
    house.farm.fault("states", "/api_3/build-chroot/list", times=3, states=["succeeded", "running"])
    house.announce("v1.35.6")
    house.run()
    assert house.builds()[0].state == "succeeded"


@pytest.mark.parametrize(
    ("fault", "state", "word"),
    [
        ("traversal", "failed", "not safe"),
        ("bomb", "failed", "of more than 128 MiB"),
        ("wrong_version", "failed", ""),
        ("html_200", "failed", ""),
    ],
)
def test_an_archive_that_is_none_fails_with_its_reason(
    house: House, fault: str, state: str, word: str
) -> None:
    house.farm.fault(fault, "/cri-o/cri-o/archive/*", times=None)
    build = house.build_one("v1.35.6")
    assert build.state == state and build.reason and word in build.reason
    assert not house.farm.builds()


@pytest.mark.parametrize("fault", ["truncated", "unavailable", "missing", "dropped", "wrong_length"])
def test_a_mirror_in_trouble_is_waited_for(house: House, fault: str) -> None:
    house.farm.fault(fault, "/cri-o/cri-o/archive/*", times=2)
    build = house.build_one("v1.35.6")
    assert build.state == "succeeded", build.reason


def test_a_moved_tag_marks_the_release_and_rebuilds_nothing(house: House) -> None:
    house.announce("v1.35.6")
    house.run()
    house.farm.move_tag("v1.35.6")
    house.announce("v1.35.6", "edited", publish=False)
    deliveries.reconcile(house.context)
    house.run()
    assert len(house.builds()) == 1 and len(house.farm.builds()) == 1
    with house.context.db.reader() as session:
        (release,) = session.scalars(select(UpstreamRelease)).all()
        assert "moved" in release.mark


def test_internal_trouble_is_tried_again_and_ends_as_errored(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(steps.STEPS, BuildState.PREPARING, broken)  # type: ignore[arg-type]
    build = house.build_one("v1.35.6")
    assert build.state == "errored" and "No space left" in build.reason
    assert "gave up after 6 tries" in build.reason
