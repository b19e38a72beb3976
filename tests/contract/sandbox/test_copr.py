"""The published COPR client against the sandbox: the everyday calls, restarts, and what the logs say."""

import gzip
import json
import os
import signal
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from copr.v3 import Client, CoprNoResultException, CoprRequestException

from sandbox.testing import Farm, SandboxFailed

pytestmark = pytest.mark.timeout(60)
X86, ARM = "fedora-44-x86_64", "fedora-44-aarch64"
LIVE = {"pending", "starting", "running", "importing"}


@pytest.fixture
def farm(tmp_path):
    with Farm(tmp_path / "farm") as running:
        yield running


@pytest.fixture
def client(farm, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    made = Client.create_from_config_file(str(farm.copr_config))
    made.project_proxy.add("packbot", "demo", [X86, ARM])
    return made


def upload(client: Client, path: Path, **options: Any) -> Any:
    return client.build_proxy.create_from_file("packbot", "demo", str(path), buildopts=options or None)


def ended(farm: Farm, build_id: int) -> dict[str, Any]:
    builds = farm.wait(lambda all_: next(b for b in all_ if b["id"] == build_id)["state"] not in LIVE)
    return next(build for build in builds if build["id"] == build_id)


def test_the_client_adds_uploads_lists_polls_and_cancels(farm, client, srpm):
    assert client.base_proxy.auth_check().name == "packbot"
    farm.pause()
    first, second = upload(client, srpm, chroots=[X86]), upload(client, srpm)
    assert [build.id for build in client.build_proxy.get_list("packbot", "demo")] == [second.id, first.id]
    assert first.chroots == [X86]
    cancelled = client.build_proxy.cancel(second.id)
    assert cancelled.state == "canceled"
    with pytest.raises(CoprRequestException, match=f"Cannot cancel build {second.id}"):
        client.build_proxy.cancel(second.id)
    farm.resume()
    ended(farm, first.id)
    assert client.build_proxy.get(first.id).state == "succeeded"
    (chroot,) = client.build_chroot_proxy.get_list(first.id)
    assert (chroot.name, chroot.state) == (X86, "succeeded")
    packages = client.build_proxy.get_built_packages(first.id)[X86]["packages"]
    assert {(one["name"], one["release"], one["arch"]) for one in packages} == {
        ("hello-packit", "1.fc44", "src"),
        ("hello-packit", "1.fc44", "noarch"),
    }
    with pytest.raises(CoprNoResultException):
        client.build_proxy.get(999)


def test_states_come_in_the_servers_order(farm, client, srpm):
    farm.pause()
    build = upload(client, srpm, chroots=[X86])
    seen = [build.state] + [farm.step()[0]["state"] for _ in range(7)]
    assert seen == [
        "pending",
        "starting",
        "running",
        "importing",
        "pending",
        "starting",
        "running",
        "succeeded",
    ]


def test_an_upload_name_is_cleaned_and_found_again(farm, client, srpm, tmp_path):
    farm.pause()
    odd = tmp_path / "cri-o 1.36.0~rc1^git=2+x-1.fc42.job-abc.src.rpm"
    odd.symlink_to(srpm)
    build = upload(client, odd)
    name = "cri-o_1.36.0rc1git2x-1.fc42.job-abc.src.rpm"
    assert build.source_package["url"].endswith("/" + name)
    assert requests.get(build.source_package["url"], timeout=10).content == srpm.read_bytes()
    assert client.build_proxy.get_source_build_config(build.id).source_dict["pkg"] == name


def test_a_killed_sandbox_loses_no_accepted_build_and_goes_on(farm, client, srpm):
    farm.set_pace(60)
    accepted = [upload(client, srpm, chroots=[X86]).id for _ in range(3)]
    farm.kill()
    farm.pace = 0.05
    farm.start()
    assert [build["id"] for build in farm.builds()] == accepted
    for build_id in accepted:
        assert ended(farm, build_id)["state"] == "succeeded"
    assert client.base_proxy.auth_check().name == "packbot"


@pytest.mark.parametrize("steps", range(8))
def test_a_kill_at_any_step_is_survived(farm, client, srpm, steps):
    farm.pause()
    build = upload(client, srpm)
    before = farm.step(count=steps)[0] if steps else farm.builds()[0]
    farm.restart()
    after = farm.builds()[0]
    assert (after["state"], after["source_package"]["version"]) == (
        before["state"],
        before["source_package"]["version"],
    )
    farm.resume()
    assert ended(farm, build.id)["state"] == "succeeded"


def test_a_file_that_is_no_srpm_fails_in_the_source_step(farm, client, srpm, tmp_path):
    wrong, cut = tmp_path / "x-1-1.src.rpm", tmp_path / "y-1-1.src.rpm"
    wrong.write_bytes(b"")
    cut.write_bytes(srpm.read_bytes()[:-10])
    for path in (wrong, cut):
        build = upload(client, path, chroots=[X86])
        assert ended(farm, build.id)["state"] == "failed"
        assert client.build_proxy.get_source_chroot(build.id).state == "failed"
        assert client.build_chroot_proxy.get_list(build.id)[0].state == "failed"


def test_excluded_architectures_are_skipped(farm, client, excluded_srpm):
    build = upload(client, excluded_srpm)
    assert ended(farm, build.id)["state"] == "succeeded"
    states = {row.name: row.state for row in client.build_chroot_proxy.get_list(build.id)}
    assert states == {X86: "skipped", ARM: "succeeded"}


def test_logs_say_that_they_are_simulated(farm, client, srpm):
    farm.pause()
    text = "ld: read-only segment has dynamic relocations"
    farm.set_outcome("failed", package="hello-*", chroot=X86, log=text)
    build = upload(client, srpm, chroots=[X86])
    farm.step(count=6)
    url = client.build_chroot_proxy.get_list(build.id)[0].result_url
    live = requests.get(url + "builder-live.log", timeout=10)
    assert live.status_code == 200
    assert requests.get(url + "builder-live.log.gz", timeout=10).status_code == 404
    farm.step()
    deadline = time.monotonic() + 5
    while requests.get(url + "builder-live.log.gz", timeout=10).status_code == 404:
        assert time.monotonic() < deadline, "the live log was never compressed"
        time.sleep(0.02)
    for name in ("builder-live.log.gz", "backend.log.gz", "root.log.gz", "build.log.gz"):
        first = requests.get(url + name, timeout=10).text.splitlines()[0]
        assert "SIMULATED by cryopack's sandbox" in first
        assert "nothing was compiled" in first
    assert text in requests.get(url + "builder-live.log.gz", timeout=10).text
    assert requests.get(url + "fail", timeout=10).status_code == 200
    assert requests.get(url + "builder-live.log", timeout=10).status_code == 404
    folder = farm.state_dir / "results" / url.split("/results/")[1]
    assert text in gzip.decompress((folder / "builder-live.log.gz").read_bytes()).decode()
    page = requests.get(f"{farm.copr_url}/coprs/build/{build.id}", timeout=10)
    assert "simulated" in page.text
    assert page.url.endswith(f"/coprs/packbot/demo/build/{build.id}/")


def test_files_outside_of_the_results_are_not_served(farm, client):
    raw = requests.Request("GET", farm.copr_url).prepare()
    for path in ("/results/../copr.conf", "/results/%2e%2e/copr.conf", "/tmp/..%2fcopr.conf"):
        raw.url = farm.copr_url + path
        assert requests.Session().send(raw, timeout=10).status_code == 404


def test_batches_wait_for_each_other(farm, client, srpm):
    farm.pause()
    first = upload(client, srpm, chroots=[X86])
    later = upload(client, srpm, chroots=[X86], after_build_id=first.id)
    beside = upload(client, srpm, chroots=[X86], with_build_id=later.id)
    with pytest.raises(CoprRequestException):
        upload(client, srpm, after_build_id=first.id, with_build_id=first.id)
    builds = farm.step(count=6)
    assert [build["state"] for build in builds] == ["running", "pending", "pending"]
    farm.resume()
    assert ended(farm, later.id)["state"] == ended(farm, beside.id)["state"] == "succeeded"
    with pytest.raises(CoprRequestException):
        upload(client, srpm, after_build_id=first.id)


def test_eight_parallel_additions_are_one_project(farm, client):
    with ThreadPoolExecutor(8) as pool:
        added = [
            pool.submit(client.project_proxy.add, "packbot", "once", [X86], exist_ok=True) for _ in range(8)
        ]
        assert len({one.result(20).id for one in added}) == 1
    assert client.project_proxy.get("packbot", "once").chroot_repos.keys() == {X86}
    names = [project.name for project in client.project_proxy.get_list("packbot")]
    assert names.count("once") == 1


def test_the_token_is_private_and_a_new_one_ends_the_old(farm, client):
    assert stat.S_IMODE(farm.copr_config.stat().st_mode) == 0o600
    assert "encrypted = False" in farm.copr_config.read_text()
    client.base_proxy.auth_check()
    farm.account("packbot")
    with pytest.raises(CoprRequestException, match="Login invalid/expired"):
        client.base_proxy.auth_check()


def test_it_binds_loopback_only(tmp_path):
    farm = Farm(tmp_path)
    farm._options += ["--host", "0.0.0.0"]
    with pytest.raises(SandboxFailed, match="not a loopback address"):
        farm.start()


def test_sigterm_stops_it_although_an_answer_hangs(farm):
    farm.fault("hang", "/api_3/*", times=None, seconds=30)
    with requests.Session() as session, pytest.raises(requests.Timeout):
        session.get(farm.copr_url + "/api_3/", timeout=0.2)
    started = time.monotonic()
    os.kill(farm.pid, signal.SIGTERM)
    assert farm.stop() == 0
    assert time.monotonic() - started < 20


def test_commands_want_json_and_name_their_mistakes(farm):
    assert requests.post(farm.copr_url + "/_sandbox/pace", data="seconds=1", timeout=10).status_code == 415
    for call, text in (
        (lambda: farm.fault("no-such-kind"), "unknown kind"),
        (lambda: farm.set_outcome("exploded"), "unknown outcome"),
        (lambda: farm.publish("not-a-tag"), "not a tag"),
        (lambda: farm.call("POST", "/pace"), "missing"),
    ):
        with pytest.raises(SandboxFailed, match=text):
            call()
    assert json.loads(requests.get(farm.copr_url + "/_sandbox/state", timeout=10).text)["paused"] is False


def test_it_ends_with_the_process_that_started_it(farm):
    pid = farm.pid
    farm._process.stdin.close()
    assert farm._process.wait(5) == 0
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
