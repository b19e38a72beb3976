"""Tests the Koji adapter: log-ins, refusals before a submission, and what a failed submission means."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from sandbox.testing import Farm
from service.domain.reports import BuildRef, BuildReport, ScmCommit, Srpm, SubmissionKey
from tests.contract.koji.bench import X86, adapter, koji_target
from tests.contract.koji.tls_front import Front, make_certificate
from workers.buildsystems import (
    BuildSystem,
    BuildSystemError,
    BuildSystemUnavailable,
    ForeignBuild,
    NeedsPerson,
    SubmissionRefused,
    SubmissionUnknown,
)
from workers.buildsystems.koji.adapter import Koji

pytestmark = pytest.mark.timeout(60)
KEY = SubmissionKey("b7x0123456789ab")
TARGET = koji_target()


def submit(
    system: BuildSystem, work: Srpm | ScmCommit, key: SubmissionKey = KEY, target: Any = TARGET
) -> BuildRef:
    return system.submit(work, target, key, system.open(target))


def test_a_submission_uploads_below_its_key_and_carries_it_as_metadata(
    farm: Farm, work: Srpm, tmp_path: Path
) -> None:
    ref = submit(adapter(farm, tmp_path), work, SubmissionKey("b8x0123456789ab"))
    (task,) = [one for one in farm.koji.tasks() if one["id"] == int(ref.external_id)]
    source, target, options = task["request"]
    assert source == f"cli-build/b8x0123456789ab/{work.name}" and target == "f44-candidate"
    assert options["scratch"] is True and options["arch_override"] == "x86_64 aarch64"
    assert options["custom_user_metadata"]["cryopack_submission"] == "b8x0123456789ab"
    assert ref.web_url == f"{farm.koji_url}/koji/taskinfo?taskID={ref.external_id}"
    assert farm.koji.calls()[-1] == "logout"


def test_the_priority_of_a_target_goes_along(farm: Farm, work: Srpm, tmp_path: Path) -> None:
    ref = submit(adapter(farm, tmp_path), work, target=koji_target(priority=5))
    assert [one["priority"] for one in farm.koji.tasks() if one["id"] == int(ref.external_id)] == [25]


def test_each_submission_has_a_session_of_its_own_that_ends_with_it(
    farm: Farm, work: Srpm, tmp_path: Path
) -> None:
    system = adapter(farm, tmp_path)
    first, second = system.open(TARGET), system.open(TARGET)
    assert first["session_id"] != second["session_id"]
    system.submit(work, TARGET, KEY, first)
    with pytest.raises(BuildSystemUnavailable, match="nothing was sent"):
        system.submit(work, TARGET, KEY, first)
    with pytest.raises(BuildSystemUnavailable, match="nothing was sent"):
        adapter(farm, tmp_path).submit(work, TARGET, KEY, second)


def test_a_forked_child_neither_uses_nor_ends_the_session_of_its_parent(
    farm: Farm, work: Srpm, tmp_path: Path
) -> None:
    system = adapter(farm, tmp_path)
    fence = system.open(TARGET)
    before = len(farm.koji.tasks())
    child = os.fork()
    if child == 0:
        # Anything but this very refusal ends with another status.
        status = 1
        try:
            system.submit(work, TARGET, KEY, fence)
        except BuildSystemUnavailable:
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(farm.koji.tasks()) == before
    assert system.submit(work, TARGET, KEY, fence).external_id


def test_threads_submit_side_by_side_each_in_its_session(farm: Farm, work: Srpm, tmp_path: Path) -> None:
    system = adapter(farm, tmp_path)
    before = len(farm.koji.tasks())
    threads = [
        threading.Thread(target=submit, args=(system, work, SubmissionKey(f"b{n}x0123456789cc")))
        for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(farm.koji.tasks()) == before + 6


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"profile": ""}, "CRYOPACK_KOJI_PROFILE"),
        ({"profile": "fedora"}, "no usable Koji profile 'fedora'"),
        ({"config_file": "/nowhere/koji.conf"}, "no usable Koji profile 'sandbox' in 'koji.conf'"),
        ({"user": ""}, "CRYOPACK_KOJI_USER"),
        ({"password_file": "/nowhere/password"}, "CRYOPACK_KOJI_PASSWORD_FILE"),
        ({"user": "somebody"}, "invalid username or password"),
        pytest.param(
            {"auth": "kerberos"},
            "requests-gssapi is missing: install cryopack with the extra 'kerberos'",
            marks=pytest.mark.skipif(find_spec("gssapi") is not None, reason="the extra is installed"),
        ),
        ({"auth": "kerberos", "keytab": "/nowhere/keytab"}, "no keytab 'keytab'"),
        ({"auth": "certificate"}, "no certificate"),
        ({"auth": "certificate", "certificate": "/nowhere/one.pem"}, "no certificate 'one.pem'"),
    ],
)
def test_a_log_in_that_cannot_work_is_said_in_one_line(
    farm: Farm, tmp_path: Path, options: dict[str, object], told: str
) -> None:
    with pytest.raises(NeedsPerson) as caught:
        adapter(farm, tmp_path, **options).open(TARGET)
    assert told in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "told"),
    [({"auth": "magic"}, "kerberos, certificate, password"), ({"call_timeout": 0}, "more than 0"),
     ({"profile": 7}, "must be a text"), ({"keytab": 7}, "must be a path"), ({"call_timeout": "x"}, "number")],
)  # fmt: skip
def test_an_option_of_the_wrong_kind_is_refused(
    farm: Farm, tmp_path: Path, options: dict[str, object], told: str
) -> None:
    with pytest.raises(BuildSystemError, match=told):
        adapter(farm, tmp_path, **options)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    make_certificate(folder, "authority")
    for name in ("server", "packbot"):
        make_certificate(folder, name, "authority")
    make_certificate(folder, "stranger")
    return folder


def test_a_client_certificate_logs_in_and_submits(
    farm: Farm, work: Srpm, certificates: Path, tmp_path: Path
) -> None:
    with Front(farm.koji_url, certificates / "server.pem", certificates / "authority.pem") as front:
        config = tmp_path / "tls.conf"
        config.write_text(
            f"[tls]\nserver = {front.url}/kojihub\nweburl = {front.url}/koji\nserverca = {certificates}/authority.pem\n"
        )
        options = {"profile": "tls", "config_file": str(config), "auth": "certificate"}
        system = adapter(farm, tmp_path, certificate=str(certificates / "packbot.pem"), **options)
        ref = submit(system, work)
        stranger = adapter(farm, tmp_path, certificate=str(certificates / "stranger.pem"), **options)
        with pytest.raises(NeedsPerson, match="log-in by certificate"):
            stranger.open(TARGET)
        config.write_text(config.read_text().replace("authority.pem", "stranger.pem"))
        with pytest.raises(NeedsPerson, match="log-in by certificate"):
            system.open(TARGET)
        assert isinstance(system, Koji) and not system.health().ok
    (task,) = [one for one in farm.koji.tasks() if one["id"] == int(ref.external_id)]
    assert task["owner"] == 2
    config.write_text(config.read_text().replace("stranger.pem", "authority.pem"))
    # The front is gone, which the library reports as a log-in that failed.
    with pytest.raises(BuildSystemUnavailable, match="could not be reached for the log-in"):
        system.open(TARGET)


def test_health_says_who_we_are_or_what_is_wrong(farm: Farm, tmp_path: Path) -> None:
    system = adapter(farm, tmp_path)
    assert isinstance(system, Koji)
    assert system.health().text == "packbot at Koji 1.35.3"
    farm.koji.offline()
    assert not system.health().ok


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"koji_target": "no spaces"}, "option 'koji_target'"),
        ({"scratch": "yes"}, "option 'scratch'"),
        ({"priority": -1}, "option 'priority'"),
        ({"colour": "red"}, "no option 'colour'"),
    ],
)
def test_a_target_with_a_wrong_option_needs_a_person(
    farm: Farm, tmp_path: Path, options: dict[str, object], told: str
) -> None:
    target = replace(TARGET, options={"koji_target": "f44-candidate", **options})
    with pytest.raises(NeedsPerson, match=told):
        adapter(farm, tmp_path).open(target)


def test_a_target_that_koji_lacks_is_refused_before_anything_is_submitted(farm: Farm, tmp_path: Path) -> None:
    with pytest.raises(SubmissionRefused, match="no build target f99-candidate"):
        adapter(farm, tmp_path).open(koji_target(system_target="f99-candidate"))


def test_an_architecture_that_the_tag_lacks_is_dropped_and_said(
    farm: Farm, work: Srpm, tmp_path: Path
) -> None:
    target = koji_target(X86, "fedora-44-s390x")
    system = adapter(farm, tmp_path)
    fence = system.open(target)
    assert fence["chroots"] == [X86] and list(fence["dropped"]) == ["fedora-44-s390x"]  # type: ignore[call-overload]
    ref = system.submit(work, target, KEY, fence)
    assert farm.koji.tasks()[-1]["request"][2]["arch_override"] == "x86_64" and ref.external_id


def test_a_hub_that_cannot_fence_is_refused(farm: Farm, tmp_path: Path) -> None:
    farm.koji.play("1.30.1")
    with pytest.raises(NeedsPerson, match=r"Koji 1\.30\.1; 1\.31 is the first"):
        adapter(farm, tmp_path).open(TARGET)


def test_scratch_and_real_targets_take_what_they_can_build(farm: Farm, work: Srpm, tmp_path: Path) -> None:
    system = adapter(farm, tmp_path)
    with pytest.raises(SubmissionRefused, match="scratch builds of source RPMs"):
        submit(system, ScmCommit("https://src.example/rpms/x", "1" * 40))
    real = koji_target(scratch=False)
    with pytest.raises(SubmissionRefused, match="SRPMs for scratch only"):
        submit(system, work, target=real)


UNKNOWN = [
    "answer_lost",
    "dropped",
    "truncated",
    "slow_answer",
    "unavailable",
    "bare_500",
    "html_200",
    "redirect",
    "hang",
]


@pytest.mark.parametrize("kind", UNKNOWN)
def test_a_submission_with_an_odd_answer_is_sent_once_and_unknown(
    farm: Farm, work: Srpm, tmp_path: Path, kind: str
) -> None:
    system = adapter(farm, tmp_path)
    fence = system.open(TARGET)
    calls = len(farm.koji.calls("build"))
    farm.koji.fault(kind, "build", times=None, seconds=4)
    with pytest.raises(SubmissionUnknown) as caught:
        system.submit(work, TARGET, KEY, fence)
    assert "\n" not in str(caught.value) and "2-" not in str(caught.value)
    assert len(farm.koji.calls("build")) == calls + 1


@pytest.mark.parametrize("text", ["database outage", "Server disabled for maintenance"])
def test_an_outage_at_the_moment_of_submission_is_a_doubt(
    farm: Farm, work: Srpm, tmp_path: Path, text: str
) -> None:
    system = adapter(farm, tmp_path)
    fence = system.open(TARGET)
    farm.koji.fault("answer", "build", status=200, body=offline_fault(text), content_type="text/xml")
    with pytest.raises(SubmissionUnknown, match=f"the hub is offline: {text}"):
        system.submit(work, TARGET, KEY, fence)
    farm.koji.outage(text)
    with pytest.raises(BuildSystemUnavailable, match="offline"):
        system.open(TARGET)


def offline_fault(text: str) -> str:
    return (
        "<?xml version='1.0'?><methodResponse><fault><value><struct><member><name>faultCode</name>"
        "<value><int>1014</int></value></member><member><name>faultString</name>"
        f"<value><string>{text}</string></value></member></struct></value></fault></methodResponse>"
    )


def test_trouble_of_the_upload_submits_nothing(farm: Farm, work: Srpm, tmp_path: Path) -> None:
    system = adapter(farm, tmp_path)
    before = len(farm.koji.tasks())
    fence = system.open(TARGET)
    farm.koji.fault("dropped", "upload", times=None)
    with pytest.raises(BuildSystemUnavailable):
        system.submit(work, TARGET, KEY, fence)
    farm.clear_faults()
    fence = system.open(TARGET)
    farm.koji.fault("answer_lost", "upload")
    # A lost answer of a chunk is sent again, and the file's checksum is compared at the end.
    assert system.submit(work, TARGET, KEY, fence).external_id and len(farm.koji.tasks()) == before + 1


def test_a_source_package_that_is_not_there_is_our_own_fault(farm: Farm, work: Srpm, tmp_path: Path) -> None:
    system = adapter(farm, tmp_path)
    with pytest.raises(BuildSystemError, match="cannot be read"):
        submit(system, replace(work, path=tmp_path / "gone.src.rpm"))


def test_a_session_that_expired_is_not_renewed(farm: Farm, work: Srpm, tmp_path: Path) -> None:
    system = adapter(farm, tmp_path)
    fence = system.open(TARGET)
    before = len(farm.koji.tasks())
    farm.koji.sessions("expire", int(str(fence["session_id"])))
    with pytest.raises(BuildSystemUnavailable, match="nothing was submitted"):
        system.submit(work, TARGET, KEY, fence)
    assert len(farm.koji.tasks()) == before


def test_a_build_of_somebody_else_is_not_ours_to_cancel(farm: Farm, work: Srpm, tmp_path: Path) -> None:
    ref = submit(adapter(farm, tmp_path), work)
    farm.koji.user("other", password="other-secret")
    secret = tmp_path / "other-password"
    secret.write_text("other-secret\n")
    other = adapter(farm, tmp_path, user="other", password_file=str(secret))
    with pytest.raises(ForeignBuild, match="another account's"):
        other.cancel(ref)
    assert isinstance(other.poll([ref])[ref], BuildReport)


def test_one_poll_is_one_request_for_all_tasks(farm: Farm, work: Srpm, tmp_path: Path) -> None:
    system = adapter(farm, tmp_path)
    refs = [submit(system, work, SubmissionKey(f"b{n}x0123456789dd")) for n in range(5)]
    before = len(farm.koji.calls())
    assert len(system.poll(refs)) == 5
    assert farm.koji.calls()[before:] == ["multiCall"]
    farm.koji.step(count=30)
    before = len(farm.koji.calls())
    assert {report.ended for report in system.poll(refs).values()} == {"succeeded"}  # type: ignore[union-attr]
    assert farm.koji.calls()[before:] == ["multiCall"]
