"""Tests the COPR adapter against each measured fault of the client, of COPR, and of a proxy before it."""

from __future__ import annotations

import logging
import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.copr.builds import clean_name
from service.domain.reports import BuildRef, Srpm, SubmissionKey
from tests.contract.copr.bench import ARM, CONFIG, UPLOAD, X86, CoprBench, copr_at, copr_target, srpm_at
from tests.contract.odd_server import Asked, DrippingServer, OddServer, Told
from workers.buildsystems import (
    AdapterConfig,
    BuildSystemError,
    BuildSystemUnavailable,
    NeedsPerson,
    SubmissionRefused,
    SubmissionUnknown,
    connect,
)
from workers.buildsystems.copr.adapter import Copr, upload_name
from workers.buildsystems.copr.settings import CoprSettings

pytestmark = pytest.mark.timeout(60)
KEY = SubmissionKey("b7x0123456789ab")
FENCE = {"newest_id": 0, "chroots": [X86], "dropped": {}}
SECRET = "tokentokentokentoken"
IN_DOUBT = ["too_many", "too_many_html", "server_error", "bare_500", "bad_gateway", "unavailable",
            "unavailable_json", "gateway_timeout", "html_200", "no_content", "redirect", "missing", "conflict",
            "answer_lost", "dropped", "truncated", "wrong_length"]  # fmt: skip


def adapter(tmp_path: Path, url: str, **options: object) -> Copr:
    return copr_at(tmp_path, url, login="loginlogin", token=SECRET, **options)


def submit(bench: CoprBench) -> BuildRef:
    return bench.system.submit(bench.work, bench.target, KEY, bench.fence)


@pytest.mark.parametrize("fault", IN_DOUBT)
def test_an_odd_answer_to_an_upload_is_unknown_and_sent_once(bench: CoprBench, fault: str) -> None:
    before = len(bench.farm.requests())
    bench.farm.fault(fault, UPLOAD, method="POST")
    with pytest.raises(SubmissionUnknown):
        submit(bench)
    # No repeat, and no redirect followed: either would be a second build, or somebody else's success.
    assert [one["method"] for one in bench.farm.requests()[before:]] == ["POST"]


@pytest.mark.parametrize(
    "fault", [f for f in IN_DOUBT if f not in ("conflict",)] + ["forbidden", "expired_token"]
)
@pytest.mark.parametrize("call", ["find", "poll"])
def test_an_odd_answer_to_a_read_is_asked_again_later(bench: CoprBench, fault: str, call: str) -> None:
    ref = submit(bench)
    bench.farm.fault(fault, "/api_3/build/list")
    fence = {**bench.fence, **bench.doubt}
    ask = {
        "find": lambda: bench.system.find(bench.target, KEY, fence),
        "poll": lambda: bench.system.poll([ref]),
    }
    with pytest.raises(BuildSystemUnavailable) as caught:
        ask[call]()
    waits = {"too_many": 30.0, "too_many_html": 30.0, "unavailable": 30.0}
    assert caught.value.retry_after == waits.get(fault, 0.0)


@pytest.mark.parametrize(
    "fault", ["missing", "html_200", "redirect", "unavailable_json", "bad_gateway", "wrong address"]
)
def test_a_foreign_page_never_makes_a_build_vanish(bench: CoprBench, fault: str) -> None:
    ref, other = submit(bench), submit(bench)
    bench.farm.fault("answer", "/api_3/build/list", status=200, json={"items": [], "meta": {}})
    if fault == "wrong address":
        text = {"error": "Such API endpoint doesn't exist"}
        bench.farm.fault("answer", f"/api_3/build/{ref.external_id}", status=404, json=text)
    else:
        bench.farm.fault(fault, f"/api_3/build/{ref.external_id}")
    answers = bench.system.poll([ref, other])
    assert not answers[ref].vanished and "could not be read" in answers[ref].reason
    assert answers[other].vendor_state == "pending"


@pytest.mark.parametrize("fault", ["missing", "redirect", "conflict", "html_200"])
def test_a_cancel_in_doubt_is_not_taken_for_done(bench: CoprBench, fault: str) -> None:
    ref = submit(bench)
    bench.farm.fault(fault, "/api_3/build/cancel/*")
    if fault == "conflict":
        bench.system.cancel(ref)
    else:
        with pytest.raises(BuildSystemUnavailable):
            bench.system.cancel(ref)


def test_a_form_error_refuses_for_good_and_says_why(bench: CoprBench) -> None:
    bench.farm.deactivate(X86)
    with pytest.raises(SubmissionRefused, match=X86):
        submit(bench)


def test_chroots_lost_to_a_parallel_edit_are_put_back_before_the_upload(bench: CoprBench) -> None:
    # A worker on another machine read the project before we added ARM, and wrote its list after us.
    bench.system._client(5.0).set_chroots(*bench.target.project.split("/"), [X86])
    ref = submit(bench)
    (build,) = [one for one in bench.farm.builds() if str(one["id"]) == ref.external_id]
    assert set(build["chroots"]) == {X86, ARM} and bench.count() == 1


def test_a_lasting_refusal_is_tried_twice_and_no_more(bench: CoprBench) -> None:
    text = {"error": "Bad request parameters: {'chroots': ['no']}"}
    bench.farm.fault("answer", UPLOAD, times=None, status=400, json=text)
    before = len(bench.farm.requests("POST", UPLOAD))
    with pytest.raises(SubmissionRefused, match="chroots"):
        submit(bench)
    assert len(bench.farm.requests("POST", UPLOAD)) == before + 2


def test_a_proxy_in_the_environment_is_not_asked_for_loopback(
    bench: CoprBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert bench.system.health().ok


def test_a_race_at_the_server_is_doubt_and_no_refusal(bench: CoprBench) -> None:
    text = {"error": "Copr 'packbot/x' has not been created (race condition)"}
    bench.farm.fault("answer", UPLOAD, status=400, json=text)
    with pytest.raises(SubmissionUnknown, match="race condition"):
        submit(bench)


@pytest.mark.parametrize("body", [{}, {"id": None}, {"id": "7"}, {"id": True}, [7], 7, None, {"items": []}])
def test_a_success_without_a_build_id_is_doubt(bench: CoprBench, body: object) -> None:
    bench.farm.fault("answer", UPLOAD, status=200, json=body)
    with pytest.raises(SubmissionUnknown):
        submit(bench)


def test_nothing_listens_so_nothing_was_sent(bench: CoprBench, tmp_path: Path, srpm: Path) -> None:
    closed = adapter(tmp_path, "http://127.0.0.1:1")
    with pytest.raises(BuildSystemUnavailable, match="no connection"):
        closed.submit(srpm_at(srpm), bench.target, KEY, FENCE)


@pytest.mark.parametrize("fault", ["hang", "stall", "slow_answer"])
def test_a_silent_server_costs_the_read_time_out_and_no_more(bench: CoprBench, fault: str) -> None:
    bench.farm.fault(fault, UPLOAD, seconds=20)
    began = time.monotonic()
    with pytest.raises(SubmissionUnknown):
        submit(bench)
    assert time.monotonic() - began < 18


@pytest.mark.parametrize(
    "start", [b"HTTP/1.1 200 OK\r\nX-Slow: ", b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n{"]
)
@pytest.mark.parametrize("call", ["open", "submit", "find", "poll", "cancel"])
def test_a_dripping_server_never_outlasts_the_call(
    tmp_path: Path, srpm: Path, start: bytes, call: str
) -> None:
    with DrippingServer(start, 0.05) as server:
        limits = {"setup_timeout": 0.5, "poll_timeout": 0.5, "upload_timeout": 0.5}
        system = adapter(tmp_path, server.url, **limits)
        target, ref = copr_target("packbot/demo"), BuildRef("copr", "packbot/demo", "1")
        began = time.monotonic()
        with pytest.raises((BuildSystemUnavailable, SubmissionUnknown)):
            {
                "open": lambda: system.open(target),
                "submit": lambda: system.submit(srpm_at(srpm), target, KEY, FENCE),
                "find": lambda: system.find(target, KEY, FENCE),
                "poll": lambda: system.poll([ref]),
                "cancel": lambda: system.cancel(ref),
            }[call]()
        assert time.monotonic() - began < 20


def test_a_poll_of_many_builds_is_bounded_as_a_whole(tmp_path: Path) -> None:
    def slow(asked: Asked) -> Told:
        time.sleep(0.3)
        if asked.path.endswith("/build/list"):
            return Told({"items": [], "meta": {}})
        number = int(asked.path.rpartition("/")[2])
        return Told({"id": number, "state": "pending", "chroots": [X86]})

    refs = [BuildRef("copr", "packbot/demo", str(number)) for number in range(1, 41)]
    with OddServer(slow) as server:
        began = time.monotonic()
        answers = adapter(tmp_path, server.url, poll_timeout=1.5).poll(refs)
        assert time.monotonic() - began < 10
    assert answers.keys() == set(refs)
    assert len({type(answer) for answer in answers.values()}) == 2


@pytest.mark.parametrize("fault", [None, "bad_gateway", "answer_lost"])
def test_an_upload_leaves_no_file_open_and_no_file_behind(bench: CoprBench, fault: str | None) -> None:
    def open_files() -> list[str]:
        return [os.readlink(f"/proc/self/fd/{one}") for one in os.listdir("/proc/self/fd")
                if os.path.exists(f"/proc/self/fd/{one}")]  # fmt: skip

    if fault:
        bench.farm.fault(fault, UPLOAD)
        with pytest.raises(SubmissionUnknown):
            submit(bench)
    else:
        submit(bench)
    # A cancelled exchange of an earlier test may still be ending in a thread of its own.
    until = time.monotonic() + 30
    while str(bench.work.path) in open_files():
        assert time.monotonic() < until
        time.sleep(0.05)
    assert {path.name for path in bench.state_dir.iterdir()} <= {"locks"}


def test_an_upload_sends_the_whole_file_under_a_name_that_stays(bench: CoprBench) -> None:
    odd = Srpm(bench.work.path, "cri-o1.36-1.36.0~rc1-0.1^x.src.rpm", bench.work.sha256, bench.work.size)
    ref = bench.system.submit(odd, bench.target, KEY, bench.fence)
    (build,) = [b for b in bench.farm.builds() if str(b["id"]) == ref.external_id]
    assert build["source_package"]["url"].endswith("/cri-o1.36-1.36.0rc1-0.1x.job-b7x0123456789ab.src.rpm")
    assert build["chroots"] and set(build["chroots"]) == {X86, ARM}
    bench.end(ref)
    assert bench.system.poll([ref])[ref].facts["version"] == "1.0-1"


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=300))
def test_no_server_changes_an_upload_name(name: str) -> None:
    for srpm_name in (name, f"{name}.src.rpm", f"{name}.nosrc.rpm"):
        made = upload_name(srpm_name, KEY)
        assert clean_name(made) == made
        assert made.endswith(".job-b7x0123456789ab.src.rpm") and len(made.encode()) < 250


def test_a_missing_srpm_is_said_before_anything_is_sent(bench: CoprBench, tmp_path: Path) -> None:
    gone = Srpm(tmp_path / "gone.src.rpm", "gone.src.rpm", "", 0)
    before = len(bench.farm.requests())
    with pytest.raises(BuildSystemError, match=r"gone\.src\.rpm cannot be read"):
        bench.system.submit(gone, bench.target, KEY, bench.fence)
    assert len(bench.farm.requests()) == before


@pytest.mark.parametrize("chroots", [[], None, "fedora-44-x86_64"])
def test_no_chroots_are_never_sent_as_all_chroots(bench: CoprBench, chroots: object) -> None:
    with pytest.raises(SubmissionRefused):
        bench.system.submit(bench.work, bench.target, KEY, {**bench.fence, "chroots": chroots})
    assert bench.count() == 0


BROKEN = {
    "an unreadable line": f"[copr-cli]\nlogin = l\n{SECRET}\n",
    "no section": f"token = {SECRET}\n",
    "no token": "[copr-cli]\nlogin = loginlogin\ncopr_url = http://127.0.0.1:1\nencrypted = False\n",
    "plain http": CONFIG.format(login="loginlogin", token=SECRET, url="http://127.0.0.1:1", encrypted=True),
    "no server": f"[copr-cli]\nlogin = loginlogin\ntoken = {SECRET}\n",
    "odd flag": f"[copr-cli]\nlogin = l\ntoken = {SECRET}\ncopr_url = https://a\nencrypted = {SECRET}\n",
    "odd percent": f"[copr-cli]\nlogin = l\ntoken = %({SECRET})s\ncopr_url = https://a\n",
    "secret in the address": f"[copr-cli]\nlogin = l\ntoken = t\ncopr_url = https://a:{SECRET}@b\n",
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_configuration_needs_a_person_and_is_not_quoted(tmp_path: Path, text: str) -> None:
    system = adapter(tmp_path, "http://127.0.0.1:1")
    (tmp_path / "copr-config").write_text(text)
    with pytest.raises(NeedsPerson) as caught:
        system.open(copr_target("packbot/demo"))
    for shown in (str(caught.value), str(tmp_path)):
        assert SECRET not in shown and "loginlogin" not in shown
    assert str(tmp_path) not in str(caught.value)
    assert not system.health().ok


def test_a_search_waits_where_the_configuration_is_missing(tmp_path: Path) -> None:
    system = adapter(tmp_path, "http://127.0.0.1:1")
    (tmp_path / "copr-config").unlink()
    with pytest.raises(BuildSystemUnavailable, match="missing"):
        system.find(copr_target("packbot/demo"), KEY, FENCE)


def test_a_server_that_repeats_the_log_in_does_not_make_us_repeat_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def parrot(asked: Asked) -> Told:
        told = f"bad login {asked.headers.get('authorization')}\n{SECRET} loginlogin"
        return Told({"error": told}, 400)

    with (
        OddServer(parrot) as server,
        caplog.at_level(logging.DEBUG),
        pytest.raises(SubmissionRefused) as caught,
    ):
        adapter(tmp_path, server.url).open(copr_target("packbot/demo"))
    sent = server.asked[0].headers["authorization"].partition(" ")[2]
    assert len(sent) > 20 and "…" in str(caught.value) and "\n" not in str(caught.value)
    for secret in (SECRET, "loginlogin", sent):
        assert secret not in f"{caught.value!r} {caplog.text}"


def test_a_renewed_token_is_used_without_a_restart(bench: CoprBench) -> None:
    renewed = bench.farm.account("packbot")
    assert not bench.system.health().ok
    bench.write_login(renewed)
    health = bench.system.health()
    assert health.ok and health.text == "packbot" and health.at.tzinfo


def test_a_forked_child_and_its_parent_ask_side_by_side(bench: CoprBench) -> None:
    ref = submit(bench)
    context = multiprocessing.get_context("fork")
    answers: Any = context.Queue()

    def child() -> None:
        answers.put([bench.system.poll([ref])[ref].vendor_state for _ in range(5)])

    process = context.Process(target=child, daemon=True)
    process.start()
    ours = [bench.system.poll([ref])[ref].vendor_state for _ in range(5)]
    assert answers.get(timeout=20) == ours == ["pending"] * 5
    process.join(10)


WRONG: list[tuple[str, Callable[[], dict[str, object]], str]] = [
    ("unknown", lambda: {"timeuot": 5}, "timeuot"),
    ("text for a number", lambda: {"timeout": "5"}, "timeout"),
    ("flag for a number", lambda: {"timeout": True}, "timeout"),
    ("too long", lambda: {"timeout": 108001}, "timeout"),
    ("foreign directory", lambda: {"project_dirname": "other:pr:1"}, "project_dirname"),
    ("odd directory", lambda: {"project_dirname": "demo:pr:x"}, "project_dirname"),
    ("text for a list", lambda: {"additional_repos": "https://a"}, "additional_repos"),
]


@pytest.mark.parametrize(("options", "word"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_a_wrong_option_of_a_target_needs_a_person(
    tmp_path: Path, options: Callable[[], dict[str, object]], word: str
) -> None:
    system = adapter(tmp_path, "http://127.0.0.1:1")
    with pytest.raises(NeedsPerson, match=f"f44-copr.*{word}"):
        system.open(copr_target("packbot/demo", **options()))


@pytest.mark.parametrize("project", ["demo", "packbot/", "/demo", "a/b/c", "packbot/d?x", "@/demo", "a b/c"])
def test_a_project_that_is_none_needs_a_person(tmp_path: Path, project: str) -> None:
    with pytest.raises(NeedsPerson, match="not a COPR project"):
        adapter(tmp_path, "http://127.0.0.1:1").open(copr_target(project))


@pytest.mark.parametrize(
    "options",
    [{"read_timout": 5}, {"read_timeout": 0}, {"read_timeout": "5"}, {"read_timeout": float("inf")},
     {"read_timeout": float("nan")}, {"connect_timeout": True}, {"config_file": 5}, {"config_file": ""}],
)  # fmt: skip
def test_a_wrong_option_of_the_adapter_is_named(tmp_path: Path, options: dict[str, object]) -> None:
    with pytest.raises(BuildSystemError, match=next(iter(options))):
        connect("copr", AdapterConfig(tmp_path, options))


def test_a_lost_upload_may_land_as_long_as_a_request_lives() -> None:
    assert CoprSettings.read({}).request_timeout == 70.0
    assert CoprSettings.read({"connect_timeout": 2, "read_timeout": 5}).request_timeout == 7.0
    assert CoprSettings.read({"read_timeout": 5, "request_timeout": 1}).request_timeout == 1.0
