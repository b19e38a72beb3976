"""The sandbox answers the requests of ``payloads/copr/pairs.jsonl`` as the captured server did."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from requests_toolbelt import MultipartEncoder

from sandbox.testing import Farm

PAIRS = {
    pair["n"]: pair
    for pair in map(
        json.loads, (Path(__file__).parents[2] / "payloads/copr/pairs.jsonl").read_text().splitlines()
    )
}
SKIPPED = {
    29: "the captured server ran without its search index and found nothing; the sandbox finds the project",
}
CAPTURED_CHROOTS = list(PAIRS[8]["response"]["body"])
F41, F42, F43 = "fedora-41-x86_64", "fedora-42-x86_64", "fedora-43-x86_64"
EOL = "fedora-41-aarch64"
SECRETS = {"api_login", "api_token", "expiration", "webhook_secret"}
ODD = {
    113: "too_many", 114: "bad_gateway", 115: "unavailable_json", 116: "gateway_timeout", 117: "html_200",
    119: "no_content", 120: "server_error",
}  # fmt: skip


def masked(text: str) -> str:
    """Return a text without hosts, temporary names and ids."""
    text = re.sub(r"http://(results\.)?copr\.example|http://127\.0\.0\.1:\d+", "HOST", text)
    text = re.sub(r"\btmp[a-z0-9_]{8}\b", "tmpXXXXXXXX", text)
    text = re.sub(r"/\d{8}(?=[-/]|$)", "/BUILDID", text)
    return re.sub(r"(?i)(builds?(?:\(s\))? )\d+", r"\1N", text)


def normal(value: Any, key: str = "") -> Any:
    """Return a body without what differs from server to server; types and everything else stay."""
    if isinstance(value, dict):
        return {name: normal(item, name) for name, item in value.items()}
    if isinstance(value, list):
        # The server gives chroots and packages in changing order.
        items = [normal(item) for item in value]
        lists = {"chroots", "packages"} | (
            {"items"} if items and isinstance(items[0], dict) and "name" in items[0] else set()
        )
        return sorted(items, key=lambda item: json.dumps(item, sort_keys=True)) if key in lists else items
    if key in SECRETS:
        return re.sub(r"\w", "x", value)[:8]
    if isinstance(value, bool) or value is None:
        return value
    if key.endswith("_on"):
        return "TIME"
    if key in {"id", "build_id"}:
        return "ID"
    return masked(value) if isinstance(value, str) else value


class Replay:
    """Sends captured requests and keeps ``{n: (expected, answered)}``."""

    def __init__(self, farm: Farm, srpm: Path, excluded: Path) -> None:
        self.farm, self.srpm, self.excluded = farm, srpm, excluded
        self.session = requests.Session()
        self.session.trust_env = False
        config = dict(
            line.split(" = ") for line in farm.copr_config.read_text().splitlines() if " = " in line
        )
        self.logins = {"login:token": f"{config['login']}:{config['token']}"}
        self.ids: dict[int, int] = {}
        self.results: dict[int, tuple[Any, Any]] = {}

    def authorization(self, captured: str | None) -> dict[str, str]:
        if captured is None or not captured.startswith("Basic "):
            return {} if captured is None else {"Authorization": captured}
        pair = base64.b64decode(captured.removeprefix("Basic ")).decode()
        ours = self.logins.get(pair, pair)
        return {"Authorization": "Basic " + base64.b64encode(ours.encode()).decode()}

    def send(self, method: str, path: str, body: Any, login: str | None, content: bytes) -> requests.Response:
        headers = self.authorization(login)
        data = None
        if isinstance(body, dict) and "_multipart_fields" in body:
            fields = {name: tuple(part) for name, part in body["_multipart_fields"]}
            if "pkgs" in fields:
                name, _, content_type = fields["pkgs"]
                fields["pkgs"] = (name, content, content_type)
            encoder = MultipartEncoder(fields)
            headers["Content-Type"] = encoder.content_type
            data = encoder.to_string()
        elif body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body).encode()
        return self.session.request(method, self.farm.copr_url + path, data=data, headers=headers, timeout=20)

    def pair(self, *numbers: int, content: bytes | None = None, path: str = "", method: str = "") -> None:
        """Replay these pairs; ids of builds are exchanged for ours, and a created build's id is learned."""
        for n in numbers:
            request, response = PAIRS[n]["request"], PAIRS[n]["response"]
            url, body = request["url"], request["body"]
            url = re.sub(
                r"(/|build_id=)(\d+)(?=$|&)", lambda m: m[1] + str(self.ids.get(int(m[2]), int(m[2]))), url
            )
            if isinstance(body, dict) and "builds" in body:
                body = {"builds": [self.ids[one] for one in body["builds"]]}
            answer = self.send(
                method or request["method"],
                path or url,
                body,
                request["headers"].get("Authorization"),
                self.srpm.read_bytes() if content is None else content,
            )
            headers = response["headers"]
            expected: Any = (response["status"], headers, normal(response.get("body")), response.get("text"))
            got_json = answer.json() if "body" in response else None
            got_text = answer.text[:400] if "text" in response else None
            if PAIRS[n].get("items_cut"):
                got_json["items"] = got_json["items"][:1]
            got_headers = {name: answer.headers.get(name, "").split(";")[0] for name in headers}
            self.results[n] = (expected, (answer.status_code, got_headers, normal(got_json), got_text))
            created = response.get("body") or {}
            if "source_package" in created and "/create/" in url:
                self.ids[created["id"]] = got_json["id"]

    def do(self, method: str, path: str, **body: Any) -> Any:
        """A request of our own that brings the server to the state of the capture."""
        answer = self.send(method, "/api_3" + path, body or None, "Basic bG9naW46dG9rZW4=", b"")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def upload(
        self,
        captured_id: int,
        project: str,
        chroots: list[str],
        content: bytes | None = None,
        name: str = "hello-packit-1.0-1.src.rpm",
    ) -> int:
        form = {"ownername": "packbot", "projectname": project, "chroots": chroots or None}
        fields = [
            ["pkgs", [name, "<file>", "application/x-rpm"]],
            ["json", ["json", json.dumps(form), "application/json"]],
        ]
        data = self.srpm.read_bytes() if content is None else content
        answer = self.send(
            "POST",
            "/api_3/build/create/upload",
            {"_multipart_fields": fields},
            "Basic bG9naW46dG9rZW4=",
            data,
        )
        assert answer.status_code == 200, answer.text
        self.ids[captured_id] = answer.json()["id"]
        return self.ids[captured_id]

    def add_project(self, name: str, *chroots: str) -> None:
        self.do("POST", "/project/add/packbot?exist_ok=False", name=name, chroots=list(chroots))

    def edit_project(self, name: str, **fields: Any) -> None:
        self.do("PUT", f"/project/edit/packbot/{name}", **fields)

    def finish(self, build: int) -> None:
        self.farm.step(build, 12)


def play(r: Replay) -> None:
    """Replay the whole capture in the order in which its states follow from each other."""
    farm = r.farm
    farm.pause()
    farm.only_chroots(*CAPTURED_CHROOTS)
    farm.account("packbot", "@packit")
    other = farm.account("other")
    config = farm.account("packbot")
    r.logins = {
        "login:token": f"{config['login']}:{config['token']}",
        "other:token": f"{other['login']}:{other['token']}",
    }
    r.pair(1, 2, 4, 3, 5, 6, 7, 8)
    fresh = farm.account("other")
    r.logins["other:token"] = r.logins["other:newtoken"] = f"{fresh['login']}:{fresh['token']}"
    projects(r)
    packages_and_creations(r)
    life(r)
    states(r)
    lists(r)
    odd_answers(r)


def projects(r: Replay) -> None:
    r.pair(10, 11, 12, 15, 16, 17, 18, 19, 20, 21, 24, 22, 37)
    r.edit_project("demo", additional_repos=None, repos=["copr://packbot/demo"])
    r.pair(39)
    r.edit_project("demo", repos=[], chroots=[F41, F42, F43])
    r.pair(27, 40, 50)
    r.do(
        "PUT",
        f"/project-chroot/edit/packbot/demo/{F41}",
        reset_fields=["additional_repos", "additional_packages", "with_opts"],
    )
    r.add_project("race2", F41, F42, F43)
    r.pair(13, 28)
    r.farm.fault("answer", "/api_3/project/add/*", status=400, json=PAIRS[14]["response"]["body"])
    r.pair(14)
    r.farm.fault("bare_500", "/api_3/project/edit/*")
    r.pair(26)
    build = r.upload(65, "race2", [F41])
    r.pair(30)
    r.do("PUT", f"/build/cancel/{build}")
    r.pair(31)


def packages_and_creations(r: Replay) -> None:
    r.pair(41, 42, 43, 44, 45, 46, 47)
    r.do("DELETE", "/package/delete", ownername="packbot", projectname="demo", package_name="hello")
    r.pair(51, 103, 104, 33, 55, 34, 35, 36, 52, 53, 54, 56, 57, 59, 60, 61, 62, 63, 64)
    r.pair(65, 66, 69, 67, 68)
    r.do(
        "POST",
        "/package/add/packbot/demo/hsrc/scm",
        package_name="hsrc",
        clone_url="https://example.com/h.git",
    )
    r.pair(48, 107)
    r.do("PUT", f"/build/cancel/{r.farm.builds()[-1]['id']}")
    r.pair(49)


def life(r: Replay) -> None:
    step, first = r.farm.step, r.ids[1]
    r.farm.set_outcome("failed", package="hello-packit", chroot=F42)
    r.pair(70, 71, 72, 73)
    step(first)
    r.pair(74)
    step(first)
    r.pair(75, 76)
    step(first)
    r.pair(77)
    step(first)
    r.pair(78, 79)
    step(first)
    r.pair(80, 81)
    step(first, 2)
    r.pair(82, 83)
    step(first)
    r.edit_project("demo", repos=["copr://packbot/demo"])
    r.pair(84, 85, 86, 87, 88, 89, 90, 102)
    r.edit_project("demo", repos=[])
    r.farm.clear_outcomes()


def states(r: Replay) -> None:
    farm = r.farm
    r.finish(r.upload(31, "demo", [], b"this is no source package"))
    r.pair(91)
    farm.set_outcome("failed", chroot="import")
    r.finish(r.upload(32, "demo", [F41, F42]))
    r.pair(92, 93)
    farm.clear_outcomes()
    r.finish(r.upload(34, "demo", [F41, F42], r.excluded.read_bytes()))
    r.pair(94, 95)
    running = r.upload(35, "demo", [F41, F42])
    farm.step(running, 7)
    r.pair(96, 97)
    farm.step(running)
    r.pair(98)
    r.add_project("eolproj", F41, EOL)
    r.add_project("t9", EOL, F42)
    both, alone = r.upload(69, "eolproj", [F41, EOL]), r.upload(99, "t9", [EOL])
    for build in (both, alone):
        farm.step(build, 4)
    r.pair(25)
    farm.deactivate(EOL, cancel=True)
    for build in (both, alone):
        r.finish(build)
    r.pair(99, 100, 101, 9, 23, 38)
    farm.deactivate(F41)
    r.pair(58)
    farm.activate(F41)
    r.do("PUT", f"/build/cancel/{r.upload(2, 'demo', [])}")
    r.pair(105)
    r.ids |= {3: 999_999, 6: running}
    r.pair(106)


def lists(r: Replay) -> None:
    r.pair(108, 109)
    r.finish(r.upload(50, "demo", [F41, F42, F43]))
    r.pair(32)
    # The capture's newer build in the fork shows no address, so it came from a repository.
    r.do(
        "POST",
        "/build/create/scm",
        ownername="packbot",
        projectname="demofork",
        clone_url="https://example.com/h.git",
    )
    r.pair(110)
    token = r.upload(86, "demo", [F41], name="hello-packit-1.0-1.job-8621c33af491.src.rpm")
    r.pair(111)
    r.finish(token)
    r.pair(112)


def odd_answers(r: Replay) -> None:
    for n, kind in ODD.items():
        r.farm.fault(kind, f"/api_3/build/{r.ids[1]}", method="GET")
        r.pair(n)
    r.farm.fault("redirect", "/api_3/build/create/scm", method="POST")
    r.pair(118, path="/api_3/build/create/scm", method="POST")


@pytest.fixture(scope="module")
def played(
    tmp_path_factory: pytest.TempPathFactory, srpm: Path, excluded_srpm: Path
) -> Iterator[dict[int, Any]]:
    with Farm(tmp_path_factory.mktemp("replay"), publish="none") as farm:
        replay = Replay(farm, srpm, excluded_srpm)
        play(replay)
        yield replay.results


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "n", [n for n in PAIRS if n not in SKIPPED], ids=lambda n: f"{n:03d}-{PAIRS[n]['note'][:40]}"
)
def test_pair(played: dict[int, Any], n: int) -> None:
    expected, answered = played[n]
    assert answered == expected


def test_every_pair_is_replayed_or_has_a_reason(played: dict[int, Any]) -> None:
    assert set(PAIRS) == set(played) | set(SKIPPED)
    assert len(SKIPPED) <= 3
