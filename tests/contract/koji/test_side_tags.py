"""Tests side tags of Koji through the real client: made once, found after a doubt, read, removed; repositories."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.testing import Farm
from service.domain.reports import BuildRef, Fence, ScmCommit, SubmissionKey
from service.domain.side_tags import SYSTEMS, SideTagPolicy, adopt
from tests.contract.koji.bench import adapter, koji_target
from workers.buildsystems import (
    AdapterConfig,
    BuildSystem,
    BuildSystemUnavailable,
    NeedsPerson,
    SideTagged,
    SideTagVanished,
    SubmissionRefused,
    SubmissionUnknown,
    connect,
)
from workers.buildsystems.koji.adapter import Koji

pytestmark = pytest.mark.timeout(60)
BASE = "f44-candidate"
DOUBTS = ["answer_lost", "dropped", "truncated", "slow_answer", "unavailable", "html_200"]


@pytest.fixture(scope="module")
def module_farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    with Farm(tmp_path_factory.mktemp("farm"), publish="none", pace=0.02) as running:
        running.pause()
        yield running


@pytest.fixture
def farm(module_farm: Farm) -> Iterator[Farm]:
    module_farm.clear_faults()
    module_farm.koji.play("1.35.3")
    module_farm.koji.deny_side_tags("")
    module_farm.koji.hold_repos(False)
    yield module_farm
    module_farm.clear_faults()
    for tag in module_farm.koji.side_tags():
        if not tag["removed"]:
            module_farm.koji.remove_side_tag(tag["name"])


def live(farm: Farm) -> list[str]:
    return [tag["name"] for tag in farm.koji.side_tags() if not tag["removed"]]


def settle(system: SideTagged, fence: Fence) -> str:
    """What a worker does after a doubt: search, adopt or ask again."""
    known = fence["known"]
    assert isinstance(known, list)
    choice = adopt(system.find_side_tags(fence), known=known, taken=())
    return choice.name or system.make_side_tag(system.open_side_tag(BASE))


def test_the_adapters_that_have_side_tags_are_those_that_the_catalogue_lets_have_them(
    farm: Farm, tmp_path: Path
) -> None:
    copr = {"config_file": str(farm.copr_config)}
    systems: dict[str, BuildSystem] = {
        "copr": connect("copr", AdapterConfig(tmp_path, copr)),
        "koji": adapter(farm, tmp_path),
    }
    assert {name for name, one in systems.items() if isinstance(one, SideTagged)} == SYSTEMS


def test_a_side_tag_stands_beside_its_base_and_is_a_target_of_its_own(farm: Farm, system: Koji) -> None:
    fence = system.open_side_tag(BASE)
    assert fence["base_tag"] == "f44-build" and fence["known"] == []
    name = system.make_side_tag(fence)
    assert live(farm) == [name] and name.startswith("f44-build-side-")
    assert farm.koji.calls()[-1] == "logout"
    seen = system.look_at_side_tag(name, fence)
    assert (seen.exists, seen.ours, seen.builds) == (True, True, {})
    assert system.open_side_tag(BASE)["known"] == [name]
    system.remove_side_tag(name, fence)
    assert live(farm) == [] and not system.look_at_side_tag(name, fence).exists
    with pytest.raises(BuildSystemUnavailable, match="No such tag"):
        system.remove_side_tag(name, fence)


@pytest.mark.parametrize("kind", DOUBTS)
def test_a_request_in_doubt_makes_one_side_tag(farm: Farm, system: Koji, tmp_path: Path, kind: str) -> None:
    fence = system.open_side_tag(BASE)
    farm.koji.fault(kind, "createSideTag", seconds=2.5)
    with pytest.raises(SubmissionUnknown):
        system.make_side_tag(fence)
    # Another worker takes over.
    name = settle(adapter(farm, tmp_path), fence)
    assert live(farm) == [name]


def test_a_request_that_arrives_after_the_fence_makes_none(farm: Farm, system: Koji, tmp_path: Path) -> None:
    """That such a request arrives without the fence is shown for builds, in test_search.py."""
    fence = system.open_side_tag(BASE)
    farm.koji.fault("late_commit", "createSideTag", seconds=1.8)
    with pytest.raises(SubmissionUnknown):
        system.make_side_tag(fence)
    name = settle(adapter(farm, tmp_path), fence)
    time.sleep(1.0)
    assert live(farm) == [name]


def test_a_hub_before_135_is_asked_once_too(farm: Farm, system: Koji) -> None:
    farm.koji.play("1.34.3")
    fence = system.open_side_tag(BASE)
    farm.koji.fault("answer_lost", "createSideTag")
    with pytest.raises(SubmissionUnknown):
        system.make_side_tag(fence)
    assert live(farm) == [settle(system, fence)]


@pytest.mark.parametrize("method", ["login", "logout", "listSideTags"])
def test_a_search_that_breaks_anywhere_is_no_proof(farm: Farm, system: Koji, method: str) -> None:
    fence = system.open_side_tag(BASE)
    farm.koji.fault("unavailable", method, times=None)
    with pytest.raises(BuildSystemUnavailable):
        system.find_side_tags(fence)


def test_a_worker_that_was_fenced_makes_nothing(farm: Farm, system: Koji, tmp_path: Path) -> None:
    fence = system.open_side_tag(BASE)
    assert adapter(farm, tmp_path).find_side_tags(fence) == []
    with pytest.raises(SubmissionUnknown, match="is closed"):
        system.make_side_tag(fence)
    assert live(farm) == []


def test_other_accounts_and_other_bases_are_left_alone(farm: Farm, system: Koji, tmp_path: Path) -> None:
    farm.koji.user("other", password="other-secret")
    secret = tmp_path / "other"
    secret.write_text("other-secret")
    other = adapter(farm, tmp_path, user="other", password_file=str(secret))
    theirs = other.make_side_tag(other.open_side_tag(BASE))
    elsewhere = system.make_side_tag(system.open_side_tag("f45-candidate"))
    fence = system.open_side_tag(BASE)
    assert fence["known"] == [] and system.find_side_tags(fence) == []
    assert not system.look_at_side_tag(theirs, fence).ours
    assert not system.look_at_side_tag("f44-build", fence).ours
    with pytest.raises(NeedsPerson, match="not your sidetag"):
        system.remove_side_tag(theirs, fence)
    with pytest.raises(NeedsPerson, match="give the old account back"):
        other.remove_side_tag(elsewhere, fence)
    with pytest.raises(NeedsPerson, match="give the old account back"):
        other.find_side_tags(fence)
    assert set(live(farm)) == {theirs, elsewhere}


def test_what_the_hub_denies_needs_a_person(farm: Farm, system: Koji) -> None:
    farm.koji.deny_side_tags("too many side tags")
    with pytest.raises(NeedsPerson, match="too many side tags"):
        system.make_side_tag(system.open_side_tag(BASE))
    with pytest.raises(SubmissionRefused, match="no build target f39-candidate"):
        system.open_side_tag("f39-candidate")
    farm.koji.play("1.30.1")
    with pytest.raises(NeedsPerson, match=r"Koji 1\.30\.1; 1\.31 is the first"):
        system.open_side_tag(BASE)


def built(farm: Farm, system: Koji, name: str, package: str) -> BuildRef:
    """A build that was made in the side tag."""
    target: Any = koji_target(scratch=False)
    target = target.__class__(**{**vars(target), "side_tag": SideTagPolicy("all", ("cri-o",), name)})
    commit = ScmCommit(f"https://src.example/rpms/{package}", "1" * 40)
    farm.koji.source(f"git+{commit.url}#{commit.commit}", f"{package}-1-1.fc44")
    ref = system.submit(commit, target, SubmissionKey.fresh(1), system.open(target))
    farm.koji.step(int(ref.external_id), 40)
    return ref


@pytest.mark.parametrize("version", ["1.35.3", "1.34.3"])
def test_the_repository_must_hold_what_was_built_before(farm: Farm, system: Koji, version: str) -> None:
    farm.koji.play(version)
    fence = system.open_side_tag(BASE)
    name = system.make_side_tag(fence)
    assert system.missing_in_side_tag(name, ()) == ""
    farm.koji.hold_repos()
    ref = built(farm, system, name, f"pkg-{version}")
    assert system.poll([ref])[ref].ended == "succeeded"  # type: ignore[union-attr]
    (nvr,) = (system.look_at_side_tag(name, fence).builds or {}).keys()
    assert nvr == f"pkg-{version}-1-1.fc44"
    assert system.missing_in_side_tag(name, [ref]) == (
        f"waits until the repository of {name} holds the builds before it"
    )
    farm.koji.hold_repos(False)
    assert system.missing_in_side_tag(name, [ref]) == ""
    # One that is not in the tag any more is waited for, and the emptied tag is gone, as in Fedora.
    farm.koji.move(nvr, "f44-updates", name)
    with pytest.raises(SideTagVanished):
        system.missing_in_side_tag(name, [ref])
    assert system.poll([ref])[ref].ended == "succeeded"  # type: ignore[union-attr]


def test_a_build_in_a_side_tag_that_is_gone_is_not_refused_for_ever(farm: Farm, system: Koji) -> None:
    name = system.make_side_tag(system.open_side_tag(BASE))
    farm.koji.remove_side_tag(name)
    target = koji_target(scratch=False)
    inside = target.__class__(**{**vars(target), "side_tag": SideTagPolicy("all", ("cri-o",), name)})
    with pytest.raises(SideTagVanished, match=f"no side tag {name} any more"):
        system.open(inside)
