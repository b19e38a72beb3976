"""Dist-git by pull request: real git, the real ogr against the sandbox's forge, a maintainer who merges with git."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sandbox.forge.dist_git import run_git
from sandbox.testing import Farm
from service.builds.commands import request_build, request_cancel, resume_build
from service.distgit.changes import resolve_conflict
from service.domain.distgit import ForgeKind, Resolution
from service.releases.reconcile import reconcile_family
from service.settings import Settings
from service.store.schema import PackageBuild
from tests.flow.distgit.pull_requests import PullHouse
from tests.flow.distgit.service import BRANCH, PACKAGE, SPEC
from tests.web.live import serving

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def make_house(farm: Farm, make_settings: Callable[..., Settings]) -> Iterator[Callable[..., PullHouse]]:
    """Houses whose package has been granted; keyword arguments are settings."""
    made: list[PullHouse] = []

    def make(url: str, kind: ForgeKind = ForgeKind.PAGURE, **changes: Any) -> PullHouse:
        house = PullHouse(farm, make_settings, url, kind, **changes)
        house.grants.grant(PACKAGE, BRANCH)
        made.append(house)
        return house

    yield make
    for house in made:
        house.close()


@pytest.fixture
def house(make_house: Callable[..., PullHouse], sqlite_url: str) -> PullHouse:
    return make_house(sqlite_url)


def ended(builds: list[PackageBuild]) -> bool:
    return builds[-1].ended_at is not None


@pytest.mark.parametrize(
    ("database", "kind", "ways"),
    [
        ("sqlite_url", ForgeKind.PAGURE, ("merge",)),
        ("postgres_url", ForgeKind.FORGEJO, ("squash",)),
    ],
)
def test_a_release_is_proposed_and_what_was_merged_is_built(
    make_house: Callable[..., PullHouse],
    request: pytest.FixtureRequest,
    log_lines: io.StringIO,
    database: str,
    kind: ForgeKind,
    ways: tuple[str, ...],
) -> None:
    house = make_house(request.getfixturevalue(database), kind)
    for number, way in enumerate(ways, 1):
        build = house.propose(f"v1.35.{number}")
        pull = house.pulls()[-1]
        change = house.changes()[-1]
        assert (pull["state"], pull["user"], pull["head"]) == ("open", "packbot", change.commit_id)
        assert pull["branch_from"] == f"cryopack-{change.change_key}"
        assert pull["title"] == f"Update {PACKAGE} to 1.35.{number} on f44"
        for part in (f"releases/tag/v1.35.{number}", f"/builds/{build.id}", f" {SPEC} ", "insertion"):
            assert part in pull["text"]
        assert len(house.scm_builds()) == number - 1
        head = house.farm.forge.merge(PACKAGE, number, way, delete=True)
        built = house.until(ended)
        assert built.state == "succeeded", built.reason
        assert house.scm_builds()[-1].endswith(f"#{head}")
        assert house.changes()[-1].landed_commit == head
        assert house.changes()[-1].pull_state == "merged"
    assert all(watch.ended_at for watch in house.watches())
    assert [pull["comments"] for pull in house.pulls()] == [[]] * len(ways)
    assert house.farm.forge.token not in log_lines.getvalue()
    with serving(house.settings.database()) as app:
        for page in (f"/builds/{built.id}", f"/releases/cri-o/1.35.{len(ways)}"):
            html = app.get(page).text
            assert f">pull request #{len(ways)}</a>" in html and "merged" in html
        shown = app.get(f"/api/v1/builds/{built.id}").json()["dist_git"]
        assert (shown["pull_number"], shown["pull_state"]) == (len(ways), "merged")


def test_a_closed_pull_request_ends_the_build_until_somebody_asks_again(house: PullHouse) -> None:
    first = house.propose("v1.35.1")
    house.farm.forge.close(PACKAGE, 1)
    build = house.until(ended)
    assert build.state == "canceled"
    assert "was closed by maintainer without a merge" in build.reason
    assert f"cryopack build retry {first.id}" in build.reason
    # Planning again must not propose at once what a maintainer has just refused.
    families = house.context.catalog.families
    reconcile_family(house.context.db, house.context.catalog, families["cri-o"], None)
    assert len(house.builds()) == 1
    request_build(house.context.db, house.context.catalog, build.id, by="me")
    again = house.until(lambda builds: builds[-1].state == "held")
    assert again.attempt == 2 and "pull request #2" in again.reason
    assert [pull["state"] for pull in house.pulls()] == ["closed", "open"]
    request_cancel(house.context.db, again.id, by="me")
    house.settle()
    (_, pull) = house.pulls()
    assert pull["state"] == "closed" and pull["closed_by"] == "packbot"
    (comment,) = pull["comments"]
    assert comment.startswith("Closed, since [build 2](") and "canceled by me" in comment


def test_one_that_was_merged_by_hand_and_closed_is_built(house: PullHouse) -> None:
    house.propose("v1.35.1")
    path, fork = house.grants.path(PACKAGE), house.grants.fork_path("packbot", PACKAGE)
    run_git("-C", str(path), "fetch", "--quiet", str(fork), house.pulls()[0]["branch_from"])
    run_git("-C", str(path), "update-ref", f"refs/heads/{BRANCH}", "FETCH_HEAD")
    house.farm.forge.close(PACKAGE, 1)
    build = house.until(ended)
    assert build.state == "succeeded", build.reason


def test_a_newer_patch_supersedes_a_proposal(house: PullHouse) -> None:
    house.propose("v1.35.1")
    house.propose("v1.35.2")
    house.run(until=lambda builds: house.pulls()[0]["state"] == "closed")
    assert [build.state for build in house.builds()] == ["superseded", "held"]
    assert house.changes()[0].pull_state == "closed"
    (comment,) = house.pulls()[0]["comments"]
    assert "is superseded: v1.35.2 is newer than 1.35.1" in comment
    # A maintainer may be quicker than we are: what was merged of the older one is no edit by hand.
    house.announce("v1.35.3")
    house.process_inbox()
    house.farm.forge.merge(PACKAGE, 2, "squash")
    build = house.until(lambda builds: builds[-1].state == "held")
    assert build.reason.startswith("waits for the merge of pull request #3"), build.reason
    house.run(until=lambda builds: bool(house.changes()[1].landed_commit))
    assert house.changes()[2].conflict == ""
    house.farm.forge.merge(PACKAGE, 3, "rebase")
    assert house.until(ended).state == "succeeded"
    assert len(house.scm_builds()) == 1


def moved(house: PullHouse, message: str, edits: dict[str, Any]) -> None:
    """A maintainer edits the branch; run until the build has looked at that."""
    head = house.grants.edit(PACKAGE, BRANCH, message, edits)
    house.run(until=lambda builds: builds[-1].state == "held" and house.changes()[-1].pull_base == head)


def test_a_proposal_follows_dist_git_but_never_overwrites_a_maintainer(house: PullHouse) -> None:
    house.propose("v1.35.1")
    moved(house, "Meanwhile", {"README": "more\n"})
    fork = house.grants.fork_path("packbot", PACKAGE)
    branch = f"cryopack-{house.changes()[0].change_key}"
    assert run_git("-C", str(fork), "log", "--format=%s", branch).splitlines() == [
        "Update to 1.35.1", "Meanwhile", "Added the README",
    ]  # fmt: skip
    assert [pull["head"] for pull in house.pulls()] == [house.changes()[0].commit_id]
    theirs = house.grants.edit(
        PACKAGE, branch, "Better", {SPEC: lambda text: text + "# a maintainer's remark\n"}, user="packbot"
    )
    moved(house, "Meanwhile again", {"README": "still more\n"})
    build = house.builds()[-1]
    assert "somebody else has pushed to its branch, which is left as it is" in build.reason
    assert house.pulls()[0]["head"] == theirs
    house.farm.forge.merge(PACKAGE, 1)
    assert house.until(ended).state == "succeeded"
    assert "# a maintainer's remark" in house.grants.read(PACKAGE, BRANCH, SPEC)


def test_a_conflict_with_a_proposal_is_settled_once(house: PullHouse) -> None:
    house.propose("v1.35.1")
    moved(house, "Import by hand", {SPEC: f"Name: {PACKAGE}\nVersion: 1.35.0\n"})
    build = house.builds()[-1]
    assert "nothing was overwritten" in build.reason and "Version: 1.35.0" in house.changes()[-1].conflict
    (comment,) = house.pulls()[0]["comments"]
    assert "changes the same lines" in comment and f"/builds/{build.id}" in comment
    resolve_conflict(house.context.db, house.context.catalog, build.id, Resolution.GENERATED, by="me")
    house.until(lambda builds: builds[-1].reason.startswith("waits for the merge"))
    # What was settled is in the proposal, and is not asked for again when something else changes.
    moved(house, "Meanwhile", {"README": "more\n"})
    assert house.builds()[-1].reason.startswith("waits for the merge")
    house.farm.forge.merge(PACKAGE, 1, "fast-forward")
    assert house.until(ended).state == "succeeded"
    assert "Version:        1.35.1\n" in house.grants.read(PACKAGE, BRANCH, SPEC)
    assert house.grants.log(PACKAGE, BRANCH)[:2] == ["Update to 1.35.1", "Meanwhile"]


def test_a_merged_proposal_that_makes_another_version_is_not_built(house: PullHouse) -> None:
    house.propose("v1.35.1")
    branch = f"cryopack-{house.changes()[0].change_key}"
    edits = {SPEC: lambda text: text.replace("Version:        1.35.1\n", "Version:        1.35.7\n")}
    house.grants.edit(PACKAGE, branch, "Rather this", edits, user="packbot")
    house.farm.forge.merge(PACKAGE, 1)
    build = house.until(ended)
    assert build.state == "errored" and "makes version 1.35.7 by now, and 1.35.1 was planned" in build.reason
    assert house.scm_builds() == []


def test_one_pull_request_whatever_becomes_of_the_request(house: PullHouse) -> None:
    path = "/pagure/*/pull-request/new"
    house.farm.fault("answer_lost", path, method="POST")
    assert "pull request #1 " in house.propose("v1.35.1").reason
    # Not handled at all: asked again, but not before the first request could no longer arrive.
    house.farm.fault("dropped", path, method="POST")
    assert "pull request #2 " in house.propose("v1.35.2").reason
    # Handled after we have given up waiting for it: two requests, and the second pull request is closed.
    house.farm.fault("answer", path, method="POST", status=503, json={})
    assert "pull request #3 " in house.propose("v1.35.3").reason
    twin = house.farm.forge.open_another(PACKAGE, 3)
    house.run(until=lambda builds: house.pulls()[-1]["state"] == "closed")
    assert house.pulls()[-1]["comments"] == ["This is the same as #3, which counts."]
    assert [pull["number"] for pull in house.pulls()] == [1, 2, 3, twin]
    assert [pull["state"] for pull in house.pulls()] == ["closed", "closed", "open", "closed"]
    assert [build.tries for build in house.builds()] == [0, 0, 0]


def test_trouble_at_the_forge_waits_or_asks_a_person(house: PullHouse) -> None:
    fault = house.farm.fault("answer", "/pagure/*", status=503, json={}, times=None)
    house.announce("v1.35.1")
    house.process_inbox()
    waiting = house.until(lambda builds: builds[-1].reason.startswith("forge: "))
    assert waiting.state == "preparing" and "503" in waiting.reason and waiting.tries == 0
    house.farm.forge.account(expired=True)
    house.farm.clear_faults(fault)
    build = house.until(lambda builds: builds[-1].state == "held")
    assert "does not accept our token" in build.reason and build.reason.endswith(
        "put that right and resume the build"
    )
    assert house.farm.forge.token not in build.reason
    house.farm.forge.account()
    resume_build(house.context.db, house.context.catalog, build.id, by="me")
    assert "pull request #1 " in house.until(lambda builds: builds[-1].state == "held").reason
    # While it waits, an outage costs nothing, and the merge is seen after it.
    fault = house.farm.offline()
    house.run(until=lambda builds: "not to be reached" in house.watches()[-1].outcome)
    build = house.builds()[-1]
    assert build.state == "held" and house.watches()[-1].tries == 0
    assert "; it cannot be looked at now: forge: " in build.reason
    house.farm.clear_faults(fault)
    assert house.until(lambda builds: "looked at" not in builds[-1].reason).state == "held"
    house.farm.forge.merge(PACKAGE, 1)
    assert house.until(ended).state == "succeeded"


def test_without_a_forge_or_a_token_a_person_is_told(
    farm: Farm, make_settings: Callable[..., Settings], sqlite_url: str
) -> None:
    house = PullHouse(farm, make_settings, sqlite_url, forge_token="")
    house.grants.grant(PACKAGE, BRANCH)
    build = house.release("v1.35.1")
    house.close()
    assert build.state == "held" and "set CRYOPACK_FORGE_TOKEN" in build.reason
    assert house.grants.log(PACKAGE, BRANCH) == ["Added the README"]
