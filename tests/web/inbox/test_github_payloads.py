"""GitHub's own release payloads, signed and sent: each action is processed or ignored as decided."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from service.builds.claims import claim_delivery, find_due
from service.catalog import Catalog
from service.releases.intake import process_delivery
from service.store.session import Database
from tests.web.live import LiveApp

FOLDER = Path(__file__).parents[2] / "payloads" / "github"


def real(action: str, **changes: Any) -> bytes:
    """The payload of an action as GitHub sent it; ``changes`` go into its release."""
    document = json.loads((FOLDER / f"{action}.json").read_bytes())
    document["release"] |= changes
    return json.dumps(document).encode()


def send(live: LiveApp, catalog: Catalog, body: bytes, guid: str) -> dict[str, Any]:
    """Deliver, process as a worker would, and read what the API says became of it."""
    assert live.deliver(body, x_github_delivery=guid).status_code == 202
    db: Database = live.context.db
    for delivery in find_due(db).deliveries:
        token = claim_delivery(db, delivery, lease_seconds=60, max_tries=3)
        assert token
        process_delivery(db, delivery, token, catalog)
    answer: dict[str, Any] = live.get(f"/api/v1/deliveries/{guid}").json()
    return answer


@pytest.mark.parametrize("action", ["published", "released", "edited"])
def test_a_release_is_planned(live: LiveApp, catalog: Catalog, action: str) -> None:
    told = send(live, catalog, real(action), "one")
    assert (told["state"], told["action"], told["release"]) == ("processed", action, "cri-o/1.32.1")
    release = live.get("/api/v1/releases/cri-o/v1.32.1").json()
    assert (release["state"], release["package"], release["delivery"]) == ("planned", "cri-o1.32", "one")
    assert {build["target"] for build in release["attempts"]} == {target.id for target in catalog.targets}
    assert release["published_at"] == "2019-05-15T15:20:53Z"


def test_three_actions_of_one_release_are_one_release(live: LiveApp, catalog: Catalog) -> None:
    for action in ("created", "published", "released"):
        send(live, catalog, real(action), action)
    builds = live.get("/api/v1/builds").json()["items"]
    assert len(builds) == len(catalog.targets)


def test_a_prerelease_is_not_built_and_says_why(live: LiveApp, catalog: Catalog) -> None:
    told = send(live, catalog, real("prereleased", tag_name="v1.33.0-rc.1"), "rc")
    assert "pre-release" in told["reason"]
    page = live.get("/releases/cri-o/1.33.0-rc.1").text
    assert "Nothing is built" in page and "pre-release" in page


def test_created_and_drafts_wait_for_publication(live: LiveApp, catalog: Catalog) -> None:
    assert send(live, catalog, real("created"), "created")["state"] == "ignored"
    draft = send(live, catalog, real("published", draft=True), "draft")
    assert (draft["state"], "draft" in draft["reason"]) == ("ignored", True)


def test_deleted_marks_and_keeps_the_builds(live: LiveApp, catalog: Catalog) -> None:
    unknown = send(live, catalog, real("deleted"), "too-early")
    assert unknown["state"] == "ignored"
    send(live, catalog, real("published"), "published")
    assert send(live, catalog, real("deleted"), "deleted")["state"] == "processed"
    release = live.get("/api/v1/releases/cri-o/1.32.1").json()
    assert release["state"] == "withdrawn" and release["reason"]
    assert len(release["attempts"]) == len(catalog.targets)
    assert "withdrawn" in live.get("/releases/cri-o/1.32.1").text


def test_the_real_ping(live: LiveApp) -> None:
    body = (FOLDER / "ping.json").read_bytes()
    assert live.deliver(body, x_github_event="ping").status_code == 200
