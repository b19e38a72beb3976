"""Tests how COPR's builds become reports: every captured state, their order, odd rows, and polls of many builds."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.reports import BuildRef, BuildReport, PollProblem, SubmissionKey
from service.domain.states import ENDED_CHROOT, BuildState, ChrootState, rollup
from tests.contract.copr.bench import ARM, X86, CoprBench, copr_at
from tests.contract.odd_server import Asked, OddServer, Told
from workers.buildsystems import BuildSystemUnavailable
from workers.buildsystems.copr.reports import (
    BUILD_STATES,
    CHROOT_STATES,
    needs_chroots,
    needs_source_step,
    report,
)

pytestmark = pytest.mark.timeout(60)
PAIRS = {
    pair["n"]: pair["response"]["body"]
    for pair in map(
        json.loads, (Path(__file__).parents[2] / "payloads/copr/pairs.jsonl").read_text().splitlines()
    )
    if "body" in pair["response"]
}
P, R, S, F, C, K = (
    ChrootState.PENDING, ChrootState.RUNNING, ChrootState.SUCCEEDED, ChrootState.FAILED, ChrootState.CANCELED,
    ChrootState.SKIPPED,
)  # fmt: skip
REF = BuildRef("copr", "packbot/demo", "1")


def told(build: int | dict[str, Any], chroots: Any = None, source: Any = None) -> BuildReport:
    body = PAIRS[build] if isinstance(build, int) else build
    rows = PAIRS[chroots]["items"] if isinstance(chroots, int) else chroots
    answer = report(BuildRef("copr", "packbot/demo", str(body["id"])), body, rows, source)
    assert isinstance(answer, BuildReport), answer
    return answer


def verdict(answer: BuildReport) -> str:
    return answer.ended or rollup(one.state for one in answer.chroots).value


def test_the_tables_hold_exactly_coprs_states() -> None:
    everywhere = {"pending", "starting", "running", "succeeded", "failed", "canceled", "skipped", "forked"}
    assert CHROOT_STATES.keys() == everywhere | {"waiting"}
    assert BUILD_STATES.keys() == everywhere | {"importing", "unknown"}


CAPTURED: list[tuple[str, int, int | None, str, list[ChrootState]]] = [
    ("pending", 70, None, "running", [P, P]),
    ("chroots wait", 70, 71, "running", [P, P]),
    ("source starting", 74, 71, "running", [P, P]),
    ("source running", 75, 71, "running", [P, P]),
    ("importing", 77, None, "running", [P, P]),
    ("pending again", 78, 79, "running", [P, P]),
    ("chroots starting", 80, 81, "running", [R, R]),
    ("one done", 82, 83, "running", [S, R]),
    ("one failed", 84, 85, "failed", [S, F]),
    ("import failed", 92, 93, "failed", [F, F]),
    ("excluded", 94, 95, "failed", [K, K]),
    ("cancelled, one lags", 96, 97, "canceled", [S, C]),
    ("cancelled, confirmed", 96, 98, "canceled", [S, C]),
    ("one at its end of life", 100, 99, "canceled", [C, S]),
]


@pytest.mark.parametrize(
    ("build", "chroots", "end", "states"), [c[1:] for c in CAPTURED], ids=[c[0] for c in CAPTURED]
)
def test_captured_builds(build: int, chroots: int | None, end: str, states: list[ChrootState]) -> None:
    answer = told(build, chroots)
    assert verdict(answer) == end
    assert [one.state for one in answer.chroots] == states
    assert answer.vendor_state == PAIRS[build]["state"]
    assert all(one.reason for one in answer.chroots if one.state in (F, C, K, P))
    assert all("\n" not in text for text in [answer.reason, *(one.reason for one in answer.chroots)])


def test_a_failed_source_step_ends_builds_with_and_without_chroots() -> None:
    bare = told(91, [])
    assert (bare.ended, bare.chroots) == ("failed", ()) and "source step" in bare.reason
    assert bare.source_log_url.endswith("/packbot/demo/srpm-builds/00000031/builder-live.log.gz")
    lagging = [{"name": X86, "state": "waiting"}, {"name": ARM, "state": "failed"}]
    build = {**PAIRS[91], "chroots": [X86, ARM]}
    source = {"state": "failed", "result_url": "http://r/srpm-builds/00000031"}
    ended = told(build, lagging, source)
    assert ended.ended == "failed" and [one.state for one in ended.chroots] == [F, F]
    assert ended.source_log_url == "http://r/srpm-builds/00000031/builder-live.log.gz"
    # Without the source step's word, a chroot that lags is waited for.
    assert verdict(told(build, lagging)) == "running"


def test_a_failed_import_is_told_from_a_failed_source_step() -> None:
    assert "import" in told(92, 93).reason
    assert "import" in told(92, 93, {"state": "failed", "result_url": None}).reason
    assert needs_source_step(PAIRS[92], PAIRS[93]["items"]) and not needs_source_step(
        PAIRS[84], PAIRS[85]["items"]
    )


def test_one_chroot_that_was_not_imported_leaves_the_others_alone() -> None:
    rows = [
        {"name": X86, "state": "failed", "result_url": None},
        {"name": ARM, "state": "running", "result_url": "http://r/"},
    ]
    assert verdict(told({**PAIRS[82], "state": "running"}, rows)) == "running"
    rows[1]["state"] = "succeeded"
    assert verdict(told({**PAIRS[82], "state": "failed"}, rows)) == "failed"
    assert told({**PAIRS[82], "state": "failed"}, rows).ended == ""


def test_unknown_is_decided_by_the_chroots() -> None:
    row = {"name": X86, "state": "canceled"}
    assert verdict(told(101, [row])) == "canceled"
    assert verdict(told(101, [{**row, "state": "waiting"}])) == "running"
    assert verdict(told(101, [])) == "running"


def test_a_forked_build_is_understood() -> None:
    assert verdict(told({"id": 5, "state": "forked"}, [{"name": X86, "state": "forked"}])) == "succeeded"


def test_logs_are_plain_while_running_and_compressed_after() -> None:
    running = told(82, 83)
    done, going = running.chroots
    assert done.log_url == done.result_url + "builder-live.log.gz"
    assert going.log_url == going.result_url + "builder-live.log"
    assert running.source_log_url.endswith("/srpm-builds/00000001/builder-live.log.gz")
    assert told(75, 71).source_log_url.endswith("/srpm-builds/00000001/builder-live.log")
    assert told(70).source_log_url == ""
    assert all(one.log_url == "" for one in told(92, 93).chroots)
    directory = told({**PAIRS[78], "project_dirname": "demo:pr:77"}, 79)
    assert directory.source_log_url.startswith(
        "http://results.copr.example/results/packbot/demo:pr:77/srpm-builds/"
    )


def test_times_are_utc_and_may_be_missing() -> None:
    done, failed = told(84, 85).chroots
    assert done.started_at == datetime.fromtimestamp(1795418065, UTC) and failed.ended_at
    assert {one.started_at for one in told(92, 93).chroots} == {None}


@pytest.mark.parametrize("value", [True, -1, 0, 10**30, "1795418065", float("nan"), float("inf"), [], {}])
def test_an_odd_time_is_no_time(value: Any) -> None:
    (one,) = told(84, [{"name": X86, "state": "running", "started_on": value}]).chroots
    assert one.started_at is None


@pytest.mark.parametrize("value", ["javascript:alert(1)", "ftp://x/", 5, [], "//x", " https://x"])
def test_only_web_addresses_become_links(value: Any) -> None:
    build = {**PAIRS[84], "repo_url": value}
    answer = told(
        build,
        [{"name": X86, "state": "failed", "result_url": value}],
        {"state": "failed", "result_url": value},
    )
    assert (answer.chroots[0].result_url, answer.chroots[0].log_url, answer.source_log_url) == ("", "", "")


ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from([*BUILD_STATES, *CHROOT_STATES, "x"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "url"]), inner, max_size=3)
    ),
    max_leaves=6,
)
ROW = ["name", "state", "result_url", "started_on"]
FIELDS = ["state", "chroots", "started_on", "source_package", "repo_url", "project_dirname", "submitter"]


@settings(max_examples=400, deadline=None)
@given(
    st.dictionaries(st.sampled_from(FIELDS), ODD),
    st.none() | st.lists(st.dictionaries(st.sampled_from(ROW), ODD), max_size=3),
    st.none() | st.dictionaries(st.sampled_from(["state", "result_url"]), ODD),
)
def test_no_answer_breaks_a_poll(build: Any, chroots: Any, source: Any) -> None:
    needs_chroots(build)
    needs_source_step(build, chroots or [])
    answer = report(REF, build, chroots, source)
    if isinstance(answer, PollProblem):
        assert answer.reason and not answer.vanished
    elif answer.ended:
        assert BuildState(answer.ended) and answer.reason
        assert all(one.state in ENDED_CHROOT for one in answer.chroots)


def submit(bench: CoprBench, number: int = 0) -> BuildRef:
    return bench.system.submit(
        bench.work, bench.target, SubmissionKey(f"b{number}x0123456789ab"), bench.fence
    )


def test_waiting_builds_cost_one_request_together(bench: CoprBench) -> None:
    refs = [submit(bench, number) for number in range(5)]
    before = len(bench.farm.requests())
    answers = bench.system.poll(refs)
    assert [bench.farm.requests()[before:][0]["path"]] == ["/api_3/build/list"]
    assert len(bench.farm.requests()) == before + 1
    assert {one.state for ref in refs for one in answers[ref].chroots} == {P}
    bench.farm.step(int(refs[0].external_id), 20)
    bench.system.poll(refs)
    assert [one["path"] for one in bench.farm.requests()[before + 1 :]] == [
        "/api_3/build/list",
        "/api_3/build-chroot/list",
    ]


def test_one_unreadable_build_spoils_no_neighbour(bench: CoprBench) -> None:
    refs = [submit(bench, number) for number in range(3)]
    for ref in refs:
        bench.end(ref)
    for fault in ("server_error", "html_200", "unavailable_json", "truncated", "missing"):
        bench.farm.fault(fault, "/api_3/build-chroot/list", skip=1)
        answers = bench.system.poll(refs)
        assert [type(answers[ref]) for ref in refs] == [BuildReport, PollProblem, BuildReport], fault
        assert not answers[refs[1]].vanished
        bench.farm.clear_faults()


def test_odd_rows_of_the_list_are_read_one_by_one(bench: CoprBench) -> None:
    refs = [submit(bench, number) for number in range(2)]
    good = {"id": int(refs[0].external_id), "state": "pending", "chroots": [X86]}
    rows = [None, {}, 5, {"id": int(refs[1].external_id)}, good]
    bench.farm.fault("answer", "/api_3/build/list", status=200, json={"items": rows})
    answers = bench.system.poll(refs)
    assert [one.chroot for one in answers[refs[0]].chroots] == [X86]
    assert [one.chroot for one in answers[refs[1]].chroots] == [ARM, X86]


def test_a_deleted_build_and_a_deleted_project_are_vanished(bench: CoprBench) -> None:
    ref, stays = submit(bench), submit(bench, 1)
    bench.system.cancel(ref)
    bench.end(ref)
    client = bench.system._client(5.0)._client
    client.build_proxy.delete(int(ref.external_id))
    answers = bench.system.poll([ref, stays])
    assert answers[ref].vanished and answers[stays].vendor_state == "pending"
    bench.system.cancel(stays)
    bench.end(stays)
    client.project_proxy.delete(*bench.target.project.split("/"))
    assert bench.system.poll([stays])[stays].vanished


def test_an_old_build_is_read_by_itself_without_reading_every_page(bench: CoprBench) -> None:
    ref = submit(bench)
    bench.farm.fault("shift", "/api_3/build/list", by=400)
    before = len(bench.farm.requests())
    assert bench.system.poll([ref])[ref].vendor_state == "pending"
    assert [one["path"] for one in bench.farm.requests()[before:]] == [
        "/api_3/build/list",
        f"/api_3/build/{ref.external_id}",
    ]


def test_states_that_jump_are_told_as_they_are(bench: CoprBench) -> None:
    ref = submit(bench)
    bench.farm.fault(
        "states", "/api_3/build/list", times=None, states=["running", "pending", "importing", "starting"]
    )
    seen = [bench.system.poll([ref])[ref] for _ in range(4)]
    assert [one.vendor_state for one in seen] == ["running", "pending", "importing", "starting"]
    assert {verdict(one) for one in seen} == {"running"}


def test_a_pending_build_that_has_begun_tells_its_finished_chroots() -> None:
    assert not needs_chroots(PAIRS[78]) and needs_chroots({**PAIRS[78], "started_on": 1795418065})


def with_server(tmp_path: Path, answer: Callable[[Asked], Told], refs: list[BuildRef]) -> tuple[Any, int]:
    with OddServer(answer) as server:
        answers = copr_at(tmp_path, server.url).poll(refs)
        return answers, len(server.asked)


def test_a_server_in_trouble_is_not_asked_a_hundred_times(tmp_path: Path) -> None:
    refs = [BuildRef("copr", "a/b", str(number)) for number in range(1, 101)]
    rows = [{"id": number, "state": "running"} for number in range(100, 0, -1)]

    def answer(asked: Asked) -> Told:
        return Told({"items": rows}) if asked.path.endswith("/build/list") else Told(b"<html>", 502)

    answers, asked = with_server(tmp_path, answer, refs)
    assert asked <= 5 and len(answers) == 100
    assert all(isinstance(one, PollProblem) and not one.vanished for one in answers.values())


def test_an_answer_about_another_build_is_not_believed(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Told:
        return Told({"items": []}) if asked.path.endswith("/list") else Told({"id": 2, "state": "succeeded"})

    answers, _ = with_server(tmp_path, answer, [REF])
    assert isinstance(answers[REF], PollProblem)


def test_a_list_that_cannot_be_read_is_trouble_of_the_whole(bench: CoprBench) -> None:
    ref = submit(bench)
    bench.farm.fault("too_many", "/api_3/build/list")
    with pytest.raises(BuildSystemUnavailable) as caught:
        bench.system.poll([ref])
    assert caught.value.retry_after == 30.0
