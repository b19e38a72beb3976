"""Tests that our adapter sends the captured requests: method, path, query, headers, body."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from service.domain.reports import BuildRef, BuildReport, SubmissionKey
from tests.contract.copr.bench import copr_at, copr_target, srpm_at
from tests.contract.odd_server import Asked, OddServer, Told

pytestmark = pytest.mark.timeout(60)
PAIRS = {
    pair["n"]: pair
    for pair in map(
        json.loads, (Path(__file__).parents[2] / "payloads/copr/pairs.jsonl").read_text().splitlines()
    )
}
F41, F42, F43 = "fedora-41-x86_64", "fedora-42-x86_64", "fedora-43-x86_64"
REF = BuildRef("copr", "packbot/demo", "1")
KEY = SubmissionKey("8621c33af491")


class Captured:
    """A COPR that answers each request with the captured response of these pairs, one after the other."""

    def __init__(self, tmp_path: Path, *numbers: int) -> None:
        self.left = [PAIRS[number] for number in numbers]
        self.server = OddServer(self.answer)
        self.system = copr_at(tmp_path, self.server.url)

    def answer(self, asked: Asked) -> Told:
        if not self.left:
            return Told({"error": f"unexpected: {asked.method} {asked.path}"}, 400)
        response = self.left.pop(0)["response"]
        body = response["body"] if "body" in response else response["text"].encode()
        return Told(body, response["status"], response["headers"])


def compare(asked: Asked, number: int, *, query: dict[str, str] | None = None, **changed: Any) -> None:
    """``asked`` is the captured request, but for these values of the query and of the body."""
    request = PAIRS[number]["request"]
    url = urlsplit(request["url"])
    assert (asked.method, asked.path.rstrip("/")) == (request["method"], url.path.rstrip("/"))
    captured = dict(parse_qsl(url.query)) | (query or {})
    assert dict(asked.query) == {name: value for name, value in captured.items() if value}
    assert asked.headers["user-agent"] == request["headers"]["User-Agent"]
    assert asked.headers.get("authorization") == request["headers"].get("Authorization")
    body = request["body"]
    if isinstance(body, dict) and "_multipart_fields" not in body:
        assert asked.headers["content-type"] == request["headers"]["Content-Type"]
        assert asked.body == {**body, **changed}
    elif body is None:
        assert asked.body is None


def test_open_of_a_project_that_lacks_a_chroot(tmp_path: Path) -> None:
    copr = Captured(tmp_path, 2, 8, 16, 16, 8, 22, 22, 107)
    with copr.server:
        fence = copr.system.open(copr_target("packbot/demo", F42, F43))
    assert (fence["newest_id"], fence["chroots"], fence["dropped"]) == (29, [F42, F43], {})
    asked = copr.server.asked
    numbers = [2, 8, 16, 16, 8, 22, 16]
    for one, number in zip(asked, numbers, strict=False):
        if number == 22:
            compare(one, 22, chroots=[F41, F42, F43], description=None)
        else:
            compare(one, number)
    compare(asked[7], 111, query={"limit": "1"})
    assert len(asked) == 8


def test_open_of_a_project_that_is_missing(tmp_path: Path) -> None:
    copr = Captured(tmp_path, 2, 8, 10, 10, 15, 16, 107)
    with copr.server:
        copr.system.open(copr_target("packbot/demo", F41, F42, description="d", instructions="i"))
    changed = {
        "chroots": [F41, F42],
        "description": "d",
        "instructions": "i",
        "follow_fedora_branching": False,
    }
    compare(copr.server.asked[4], 15, **changed)
    assert len(copr.server.asked) == 7


def test_open_in_a_group(tmp_path: Path) -> None:
    copr = Captured(tmp_path, 2, 8, 10, 10, 21, 16, 107)
    with copr.server:
        copr.system.open(copr_target("@packit/g1", F42))
    asked = copr.server.asked[4]
    assert (asked.method, asked.path) == ("POST", "/api_3/project/add/@packit")
    assert dict(asked.query) == {"ownername": "@packit", "exist_ok": "True"}
    assert asked.body.keys() == PAIRS[21]["request"]["body"].keys()


def test_an_upload(tmp_path: Path, srpm: Path) -> None:
    copr = Captured(tmp_path, 51)
    options = {
        "enable_net": True,
        "timeout": 3600,
        "background": True,
        "bootstrap": "on",
        "isolation": "simple",
    }
    target = copr_target("packbot/demo", F41, F42, **options)
    with copr.server:
        ref = copr.system.submit(srpm_at(srpm), target, KEY, {"chroots": [F41, F42]})
    assert ref == BuildRef("copr", "packbot/demo", "1", f"{copr.server.url}/coprs/build/1")
    (asked,) = copr.server.asked
    compare(asked, 51)
    (_, (_, _, kind)), (_, (name, text, json_kind)) = PAIRS[51]["request"]["body"]["_multipart_fields"]
    assert asked.body.keys() == {"pkgs", "json"}
    assert asked.body["pkgs"] == ("hello-packit-1.0-1.job-8621c33af491.src.rpm", kind, srpm.read_bytes())
    assert asked.body["json"] == (name, json_kind, text.encode())
    assert "chunked" not in asked.headers.get("transfer-encoding", "") and "content-length" in asked.headers


def test_an_upload_into_a_directory(tmp_path: Path, srpm: Path) -> None:
    copr = Captured(tmp_path, 52)
    target = copr_target("packbot/demo", F41, project_dirname="demo:pr:77")
    with copr.server:
        copr.system.submit(srpm_at(srpm), target, KEY, {"chroots": [F41]})
    sent = json.loads(copr.server.asked[0].body["json"][2])
    (_, (_, text, _)) = PAIRS[52]["request"]["body"]["_multipart_fields"][1]
    assert sent == {**json.loads(text), "chroots": [F41]}


@pytest.mark.parametrize("number", [111, 112])
def test_a_search(tmp_path: Path, number: int) -> None:
    copr = Captured(tmp_path, number)
    with copr.server:
        found = copr.system.find(copr_target("packbot/demo"), KEY, {"newest_id": 85})
    assert [ref.external_id for ref in found.refs] == ["86"] and found.certain
    (asked,) = copr.server.asked
    compare(asked, 111)


def test_a_search_among_builds_without_addresses(tmp_path: Path) -> None:
    copr = Captured(tmp_path, 107, 73, 73, 73)
    with copr.server:
        copr.system.find(copr_target("packbot/demo"), KEY, {"newest_id": 0})
    assert [one.path for one in copr.server.asked[1:]] == [
        f"/api_3/build/source-build-config/{number}" for number in (29, 28, 27)
    ]
    compare(copr.server.asked[0], 111)


def test_a_poll_of_a_build_that_is_not_on_the_list(tmp_path: Path) -> None:
    copr = Captured(tmp_path, 108, 84, 85)
    with copr.server:
        answer = copr.system.poll([REF])[REF]
    assert isinstance(answer, BuildReport) and len(answer.chroots) == 2
    listed, build, chroots = copr.server.asked
    compare(listed, 111, query={"limit": "100"})
    compare(build, 84)
    compare(chroots, 85)


def test_a_poll_of_a_failed_source_step(tmp_path: Path) -> None:
    copr = Captured(tmp_path, 108, 91, 108, 76)
    ref = BuildRef("copr", "packbot/demo", "31")
    with copr.server:
        answer = copr.system.poll([ref])[ref]
    assert isinstance(answer, BuildReport) and answer.ended == "failed"
    source = copr.server.asked[3]
    assert (source.method, source.path, source.query) == ("GET", "/api_3/build/source-chroot/31", [])


@pytest.mark.parametrize("number", [96, 102])
def test_a_cancel(tmp_path: Path, number: int) -> None:
    copr = Captured(tmp_path, number)
    identifier = PAIRS[number]["request"]["url"].rpartition("/")[2]
    with copr.server:
        copr.system.cancel(BuildRef("copr", "packbot/demo", identifier))
    compare(copr.server.asked[0], number)


def test_only_log_ins_and_changes_carry_the_log_in(tmp_path: Path) -> None:
    copr = Captured(tmp_path, 2, 8, 16, 107)
    with copr.server:
        copr.system.open(copr_target("packbot/demo", F41, F42))
    login = f"Basic {base64.b64encode(b'login:token').decode()}"
    assert [one.headers.get("authorization") for one in copr.server.asked] == [login, None, None, None]
