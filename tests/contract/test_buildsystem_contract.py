"""Tests what every build system must do behind the port. A new one joins by a bench of its own in ``BENCHES``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import httpx2
import pytest

from sandbox.testing import Farm
from service.domain.planning import BuildTarget
from service.domain.reports import (
    BuildRef,
    BuildReport,
    Fence,
    PollProblem,
    ResultPlace,
    ScmCommit,
    Srpm,
    SubmissionKey,
    TagReport,
)
from service.domain.states import ENDED_CHROOT, BuildState, ChrootState, rollup
from tests.contract.copr.bench import CoprBench
from tests.contract.koji.bench import REAL_URL, KojiBench, RealKojiBench, reset
from tests.servers import NO_TLS
from workers.buildsystems import (
    AdapterConfig,
    BuildSystem,
    BuildSystemError,
    BuildSystemUnavailable,
    BuildVanished,
    NeedsPerson,
    SubmissionRefused,
    SubmissionUnknown,
    connect,
)

pytestmark = pytest.mark.timeout(3600 if REAL_URL else 60)
KEY, OTHER = SubmissionKey("b7x0123456789ab"), SubmissionKey("b77x0123456789ab")


class Bench(Protocol):
    """An adapter, a target, a piece of work, and changes at the build system that a test needs."""

    system: BuildSystem
    target: BuildTarget
    work: Srpm | ScmCommit
    doubt: Mapping[str, float]
    spared: ChrootState
    """What becomes of a chroot beside a failed one: COPR builds it, Koji cancels it."""

    def another(self) -> BuildSystem: ...
    def secrets(self) -> list[str]: ...
    def count(self) -> int: ...
    def move_on(self, ref: BuildRef, steps: int) -> None: ...
    def end(self, ref: BuildRef) -> None: ...
    def will_fail(self, chroot: str) -> None: ...
    def will_fail_at_source(self) -> None: ...
    def lose_next_answer(self) -> None: ...
    def go_offline(self) -> None: ...
    def expire_login(self) -> None: ...
    def close_chroots(self) -> None: ...
    def vanished(self) -> BuildRef: ...


@pytest.fixture
def copr_bench(module_farm: Farm, srpm: Path, tmp_path: Path, request: pytest.FixtureRequest) -> CoprBench:
    return CoprBench.fresh(module_farm, srpm, tmp_path, request.node.nodeid)


@pytest.fixture
def koji_bench(module_farm: Farm, srpm: Path, tmp_path: Path) -> KojiBench:
    return KojiBench(reset(module_farm), srpm, tmp_path)


@pytest.fixture
def real_koji_bench(srpm: Path, tmp_path: Path) -> RealKojiBench:
    return RealKojiBench(srpm, tmp_path)


BENCHES = ["copr_bench", "koji_bench", *(["real_koji_bench"] if REAL_URL else [])]


@pytest.fixture(params=BENCHES)
def bench(request: pytest.FixtureRequest) -> Bench:
    made: Bench = request.getfixturevalue(request.param)
    return made


def again(bench: Bench, fence: Fence, key: SubmissionKey = KEY) -> BuildRef:
    """A second submission, as the steps do it: with facts of its own, which still tell the first one's traces."""
    return bench.system.submit(bench.work, bench.target, key, bench.system.reopen(bench.target, fence))


def submitted(bench: Bench, key: SubmissionKey = KEY) -> BuildRef:
    return bench.system.submit(bench.work, bench.target, key, bench.system.open(bench.target))


def report(bench: Bench, ref: BuildRef) -> BuildReport:
    answer = bench.system.poll([ref])[ref]
    assert isinstance(answer, BuildReport), answer
    return answer


def state(answer: BuildReport) -> BuildState:
    return BuildState(answer.ended) if answer.ended else rollup(one.state for one in answer.chroots)


def test_open_can_be_repeated_and_its_fence_survives_json(bench: Bench) -> None:
    first, second = bench.system.open(bench.target), bench.system.open(bench.target)
    assert json.loads(json.dumps(first)) == first
    assert first.keys() == second.keys()


def test_many_workers_may_open_at_once(bench: Bench) -> None:
    with ThreadPoolExecutor(6) as pool:
        fences = list(pool.map(lambda _: bench.another().open(bench.target), range(6)))
    assert len(fences) == 6
    bench.end(submitted(bench))


def test_a_build_goes_from_submission_to_its_end(bench: Bench) -> None:
    ref = submitted(bench)
    assert ref.system == bench.system.name and ref.project == bench.target.project
    assert ref.external_id and ref.web_url.startswith("http")
    assert state(report(bench, ref)) is BuildState.RUNNING
    bench.end(ref)
    last = report(bench, ref)
    assert last.ref == ref and state(last) is BuildState.SUCCEEDED
    assert {one.chroot for one in last.chroots} == set(bench.target.chroots)
    for one in last.chroots:
        assert one.result_url.startswith("http") and one.log_url.startswith("http")
        assert one.started_at and one.ended_at and one.started_at.tzinfo and one.started_at <= one.ended_at


def places(answer: BuildReport) -> list[ResultPlace]:
    return [ResultPlace(answer.ref, one.chroot, one.result_url, one.log_url) for one in answer.chroots]


def test_an_ended_build_names_its_logs_and_its_rpms(bench: Bench) -> None:
    ref = submitted(bench)
    bench.end(ref)
    for place in places(report(bench, ref)):
        logs = bench.system.log_addresses(place)
        assert set(logs) == {"builder", "root", "backend"}
        statuses = {
            kind: [httpx2.get(url, trust_env=False, verify=NO_TLS).status_code for url in urls]
            for kind, urls in logs.items()
        }
        assert all(200 in told for told in statuses.values()), statuses
        rpms = bench.system.rpm_addresses(place)
        assert rpms and all(url.startswith("http") and url.endswith(".rpm") for url in rpms), rpms
        arches = {url.rsplit(".", 2)[1] for url in rpms}
        assert arches <= {place.chroot.rpartition("-")[2], "noarch"}, (
            "no source package, no other architecture"
        )


def test_what_failed_or_was_never_there_names_no_rpm(bench: Bench) -> None:
    bad, _ = bench.target.chroots
    bench.will_fail(bad)
    ref = submitted(bench)
    bench.end(ref)
    (place,) = [one for one in places(report(bench, ref)) if one.chroot == bad]
    assert bench.system.rpm_addresses(place) == ()
    with pytest.raises(BuildVanished):
        bench.system.rpm_addresses(replace(place, ref=bench.vanished()))


def test_every_step_on_the_way_can_be_read_and_never_ends_early(bench: Bench) -> None:
    ref = submitted(bench)
    seen = []
    for _ in range(12):
        seen.append(state(report(bench, ref)))
        bench.move_on(ref, 1)
    assert seen[0] is BuildState.RUNNING and seen[-1] is BuildState.SUCCEEDED
    assert seen == sorted(seen, key=[BuildState.RUNNING, BuildState.SUCCEEDED].index)


def test_one_failed_chroot_fails_the_build_and_no_other_chroot(bench: Bench) -> None:
    bad, good = bench.target.chroots
    bench.will_fail(bad)
    ref = submitted(bench)
    bench.end(ref)
    last = report(bench, ref)
    assert {one.chroot: one.state for one in last.chroots} == {
        bad: ChrootState.FAILED,
        good: bench.spared,
    }
    assert state(last) is BuildState.FAILED
    assert all(one.reason and "\n" not in one.reason for one in last.chroots if one.chroot == bad)


def test_a_failure_before_the_chroots_ends_the_whole_build(bench: Bench) -> None:
    bench.will_fail_at_source()
    ref = submitted(bench)
    bench.end(ref)
    last = report(bench, ref)
    assert last.ended == "failed" and last.reason and last.source_log_url.startswith("http")
    assert all(one.state in ENDED_CHROOT for one in last.chroots)


def test_nothing_is_found_where_nothing_was_submitted(bench: Bench) -> None:
    fence = bench.system.open(bench.target)
    early = bench.system.find(bench.target, KEY, fence)
    late = bench.system.find(bench.target, KEY, {**fence, **bench.doubt})
    assert (early.refs, late.refs, late.certain) == ((), (), True)


def test_a_submission_is_found_under_its_key_at_every_moment(bench: Bench) -> None:
    fence = bench.system.open(bench.target)
    foreign = bench.system.submit(bench.work, bench.target, OTHER, fence)
    ref = again(bench, fence)
    for _ in range(10):
        found = bench.another().find(bench.target, KEY, json.loads(json.dumps(fence)))
        assert found.refs == (ref,) and found.certain
        bench.move_on(ref, 1)
    assert bench.system.find(bench.target, OTHER, fence).refs == (foreign,)


def test_a_lost_answer_is_unknown_and_the_build_is_found_once(bench: Bench) -> None:
    fence = bench.system.open(bench.target)
    bench.lose_next_answer()
    with pytest.raises(SubmissionUnknown):
        bench.system.submit(bench.work, bench.target, KEY, fence)
    found = bench.system.find(bench.target, KEY, fence)
    assert len(found.refs) == 1 and found.certain and bench.count() == 1
    assert state(report(bench, found.refs[0])) is BuildState.RUNNING


def test_twins_are_found_lowest_first(bench: Bench) -> None:
    fence = bench.system.open(bench.target)
    first = bench.system.submit(bench.work, bench.target, KEY, fence)
    second = again(bench, fence)
    assert bench.system.find(bench.target, KEY, fence).refs == (first, second)


def test_one_vanished_build_spoils_no_neighbour(bench: Bench) -> None:
    ref, gone = submitted(bench), bench.vanished()
    bench.end(ref)
    answers = bench.system.poll([gone, ref])
    assert answers.keys() == {ref, gone}
    problem, good = answers[gone], answers[ref]
    assert isinstance(problem, PollProblem) and problem.vanished and problem.reason
    assert isinstance(good, BuildReport) and state(good) is BuildState.SUCCEEDED


def test_an_id_that_is_none_spoils_no_neighbour(bench: Bench) -> None:
    ref = submitted(bench)
    odd = BuildRef(bench.system.name, bench.target.project, "not/an id")
    answers = bench.system.poll([odd, ref])
    assert isinstance(answers[odd], PollProblem) and isinstance(answers[ref], BuildReport)


def test_polling_nothing_asks_nothing(bench: Bench) -> None:
    bench.go_offline()
    assert bench.system.poll([]) == {}


def test_a_cancelled_build_ends_at_once_and_cancelling_again_is_no_error(bench: Bench) -> None:
    ref = submitted(bench)
    bench.move_on(ref, 6)
    bench.system.cancel(ref)
    at_once = report(bench, ref)
    assert at_once.ended == "canceled" and at_once.reason
    # What had been built by then stays built.
    states = {one.state for one in at_once.chroots}
    assert ChrootState.CANCELED in states <= {ChrootState.CANCELED, ChrootState.SUCCEEDED}
    bench.end(ref)
    bench.system.cancel(ref)
    assert report(bench, ref).ended == "canceled"


def test_cancelling_a_finished_build_changes_nothing(bench: Bench) -> None:
    ref = submitted(bench)
    bench.end(ref)
    bench.system.cancel(ref)
    assert state(report(bench, ref)) is BuildState.SUCCEEDED


def test_tags_are_told_or_said_never_to_come(bench: Bench) -> None:
    ref, gone = submitted(bench), bench.vanished()
    bench.end(ref)
    told = bench.system.tags([ref, gone])
    assert told.keys() == {ref, gone}
    answer = told[ref]
    assert isinstance(answer, TagReport) and answer.ref == ref
    # What is not tagged says so where it is polled, and why where it is asked.
    assert report(bench, ref).tagged == (not answer.over) == bool(answer.taggings)
    assert isinstance(told[gone], PollProblem) or answer.over
    assert bench.system.tags([]) == {}


def test_cancelling_an_unknown_build_says_so(bench: Bench) -> None:
    bench.system.open(bench.target)
    with pytest.raises(BuildVanished):
        bench.system.cancel(bench.vanished())


def calls(bench: Bench, ref: BuildRef, fence: dict[str, object]) -> dict[str, Callable[[], object]]:
    return {
        "open": lambda: bench.system.open(bench.target),
        "submit": lambda: bench.system.submit(bench.work, bench.target, KEY, fence),
        "find": lambda: bench.system.find(bench.target, KEY, {**fence, **bench.doubt}),
        "poll": lambda: bench.system.poll([ref]),
        "cancel": lambda: bench.system.cancel(ref),
        "rpms": lambda: bench.system.rpm_addresses(
            ResultPlace(ref, bench.target.chroots[0], "http://127.0.0.1:1/x/", "http://127.0.0.1:1/x.log")
        ),
    }


@pytest.mark.parametrize("call", ["open", "submit", "find", "poll", "cancel", "rpms"])
def test_silence_is_never_a_verdict(bench: Bench, call: str) -> None:
    fence = dict(bench.system.open(bench.target))
    ref = bench.system.submit(bench.work, bench.target, OTHER, fence)
    fence = dict(bench.system.reopen(bench.target, fence))
    bench.go_offline()
    allowed = (BuildSystemUnavailable, SubmissionUnknown) if call == "submit" else BuildSystemUnavailable
    with pytest.raises(allowed) as caught:
        calls(bench, ref, fence)[call]()
    assert str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("call", ["open", "submit", "cancel"])
def test_a_worthless_log_in_needs_a_person(bench: Bench, call: str) -> None:
    fence = dict(bench.system.open(bench.target))
    ref = bench.system.submit(bench.work, bench.target, OTHER, fence)
    fence = dict(bench.system.reopen(bench.target, fence))
    before = bench.count()
    bench.expire_login()
    with pytest.raises(NeedsPerson) as caught:
        calls(bench, ref, fence)[call]()
    assert bench.count() == before
    told = f"{caught.value} {caught.value!r} {bench.system!r}"
    assert not [secret for secret in bench.secrets() if secret in told]


def test_a_target_without_any_open_chroot_is_refused_by_name(bench: Bench) -> None:
    bench.close_chroots()
    with pytest.raises(SubmissionRefused) as caught:
        bench.system.open(bench.target)
    assert all(chroot in str(caught.value) for chroot in bench.target.chroots)


def test_an_option_nobody_knows_is_refused_by_name(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(BuildSystemError, match="no_such_option"):
        connect(bench.system.name, AdapterConfig(tmp_path, {"no_such_option": 1}))


@pytest.mark.parametrize("name", ["no_such_system", "bounded_http", "kerberos", "../copr", "_private", ""])
def test_a_system_nobody_knows_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(BuildSystemError):
        connect(name, AdapterConfig(tmp_path, {}))
