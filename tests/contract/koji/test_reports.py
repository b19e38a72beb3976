"""Tests how Koji's tasks become reports: complete tables of states, restarts, ends not by the package's fault."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import koji
import pytest
import requests

from service.domain.reports import BuildRef, BuildReport, PollProblem
from service.domain.states import BuildState, ChrootState, rollup
from workers.buildsystems.koji.client import KIND_OF_FAULT, Kind, trouble_of
from workers.buildsystems.koji.reports import (
    BUILD_STATES,
    CHROOT_STATES,
    CHROOTS,
    TASK_STATES,
    Links,
    Task,
    Verdict,
    judge_failure,
    report,
)

REF = BuildRef("koji", "fedora", "139")
LINKS = Links("https://koji.example/koji", "https://files.example")
X86, ARM = "fedora-44-x86_64", "fedora-44-aarch64"
FREE, OPEN, CLOSED, CANCELED, ASSIGNED, FAILED = range(6)
KERBEROS = "unable to obtain a session (gssapi auth failed: "
LIFE = [
    json.loads(line)
    for line in (Path(__file__).parents[2] / "payloads/koji/task-life.jsonl").read_text().splitlines()
]


def parent(state: int, *chroots: str) -> dict[str, Any]:
    metadata = {"cryopack_submission": "b1x0", CHROOTS: list(chroots or (X86, ARM))}
    options = {"scratch": True, "custom_user_metadata": metadata}
    return {"id": 139, "method": "build", "state": state, "request": ["x.src.rpm", "f44-candidate", options]}


def child(number: int, label: str, state: int, started: float | None = 1795419112.0) -> dict[str, Any]:
    method = "rebuildSRPM" if label == "srpm" else "buildArch"
    ended = 1795419113.5 if state in (CLOSED, CANCELED, FAILED) else None
    return {
        "id": number,
        "method": method,
        "label": label,
        "state": state,
        "start_ts": started,
        "completion_ts": ended,
    }


def read(task: dict[str, Any], *children: dict[str, Any], verdict: Verdict | None = None) -> BuildReport:
    told = report(REF, task, children, LINKS, verdict)
    assert isinstance(told, BuildReport), told
    return told


def states(told: BuildReport) -> dict[str, str]:
    return {one.chroot: one.state.value for one in told.chroots}


def whole(told: BuildReport) -> BuildState:
    return BuildState(told.ended) if told.ended else rollup(one.state for one in told.chroots)


def test_the_tables_are_total() -> None:
    assert {state.value.upper() for state in TASK_STATES.values()} == set(koji.TASK_STATES)
    assert all(koji.TASK_STATES[state.value.upper()] == number for number, state in TASK_STATES.items())
    assert all(koji.BUILD_STATES[state.value.upper()] == number for number, state in BUILD_STATES.items())
    assert {state.value.upper() for state in BUILD_STATES.values()} == set(koji.BUILD_STATES)
    assert set(CHROOT_STATES) == set(Task)


def test_every_fault_class_of_the_client_is_told_apart() -> None:
    """Codes that are not in our table are the hub's verdict; those that may have run must not be among them."""
    classes = {
        one.faultCode: one for one in vars(koji).values()
        if isinstance(one, type) and issubclass(one, koji.GenericError)
    }  # fmt: skip
    assert {1000, 1002, 1004, 1005, 1007, 1008, 1009, 1014, 1019, 1023} <= set(classes)
    for doubtful in (
        koji.RetryError,
        koji.SequenceError,
        koji.ServerOffline,
        koji.LockError,
        koji.AuthLockError,
    ):
        assert trouble_of(doubtful("x"), ()).kind in {Kind.UNCLEAR, Kind.OFFLINE}, doubtful
    assert trouble_of(koji.xmlrpcplus.Fault(1, "Traceback\nOSError: disk"), ()).kind is Kind.UNCLEAR
    assert trouble_of(requests.exceptions.ReadTimeout(), ()).kind is Kind.UNCLEAR
    assert trouble_of(requests.exceptions.ConnectTimeout(), ()).kind is Kind.NOT_SENT
    assert trouble_of(koji.AuthError("Invalid session or bad credentials"), ()).kind is Kind.CLOSED
    assert trouble_of(koji.AuthError("invalid username or password"), ()).kind is Kind.LOGIN
    assert set(KIND_OF_FAULT) <= {1, *classes}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (f"{KERBEROS}requests.exceptions.HTTPError: 401 Client Error: Unauthorized)\nUse following", Kind.LOGIN),
        (f"{KERBEROS}requests.exceptions.ConnectionError: HTTPSConnectionPool)",
         Kind.NOT_SENT),
        (f"{KERBEROS}requests.exceptions.HTTPError: 503 Server Error: x)",
         Kind.NOT_SENT),
        ("unable to obtain a session", Kind.NOT_SENT),
    ],
)  # fmt: skip
def test_a_kerberos_error_is_a_wrong_account_or_a_hub_that_is_away(text: str, kind: Kind) -> None:
    """Measured texts: the client raises the same class for both."""
    trouble = trouble_of(koji.GSSAPIAuthError(text), ())
    assert trouble.kind is kind and "\n" not in str(trouble)


def test_no_secret_comes_out_of_an_error() -> None:
    trouble = trouble_of(koji.GenericError("bad key 2-ABCDEFGHIJKLMNOPQRS here"), ["2-ABCDEFGHIJKLMNOPQRS"])
    assert str(trouble) == "bad key … here"
    broken = requests.exceptions.ConnectionError("https://hub.example/?session-key=2-ABCDEFGHIJKLMNOPQRS")
    assert "2-ABC" not in str(trouble_of(broken, ()))


def test_before_the_source_step_every_chroot_waits() -> None:
    told = read(parent(OPEN), child(140, "srpm", OPEN))
    assert states(told) == {X86: "pending", ARM: "pending"} and whole(told) is BuildState.RUNNING
    assert told.source_log_url == "https://files.example/work" + "/tasks/140/140/build.log"


def test_a_task_that_its_builder_gave_back_still_shows_as_running() -> None:
    told = read(parent(OPEN), child(141, "x86_64", FREE), child(142, "aarch64", FREE, started=None))
    assert states(told) == {X86: "running", ARM: "pending"}
    assert "given back" in {one.chroot: one.reason for one in told.chroots}[X86]


def test_all_architectures_done_is_not_the_end() -> None:
    told = read(parent(OPEN), child(141, "x86_64", CLOSED), child(142, "aarch64", CLOSED))
    assert states(told) == {X86: "succeeded", ARM: "succeeded"} and whole(told) is BuildState.RUNNING


def test_a_failed_child_of_a_living_parent_is_no_end_yet() -> None:
    told = read(parent(OPEN), child(141, "x86_64", FAILED), child(142, "aarch64", CANCELED))
    assert states(told) == {X86: "running", ARM: "running"} and whole(told) is BuildState.RUNNING


def test_a_restarted_parent_counts_its_newest_children() -> None:
    old = [child(141, "x86_64", CANCELED), child(142, "aarch64", CANCELED)]
    new = [child(152, "aarch64", CLOSED), child(151, "x86_64", CLOSED)]
    told = read(parent(CLOSED), *new, *old, verdict=Verdict("succeeded"))
    assert states(told) == {X86: "succeeded", ARM: "succeeded"} and whole(told) is BuildState.SUCCEEDED


def test_an_excluded_architecture_is_skipped_at_the_end() -> None:
    told = read(parent(CLOSED), child(142, "aarch64", CLOSED), verdict=Verdict("succeeded"))
    assert states(told) == {X86: "skipped", ARM: "succeeded"}
    assert [one.reason for one in told.chroots if one.chroot == X86] == [
        "excluded by ExcludeArch or ExclusiveArch"
    ]


def test_a_package_without_architecture_is_built_once_for_all() -> None:
    told = read(parent(CLOSED), child(142, "noarch", CLOSED), verdict=Verdict("succeeded"))
    assert states(told) == {X86: "succeeded", ARM: "succeeded"}


def test_architectures_that_only_koji_builds_are_shown_too() -> None:
    told = read(parent(OPEN), child(141, "x86_64", OPEN), child(143, "s390x", OPEN))
    assert states(told)["fedora-44-s390x"] == "running"


def test_a_failed_architecture_spares_nobody() -> None:
    text = (
        "error building package (arch x86_64), mock exited with status 1; see build.log for more information"
    )
    verdict = judge_failure({"faultCode": 1005, "faultString": text})
    told = read(
        parent(FAILED), child(141, "x86_64", FAILED), child(142, "aarch64", CANCELED), verdict=verdict
    )
    assert states(told) == {X86: "failed", ARM: "canceled"} and (told.ended, told.reason) == ("failed", text)
    assert {one.chroot: one.log_url.rpartition("/")[2] for one in told.chroots}[X86] == "build.log"


@pytest.mark.parametrize(
    ("code", "text", "ended", "told"),
    [
        (1005, "error building srpm, mock exited with status 1; see root.log", "failed", "root.log"),
        (1005, "package other not in list for tag f42-updates-candidate", "errored", "not in list for tag"),
        (1000, "Build already exists (id=8, state=COMPLETE): {'name': 'x', 'task_id': 153}", "errored",
         "Build already exists (id=8, state=COMPLETE); its name-version-release is taken"),
        (1000, "Build already in progress (task 128)", "errored", "in progress (task 128); its name"),
        (1000, "unknown build target: nosuch", "errored", "not the package's fault"),
        (1, "Traceback (most recent call last):\n  File x\nOSError: [Errno 28] No space left on device\n", "errored",
         "OSError: [Errno 28] No space left on device"),
        (1004, "policy violation", "errored", "policy violation"),
    ],
)  # fmt: skip
def test_only_the_builders_word_makes_it_the_packages_fault(
    code: int, text: str, ended: str, told: str
) -> None:
    verdict = judge_failure({"faultCode": code, "faultString": text})
    assert verdict.ended == ended and told in verdict.reason and "\n" not in verdict.reason


@pytest.mark.parametrize("result", [None, {}, [], "text", {"faultCode": "x"}])
def test_a_result_of_no_known_form_is_not_the_packages_fault(result: object) -> None:
    assert judge_failure(result).ended == "errored"


@pytest.mark.parametrize("task", [{"state": 9}, {"state": "open"}, {"state": True}, {}])
def test_a_state_that_nobody_knows_is_a_problem(task: dict[str, Any]) -> None:
    assert isinstance(report(REF, task, [], LINKS), PollProblem)


def test_odd_children_and_requests_are_left_aside() -> None:
    odd = [{}, {"method": "buildArch"}, {"method": "buildArch", "label": 7, "state": 1, "id": 3}]
    for request in (None, [], ["x"], ["x", "y", None], ["x", "y", {"custom_user_metadata": "text"}]):
        told = read({"id": 139, "state": OPEN, "request": request}, *odd)
        assert told.chroots == () and whole(told) is BuildState.RUNNING


def test_captured_lives_never_end_before_their_time() -> None:
    """Every line of the ten captured builds, read as a poll would: running until the parent has ended."""
    names = ("FREE", "OPEN", "CLOSED", "CANCELED", "ASSIGNED", "FAILED")
    for line in LIFE:
        task = parent(names.index(line["task"]["state"]))
        children = [
            {**child(200 + one["n"], one["label"], names.index(one["state"])), "method": one["method"]}
            for one in line["children"]
        ]
        result = line["task"]["result"]
        verdict = {"FAILED": judge_failure(result), "CLOSED": Verdict("succeeded")}.get(line["task"]["state"])
        told = read(task, *children, verdict=verdict)
        live = line["task"]["state"] in {"FREE", "OPEN"}
        assert (whole(told) is BuildState.RUNNING) == live, line
        if not live:
            assert all(one.state not in {ChrootState.PENDING, ChrootState.RUNNING} for one in told.chroots), (
                line
            )
