"""Every fault mode of the sandbox does what its name says, as often as it was told, and then stops."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from copr.v3 import Client, CoprAuthException, CoprException, CoprRequestException
from copr.v3.exceptions import CoprTimeoutException

from sandbox.testing import Farm

pytestmark = pytest.mark.timeout(60)
X86, ARM = "fedora-44-x86_64", "fedora-44-aarch64"
UPLOAD = "/api_3/build/create/upload"
CANNED = [
    ("expired_token", CoprRequestException, 401),
    ("forbidden", CoprAuthException, 403),
    ("conflict", CoprRequestException, 409),
    ("too_many_html", CoprRequestException, 429),
    ("server_error", CoprRequestException, 500),
    ("bare_500", CoprRequestException, 500),
    ("bad_gateway", CoprRequestException, 502),
    ("unavailable", CoprRequestException, 503),
    ("gateway_timeout", CoprTimeoutException, 504),
    ("html_200", CoprRequestException, 200),
    ("no_content", CoprRequestException, 204),
    ("missing", CoprRequestException, 404),
]


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with Farm(tmp_path_factory.mktemp("faults")) as farm:
        farm.pause()
        yield farm


@pytest.fixture
def farm(running):
    running.clear_faults()
    running.clear_outcomes()
    running.only_chroots(X86, ARM)
    return running


@pytest.fixture
def client(farm, request):
    made = Client.create_from_config_file(str(farm.copr_config))
    # A project of its own for each test, so that lists hold nothing but the test's builds.
    made.project = f"p{abs(hash(request.node.nodeid))}"
    made.project_proxy.add("packbot", made.project, [X86, ARM], exist_ok=True)
    return made


def upload(client, srpm, **options):
    return client.build_proxy.create_from_file(
        "packbot", client.project, str(srpm), buildopts=options or None
    )


def count(client):
    return len(client.build_proxy.get_list("packbot", client.project))


def test_a_lost_answer_leaves_the_build(farm, client, srpm):
    farm.fault("answer_lost", UPLOAD)
    with pytest.raises(CoprRequestException, match="Unable to connect"):
        upload(client, srpm)
    assert count(client) == 1
    upload(client, srpm)
    assert count(client) == 2


def test_a_dropped_connection_leaves_nothing(farm, client, srpm):
    farm.fault("dropped", UPLOAD)
    with pytest.raises(CoprRequestException, match="Unable to connect"):
        upload(client, srpm)
    assert count(client) == 0


def test_a_hang_is_silent_and_then_closes(farm, client):
    farm.fault("hang", "/api_3/project", seconds=0.6)
    started = time.monotonic()
    with pytest.raises(CoprRequestException, match="Unable to connect"):
        client.project_proxy.get("packbot", client.project)
    assert 0.5 < time.monotonic() - started < 5


def test_a_slow_answer_was_committed_at_once(farm, client, srpm):
    farm.fault("slow_answer", UPLOAD, seconds=0.8)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(upload, client, srpm)
        time.sleep(0.4)
        assert count(client) == 1
        assert not waiting.done()
        assert waiting.result(10).state == "pending"


def test_a_late_commit_comes_although_the_client_has_gone(farm, client, srpm):
    farm.fault("late_commit", UPLOAD, seconds=1.0)
    auth = client.build_proxy.auth
    auth.make()
    files = {
        "pkgs": ("late-1-1.src.rpm", srpm.read_bytes(), "application/x-rpm"),
        "json": (
            "json",
            f'{{"ownername": "packbot", "projectname": "{client.project}"}}',
            "application/json",
        ),
    }
    with pytest.raises(requests.Timeout):
        requests.post(farm.copr_url + UPLOAD, files=files, auth=auth.auth, timeout=0.3)
    assert count(client) == 0
    deadline = time.monotonic() + 5
    while not count(client):
        assert time.monotonic() < deadline, "the late upload was never committed"
        time.sleep(0.05)
    assert count(client) == 1


def test_one_upload_can_become_two_builds(farm, client, srpm):
    farm.fault("twice", UPLOAD)
    build = upload(client, srpm)
    listed = client.build_proxy.get_list("packbot", client.project)
    assert [one.id for one in listed] == [build.id, build.id - 1]
    assert len({one.source_package["url"].rsplit("/")[-1] for one in listed}) == 1
    farm.resume()
    try:
        ids = {one.id for one in listed}
        farm.wait(lambda builds: all(b["state"] == "succeeded" for b in builds if b["id"] in ids))
    finally:
        farm.pause()


@pytest.mark.parametrize(("kind", "error", "status"), CANNED)
@pytest.mark.parametrize("when", ["before", "after"])
def test_canned_answers_raise_in_the_client(farm, client, srpm, kind, error, status, when):
    before = count(client)
    farm.fault(kind, UPLOAD, when=when)
    with pytest.raises(error) as caught:
        upload(client, srpm)
    assert caught.value.result.__response__.status_code == status
    assert count(client) - before == (1 if when == "after" else 0)


def test_every_canned_answer_is_covered(farm):
    tested = {case[0] for case in CANNED}
    others = {"too_many", "unavailable_json", "redirect", "rate_limited"}
    from_server = farm.call("GET", "/faults")["answers"]
    assert tested | others == set(from_server)


def test_json_without_error_passes_through_the_client(farm, client, srpm):
    for kind, status in (("too_many", 429), ("unavailable_json", 503)):
        farm.fault(kind, UPLOAD)
        answer = upload(client, srpm)
        assert answer.__response__.status_code == status
        assert "id" not in answer
    assert count(client) == 0


def test_a_redirect_turns_a_creation_into_a_read(farm, client):
    farm.fault("redirect", "/api_3/build/create/scm")
    answer = client.build_proxy.create_from_scm("packbot", client.project, "https://example.com/x.git")
    assert answer.version == 3
    assert count(client) == 0


def test_an_answer_of_ones_own(farm, client):
    farm.fault("answer", "/api_3/project", status=418, json={"error": "teapot"})
    with pytest.raises(CoprRequestException, match="teapot"):
        client.project_proxy.get("packbot", client.project)


def test_states_can_go_backwards_or_be_unknown(farm, client, srpm):
    build = upload(client, srpm, chroots=[X86])
    farm.fault("states", f"/api_3/build/{build.id}", states=["running", "pending", "unknown"], times=3)
    seen = [client.build_proxy.get(build.id).state for _ in range(4)]
    assert seen == ["running", "pending", "unknown", "pending"]
    farm.fault("states", "/api_3/build-chroot/list", states=["forked"])
    assert client.build_chroot_proxy.get_list(build.id)[0].state == "forked"


def test_a_canceled_chroot_hides_under_a_succeeded_build(farm, client, srpm):
    farm.set_outcome("canceled", chroot=ARM)
    build = upload(client, srpm, chroots=[X86, ARM])
    farm.step(build.id, 8)
    assert client.build_proxy.get(build.id).state == "succeeded"
    states = {row.name: row.state for row in client.build_chroot_proxy.get_list(build.id)}
    assert states == {X86: "succeeded", ARM: "canceled"}


def test_a_build_of_canceled_chroots_only_is_unknown(farm, client, srpm):
    build = upload(client, srpm, chroots=[ARM])
    farm.step(build.id, 4)
    farm.deactivate(ARM, cancel=True)
    farm.step(build.id, 4)
    assert client.build_proxy.get(build.id).state == "unknown"


@pytest.mark.parametrize("cause", ["outcome", "deactivated"])
def test_a_chroot_can_stay_pending_for_ever(farm, client, srpm, cause):
    build = upload(client, srpm, chroots=[ARM])
    if cause == "outcome":
        farm.set_outcome("pending", chroot=ARM)
    else:
        farm.deactivate(ARM)
    farm.step(build.id, 30)
    assert client.build_proxy.get(build.id).state == "pending"
    farm.clear_outcomes()
    farm.activate(ARM)
    farm.step(build.id, 4)
    assert client.build_proxy.get(build.id).state == "succeeded"


def test_a_deactivated_chroot_refuses_the_whole_request(farm, client, srpm):
    farm.deactivate(ARM)
    assert ARM not in client.mock_chroot_proxy.get_list()
    with pytest.raises(CoprRequestException, match="not a valid choice"):
        client.project_proxy.edit("packbot", client.project, chroots=[X86, ARM])
    with pytest.raises(CoprRequestException, match="not a valid choice"):
        upload(client, srpm, chroots=[X86, ARM])
    assert count(client) == 0


def test_source_and_import_steps_can_fail(farm, client, srpm):
    farm.set_outcome("failed", chroot="srpm-builds", log="no such source")
    build = upload(client, srpm, chroots=[X86])
    with pytest.raises(CoprException, match="probably a bug"):
        client.build_proxy.get_source_chroot(build.id)
    farm.step(build.id, 3)
    assert client.build_proxy.get_source_chroot(build.id).state == "failed"
    farm.clear_outcomes()
    farm.set_outcome("failed", chroot="import")
    imported = upload(client, srpm, chroots=[X86])
    farm.step(imported.id, 4)
    (row,) = client.build_chroot_proxy.get_list(imported.id)
    assert (row.state, row.result_url, row.ended_on) == ("failed", None, None)


def test_list_pages_shift_while_they_are_read(farm, client, srpm):
    ids = [upload(client, srpm).id for _ in range(4)]
    page = {"limit": 2, "offset": 0}
    first = [build.id for build in client.build_proxy.get_list("packbot", client.project, pagination=page)]
    assert first == [ids[3], ids[2]]
    farm.fault("shift", "/api_3/build/list", by=1)
    page["offset"] = 2
    second = [build.id for build in client.build_proxy.get_list("packbot", client.project, pagination=page)]
    assert second == [ids[2], ids[1]]


def test_chroots_come_in_changing_order(farm, client, srpm):
    build = upload(client, srpm, chroots=[X86, ARM])
    orders = {tuple(client.build_proxy.get(build.id).chroots) for _ in range(6)}
    assert orders == {(X86, ARM), (ARM, X86)}


def test_logs_are_missing_and_then_there(farm, client, srpm):
    build = upload(client, srpm, chroots=[X86])
    farm.step(build.id, 7)
    url = client.build_chroot_proxy.get_list(build.id)[0].result_url + "backend.log.gz"
    farm.fault("missing", "/results/*backend.log.gz", times=2)
    assert [requests.get(url, timeout=10).status_code for _ in range(3)] == [404, 404, 200]


def test_the_whole_server_can_go_away_and_come_back(farm, client):
    rule = farm.offline()
    for url in (farm.copr_url + "/api_3/", farm.mirror_url + "/repos/cri-o/cri-o/tags"):
        with pytest.raises(requests.ConnectionError):
            requests.get(url, timeout=10)
    farm.clear_faults(rule)
    assert requests.get(farm.copr_url + "/api_3/", timeout=10).json() == {"version": 3}


def test_rules_are_counted_skip_and_outlive_a_restart(farm, client):
    farm.fault("server_error", "/api_3/mock-chroots/list", times=1, skip=1)

    def statuses():
        return [requests.get(farm.copr_url + "/api_3/mock-chroots/list", timeout=10).status_code]

    assert statuses() == [200]
    farm.restart()
    assert statuses() + statuses() == [500, 200]
    assert len(farm.requests("GET", "/api_3/mock-chroots")) == 2
