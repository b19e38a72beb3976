"""The builds that a release becomes, and why it has none on other targets."""

from dataclasses import replace
from datetime import date

import pytest

from service.catalog import load
from service.domain.planning import plan, superseded_by
from service.domain.states import ReleaseState
from service.domain.versions import Version, parse_tag

CATALOG = load(None, copr_owner="packbot")
FAMILY = CATALOG.families["cri-o"]
TODAY = date(2026, 11, 23)


def decide(tag: str, *, today: date = TODAY, marked: bool = False):
    return plan(
        parse_tag(tag),
        family=FAMILY,
        targets=CATALOG.targets,
        branches=CATALOG.branches,
        today=today,
        marked_prerelease=marked,
    )


def test_the_issue_s_example_gives_cri_o_1_32_on_four_branches() -> None:
    decision = decide("v1.32.1")
    assert decision.state is ReleaseState.PLANNED
    assert [(b.package, b.target.branch.name) for b in decision.builds] == [
        ("cri-o1.32", "f43"), ("cri-o1.32", "f44"), ("cri-o1.32", "f45"), ("cri-o1.32", "rawhide"),
    ]  # fmt: skip
    assert {c for b in decision.builds for c in b.target.chroots} == {
        f"fedora-{word}-{arch}" for word in ("43", "44", "45", "rawhide") for arch in ("x86_64", "aarch64")
    }


@pytest.mark.parametrize("tag", ["v1.38.0", "v1.100.0"])
def test_an_unknown_newer_minor_is_built_and_unconfirmed(tag: str) -> None:
    decision = decide(tag)
    assert decision.state is ReleaseState.PLANNED
    policy = FAMILY.policy(parse_tag(tag).stream)
    assert policy is not None and not policy.confirmed


@pytest.mark.parametrize(
    ("tag", "why"),
    [
        ("v1.28.4", "starts with stream 1.29"),
        ("v1.30.14", "stream 1.30 is not built"),
        ("v1.36.0-rc.1", "pre-release"),
        ("v2.0.0-rc.1", "pre-release"),
        ("v2.0.0", "no stream 2.0"),
    ],
)
def test_what_is_not_built_says_why(tag: str, why: str) -> None:
    decision = decide(tag)
    assert decision.state is ReleaseState.UNSUPPORTED
    assert why in decision.reason and not decision.builds


def test_github_s_own_flag_makes_a_pre_release() -> None:
    assert "pre-release" in decide("v1.35.1", marked=True).reason


def test_an_end_of_life_stream_whose_policy_says_so_is_built() -> None:
    policy = FAMILY.policy(parse_tag("v1.32.1").stream)
    assert policy is not None and policy.is_eol(TODAY) and policy.build


def test_an_end_of_life_branch_gets_nothing_and_says_so() -> None:
    branches = {**CATALOG.branches, "f43": replace(CATALOG.branches["f43"], eol=date(2026, 12, 2))}

    def at(day: date):
        return plan(
            parse_tag("v1.35.6"), family=FAMILY, targets=CATALOG.targets, branches=branches, today=day
        )

    assert "f43-copr" in {b.target.id for b in at(date(2026, 12, 1)).builds}
    after = at(date(2026, 12, 2))
    assert "f43-copr" not in {b.target.id for b in after.builds}
    assert [(s.branch, s.reason) for s in after.skipped] == [
        ("f43", "branch f43 is end of life since 2026-12-02: no new builds")
    ]


def test_planning_twice_is_the_same_plan() -> None:
    assert decide("v1.35.6") == decide("v1.35.6")


def test_the_newest_newer_patch_of_the_same_stream_supersedes() -> None:
    others = [Version.parse(t) for t in ("1.32.0", "1.32.3", "1.32.2", "1.33.9")]
    assert superseded_by(parse_tag("v1.32.1"), others) == parse_tag("v1.32.3")
    assert superseded_by(parse_tag("v1.32.3"), others) is None
