"""Causes on the pages and in the API: one line in the cell, the decisive lines, clusters, and a name for one."""

from __future__ import annotations

import re

import httpx2
import pytest

from service.access.sign_ins import sign_in
from service.access.tokens import create_token
from service.builds.claims import claim_build, end_build
from service.domain.diagnosis import diagnose
from service.domain.states import BuildState
from service.results.diagnoses import write_diagnosis
from service.store.schema import PackageBuild
from service.store.session import database_now
from service.web.access.auth import COOKIE
from tests.store.deliveries import builds, deliver, payload
from tests.web.live import NO_TLS, LiveApp

KNOWN = [
    "before",
    "x: undefined reference to `github.com/tetratelabs/wazero/a.entrypoint'",
    "<script>alert(1)</script>",
]
ODD = ["\x1b[31mfrob: error: <b>odd</b> gizmo"]


@pytest.fixture
def red(brokerless: LiveApp) -> tuple[int, int]:
    """Two failed builds: the first of a known cause, the second of an unknown one."""
    context = brokerless.context
    deliver(context.db, context.catalog, payload("v1.35.0"))
    first, second, *_ = builds(context.db, "1.35.0")
    for build, lines in ((first, KNOWN), (second, ODD)):
        work = claim_build(context.db, build.id, lease_seconds=60, max_tries=6)
        assert work is not None
        end_build(context.db, work, BuildState.FAILED, "failed in 1 of 2 chroots")
        with context.db.transaction() as session:
            row = session.get_one(PackageBuild, build.id)
            causes = context.catalog.causes
            write_diagnosis(
                session, row, database_now(session), chroot="fedora-44-x86_64", log="builder",
                verdict=diagnose(lines, causes), causes=causes,
            )  # fmt: skip
    return first.id, second.id


def get(live: LiveApp, path: str) -> httpx2.Response:
    answer = httpx2.get(f"{live.url}{path}", timeout=60, verify=NO_TLS)
    assert answer.status_code == 200, answer.text
    return answer


def test_pages_say_why_a_cell_is_red(brokerless: LiveApp, red: tuple[int, int]) -> None:
    known, unknown = red
    for path in ("/", "/builds"):
        text = get(brokerless, path).text
        assert "wazero&#39;s assembly is not linked" in text
        assert "unknown cause" in text
    text = get(brokerless, f"/builds/{known}").text
    assert "Build in module mode" in text
    assert f"/builds/{known}/logs/fedora-44-x86_64?kind=builder&amp;line=2#L2" in text
    assert "https://github.com/cri-o/cri-o/issues/8860" in text
    assert "<script>alert" not in text
    text = get(brokerless, f"/builds/{unknown}").text
    assert "cryopack cause name" in text
    assert "<b>odd" not in text and "\x1b" not in text
    page = get(brokerless, "/causes").text
    assert f'href="/builds/{unknown}"' in page
    assert "wazero-undefined" in page


def test_a_cluster_is_named_through_the_api(brokerless: LiveApp, red: tuple[int, int]) -> None:
    known, unknown = red
    found = get(brokerless, f"/api/v1/builds/{known}/causes").json()
    (read,) = found["diagnoses"]
    assert (read["rule"], read["fault"], read["retry"]) == ("wazero-undefined", "package", "no")
    assert [line["number"] for line in read["excerpt"] if line["decisive"]] == [2]
    assert found["remedy"] is found["remedy_of"] is None
    causes = get(brokerless, "/api/v1/causes").json()
    (cluster,) = causes["clusters"]
    assert (cluster["build_id"], cluster["counts"]["builds"]) == (unknown, 1)
    counted = {rule["id"]: rule["counts"]["builds"] for rule in causes["rules"]}
    assert counted["wazero-undefined"] == 1 and counted["disk-full"] == 0
    address = f"{brokerless.url}/api/v1/causes/{cluster['fingerprint']}"
    body = {"cause": "The gizmo is odd", "why": "its source says so"}
    assert httpx2.put(address, json=body, timeout=60).status_code == 401
    tokens = {
        scope: create_token(brokerless.context.db, scope[:5], [scope], by="root").text
        for scope in ("read", "builds:write")
    }

    def put(scope: str, body: dict[str, str]) -> httpx2.Response:
        headers = {"authorization": f"Bearer {tokens[scope]}"}
        return httpx2.put(address, json=body, headers=headers, timeout=60)

    assert put("read", body).status_code == 403
    assert put("builds:write", {"cause": "x"}).status_code == 422
    named = put("builds:write", body)
    assert named.status_code == 200, named.text
    assert named.json()["diagnoses"] == 1
    assert get(brokerless, f"/api/v1/builds/{unknown}").json()["cause"] == "The gizmo is odd"
    assert get(brokerless, "/api/v1/causes").json()["clusters"] == []


def test_a_cluster_is_named_from_its_page(brokerless: LiveApp, red: tuple[int, int]) -> None:
    _, unknown = red
    (cluster,) = get(brokerless, "/api/v1/causes").json()["clusters"]
    form = f"/do/cause-name/{cluster['fingerprint']}"

    def as_(scope: str) -> httpx2.Client:
        cookie = {COOKIE: sign_in(brokerless.context.db, "ann", [scope], seconds=3600)}
        return httpx2.Client(base_url=brokerless.url, cookies=cookie, timeout=60, verify=NO_TLS)

    with as_("read") as reader:
        assert form not in reader.get("/causes").text and form not in reader.get(f"/builds/{unknown}").text
        assert (
            reader.get(form).status_code
            == reader.post(form, data={"cause": "x", "why": "y"}).status_code
            == 403
        )
    with as_("builds:write") as writer:
        for page in ("/causes", f"/builds/{unknown}"):
            assert f'href="{form}"' in writer.get(page).text
        page = writer.get(form).text
        assert "odd" in page and "<b>odd" not in page and "(1: cri-o1.35 on f" in page
        word = re.search(r'name="form_word" value="(\w{64})"', page)
        assert word
        body = {
            "cause": "The <i>gizmo</i> is odd",
            "why": "its source says so",
            "advice": "Take another gizmo",
        }
        body |= {"reference": "https://example.org/1", "fault": "infrastructure", "retry": "later"}
        assert writer.post(form, data=body).status_code == 403, "a form of another site has no word"
        signed = body | {"form_word": word[1]}
        for wrong in ({"cause": ""}, {"why": "a\nb"}, {"fault": "nobody"}, {"reference": "javascript:1"}):
            assert writer.post(form, data=signed | wrong).status_code in (409, 422), wrong
        assert writer.post(form, data=signed).headers["location"] == "/causes"
        assert "named already, by ann" in writer.post(form, data=signed | {"cause": "Other"}).text
        assert writer.get(form).status_code == 404
        text = writer.get("/causes").text
        assert "The &lt;i&gt;gizmo&lt;/i&gt; is odd" in text and "Named by ann" in text
    (rule,) = get(brokerless, "/api/v1/causes").json()["named"]
    assert (rule["fault"], rule["retry"], rule["advice"]) == ("infrastructure", "later", "Take another gizmo")
    entries = [e for e in get(brokerless, "/api/v1/audit").json()["items"] if e["action"] == "cause.name"]
    assert [(e["actor"], e["subject"]) for e in entries] == [("ann", f"cluster {cluster['fingerprint']}")]
