"""Side tags without a database: turns, what counts as pushed, the tag's next state, and adoption."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from service.domain.side_tags import (
    Adoption,
    Member,
    SideTagPolicy,
    TagSeen,
    adopt,
    built_before,
    failed_members,
    judge,
    pushed,
    waits_for,
)
from service.domain.states import ENDED_BUILD, SIDE_TAG_MOVES, BuildState, SideTagState, legal

B, T = BuildState, SideTagState
SET = SideTagPolicy("kubernetes", ("kubernetes", "cri-tools", "cri-o"))
NAME = "f44-build-side-7"


def member(number: int, family: str, state: BuildState, **changes: Any) -> Member:
    values: dict[str, Any] = {
        "package": f"{family}1.35", "version": "1.35.0", "order": ("1.35.0", number), "task": str(100 + number),
    }  # fmt: skip
    return Member(number, family, state=state, **(values | changes))


KUBE_GOOD = member(1, "kubernetes", B.SUCCEEDED)
TOOLS_GOOD = member(2, "cri-tools", B.SUCCEEDED)
CRIO_GOOD = member(3, "cri-o", B.SUCCEEDED)
GOOD = [KUBE_GOOD, TOOLS_GOOD, CRIO_GOOD]


def stable(*members: Member) -> list[Member]:
    return [member(one.build_id, one.family, one.state, shipped="stable") for one in members]


@pytest.mark.parametrize("state", [state for state in B if state not in ENDED_BUILD])
def test_whatever_is_under_way_comes_first(state: BuildState) -> None:
    before = member(1, "kubernetes", state, reason="a conflict", joined=False)
    why = waits_for(SET, "cri-o", [before])
    assert why.startswith("its turn comes after kubernetes1.35 1.35.0 (build 1)")
    assert ("held: a conflict" in why) == (state is B.HELD)
    # Nobody waits for himself, nor for who comes after him.
    assert waits_for(SET, "kubernetes", [before, member(2, "cri-o", state)]) == ""


def test_a_family_without_a_build_blocks_nobody() -> None:
    assert waits_for(SET, "cri-o", [member(2, "cri-o", B.PREPARING)]) == ""
    assert waits_for(SET, "cri-o", [KUBE_GOOD, member(3, "cri-o", B.PREPARING)]) == ""
    superseded = member(1, "kubernetes", B.SUPERSEDED)
    assert waits_for(SET, "cri-o", [superseded]) == ""


@pytest.mark.parametrize("state", [B.FAILED, B.ERRORED, B.CANCELED])
def test_what_ended_badly_is_waited_for_until_it_is_retried_or_waived(state: BuildState) -> None:
    bad = member(1, "kubernetes", state, reason="does not compile")
    why = waits_for(SET, "cri-tools", [bad])
    assert "does not compile" in why and "Retry that build, or let the set go on without it" in why
    assert failed_members(SET, [bad, TOOLS_GOOD]) == (bad,)
    assert waits_for(SET, "cri-tools", [bad], waived=[1]) == ""
    retried = member(4, "kubernetes", B.RUNNING)
    assert "build 4" in waits_for(SET, "cri-tools", [bad, retried], waived=[1])
    again = member(4, "kubernetes", state)
    assert "build 4" in waits_for(SET, "cri-tools", [bad, again], waived=[1])
    assert waits_for(SET, "cri-tools", [bad, member(4, "kubernetes", B.SUCCEEDED)]) == ""
    # One that never joined this side tag is another one's affair.
    assert waits_for(SET, "cri-tools", [member(1, "kubernetes", state, joined=False)]) == ""


def test_the_repository_must_hold_the_newest_of_each_earlier_family() -> None:
    older = member(1, "kubernetes", B.SUCCEEDED)
    newer = member(5, "kubernetes", B.SUCCEEDED)
    assert built_before(SET, "cri-o", [older, newer, TOOLS_GOOD, CRIO_GOOD]) == (TOOLS_GOOD, newer)
    assert built_before(SET, "kubernetes", GOOD) == ()
    # Bodhi takes what it pushes to stable out of the side tag: who looked for it there would wait for ever.
    assert built_before(SET, "cri-o", [*stable(KUBE_GOOD), TOOLS_GOOD]) == (TOOLS_GOOD,)
    # What failed later and was waived is not waited for; what is there still is.
    assert built_before(SET, "cri-tools", [older, member(5, "kubernetes", B.FAILED)]) == (older,)


def test_pushed_means_that_all_that_counts_is_stable() -> None:
    assert not pushed([])
    assert not pushed([member(1, "kubernetes", B.FAILED)])
    for shipped in ("", "candidate", "testing"):
        assert not pushed([*stable(KUBE_GOOD), member(2, "cri-tools", B.SUCCEEDED, shipped=shipped)])
    assert pushed(stable(*GOOD))
    # An older success that was built again need not be shipped, and a failure beside it does not hold it up.
    old = member(1, "kubernetes", B.SUCCEEDED)
    assert pushed([old, *stable(member(5, "kubernetes", B.SUCCEEDED)), member(6, "cri-o", B.FAILED)])
    assert not pushed([member(1, "kubernetes", B.SUCCEEDED, shipped="stable", joined=False)])


def holding(*members: Member) -> TagSeen:
    return TagSeen(True, True, {f"{one.package}-1.35.0-1.fc44": one.task for one in members})


def test_a_tag_is_removed_only_when_its_update_was_pushed() -> None:
    assert judge(NAME, holding(*GOOD), GOOD).state is T.OPEN
    assert "not in stable yet" in judge(NAME, holding(*GOOD), GOOD).reason
    assert judge(NAME, holding(*GOOD), stable(*GOOD)).state is T.REMOVING
    assert judge(NAME, holding(), []).state is T.OPEN
    under_way = member(9, "cri-o", B.PREPARING)
    assert judge(NAME, holding(*GOOD), [*stable(*GOOD), under_way]).state is T.OPEN
    # A planned build that has not joined does not hold it up.
    planned = member(9, "cri-o", B.PENDING, joined=False)
    assert judge(NAME, holding(*GOOD), [*stable(*GOOD), planned]).state is T.REMOVING


def test_what_is_not_of_the_set_is_never_removed_with_it() -> None:
    stranger = member(50, "runc", B.SUCCEEDED)
    found = judge(NAME, holding(*GOOD, stranger), stable(*GOOD))
    assert found.state is T.OPEN and "runc1.35-1.35.0-1.fc44" in found.reason
    assert judge(NAME, TagSeen(True, ours=False), stable(*GOOD)).state is T.HELD


def test_a_tag_that_somebody_removed() -> None:
    gone = TagSeen(False)
    assert judge(NAME, gone, stable(*GOOD)).state is T.REMOVED
    assert judge(NAME, gone, []).state is T.WANTED
    assert judge(NAME, gone, [member(1, "kubernetes", B.FAILED)]).state is T.WANTED
    found = judge(NAME, gone, [*stable(KUBE_GOOD), TOOLS_GOOD])
    assert found.state is T.HELD and "cri-tools1.35 1.35.0 (build 2)" in found.reason
    assert "give the side tag up" in found.reason
    # What runs in it is waited for first, whatever comes of it.
    running = member(4, "kubernetes", B.RUNNING)
    assert judge(NAME, gone, [running]).state is T.OPEN
    assert judge(NAME, gone, [member(4, "kubernetes", B.PREPARING, task="")]).state is T.WANTED


@pytest.mark.parametrize("seen", [TagSeen(False), TagSeen(True, False), holding(*GOOD)])
def test_nothing_but_pushed_ever_leads_to_a_removal(seen: TagSeen) -> None:
    shipped = ("", "candidate", "testing", "stable")
    for state, way, other in itertools.product(B, shipped, shipped):
        members = [
            member(1, "kubernetes", state, shipped=way),
            member(2, "cri-o", B.SUCCEEDED, shipped=other),
        ]
        if judge(NAME, seen, members).state in (T.REMOVING, T.REMOVED):
            assert pushed(members)


def test_adoption_takes_what_was_not_there_before_and_nobody_has() -> None:
    found = [(9, "side-9"), (12, "side-12"), (10, "side-10")]
    assert adopt(found, known=[], taken=[]) == Adoption("side-9", ("side-10", "side-12"))
    assert adopt(found, known=["side-9"], taken=["side-10"]) == Adoption("side-12")
    assert adopt(found, known=["side-9", "side-10", "side-12"], taken=[]) == Adoption("")
    assert adopt([], known=["side-9"], taken=[]) == Adoption("")


def test_a_policy_survives_being_stored() -> None:
    assert SideTagPolicy.from_json(SET.named(NAME).as_json()) == SET.named(NAME)
    assert SideTagPolicy.from_json(None) is None


def test_the_moves_of_a_side_tag() -> None:
    assert set(SIDE_TAG_MOVES) == set(T)
    assert not any(legal(T.REMOVED, state) for state in T)
    # It is asked for only from where it certainly is not, and removed only after it was decided.
    assert {state for state in T if legal(state, T.CREATING)} == {T.WANTED}
    assert {state for state in T if legal(state, T.REMOVING)} == {T.OPEN, T.HELD, T.GIVEN_UP}
    assert all(legal(state, T.GIVEN_UP) for state in (T.WANTED, T.OPEN, T.HELD))
