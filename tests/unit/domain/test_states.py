"""The table of legal moves and the roll-up."""

import itertools

import pytest

from service.domain.errors import IllegalMove
from service.domain.states import (
    BUILD_MOVES,
    ENDED_BUILD,
    ENDED_CHROOT,
    LIVE_BUILD,
    BuildState,
    ChrootState,
    DeliveryState,
    ReleaseState,
    legal,
    move,
    rollup,
)

B, C = BuildState, ChrootState


def test_nothing_leaves_an_end() -> None:
    for ended, other in itertools.product(ENDED_BUILD, BuildState):
        assert not legal(ended, other)
    for ended, other in itertools.product(ENDED_CHROOT, ChrootState):
        assert not legal(ended, other)


def test_every_live_state_can_end_badly_and_be_held() -> None:
    for state in LIVE_BUILD:
        assert legal(state, B.CANCELED) and legal(state, B.ERRORED)
        assert state is B.HELD or legal(state, B.HELD)


def test_only_work_that_nobody_else_knows_of_is_superseded() -> None:
    assert {state for state in BuildState if legal(state, B.SUPERSEDED)} == {B.PENDING, B.HELD}


def test_the_way_ahead_is_the_only_way_ahead() -> None:
    way = [B.PENDING, B.PREPARING, B.SUBMITTING, B.RUNNING, B.SUCCEEDED]
    for one, following in itertools.pairwise(way):
        assert legal(one, following)
    for i, one in enumerate(way):
        for later in way[i + 2 :]:
            assert not legal(one, later), f"{one} must not jump to {later}"
    with pytest.raises(IllegalMove, match="succeeded to running"):
        move(B.SUCCEEDED, B.RUNNING)


def test_states_of_different_kinds_are_not_mixed_up() -> None:
    # 'pending' the build may become preparing; 'pending' the chroot has no such state at all.
    assert legal(B.PENDING, B.PREPARING)
    assert not legal(C.PENDING, B.PREPARING)  # type: ignore[arg-type]
    assert set(BUILD_MOVES) == set(BuildState)


def test_only_a_search_leads_back_into_a_submission() -> None:
    assert {state for state in BuildState if legal(state, B.SUBMITTING)} == {B.PREPARING, B.HELD}


def test_a_delivery_can_be_replayed_but_not_undone() -> None:
    d = DeliveryState
    assert legal(d.ERRORED, d.RECEIVED) and legal(d.IGNORED, d.RECEIVED)
    assert not any(legal(d.PROCESSED, other) for other in d)


def test_a_withdrawn_release_comes_back_only_as_known() -> None:
    r = ReleaseState
    assert [state for state in r if legal(r.WITHDRAWN, state)] == [r.KNOWN]


@pytest.mark.parametrize(
    ("chroots", "expected"),
    [
        ([], B.RUNNING),
        ([C.PENDING, C.FAILED], B.RUNNING),
        ([C.RUNNING, C.FAILED], B.RUNNING),
        ([C.SUCCEEDED, C.FAILED, C.CANCELED], B.FAILED),
        ([C.SUCCEEDED, C.CANCELED], B.CANCELED),
        ([C.SKIPPED, C.SKIPPED], B.FAILED),
        ([C.SUCCEEDED, C.SKIPPED], B.SUCCEEDED),
        ([C.SUCCEEDED], B.SUCCEEDED),
    ],
)
def test_rollup(chroots: list[ChrootState], expected: BuildState) -> None:
    assert rollup(chroots) is expected


def test_rollup_is_total_and_independent_of_order() -> None:
    for n in range(4):
        for combination in itertools.product(ChrootState, repeat=n):
            assert rollup(combination) is rollup(reversed(combination))
