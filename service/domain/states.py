"""The states of deliveries, releases, builds, chroots and side tags, and the legal moves between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, TypeVar

from service.domain.errors import IllegalMove

S = TypeVar("S", bound=StrEnum)


class DeliveryState(StrEnum):
    """What became of one webhook delivery."""

    RECEIVED = "received"
    PROCESSED = "processed"
    IGNORED = "ignored"
    ERRORED = "errored"


class ReleaseState(StrEnum):
    """What we decided about one upstream release."""

    KNOWN = "known"
    PLANNED = "planned"
    UNSUPPORTED = "unsupported"
    WITHDRAWN = "withdrawn"


class BuildState(StrEnum):
    """Where one package build stands. ``failed`` is the package's fault, ``errored`` is not."""

    PENDING = "pending"
    PREPARING = "preparing"
    SUBMITTING = "submitting"
    RUNNING = "running"
    HELD = "held"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    ERRORED = "errored"
    SUPERSEDED = "superseded"


class ChrootState(StrEnum):
    """The state of one chroot of a build."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    SKIPPED = "skipped"


class SideTagState(StrEnum):
    """The state of one side tag; see ``service.domain.side_tags``."""

    WANTED = "wanted"
    CREATING = "creating"
    OPEN = "open"
    HELD = "held"
    GIVEN_UP = "given-up"
    REMOVING = "removing"
    REMOVED = "removed"


class Soundness(StrEnum):
    """Whether a succeeded build was proved to be fit for use."""

    UNKNOWN = "unknown"
    SOUND = "sound"
    DEGRADED = "degraded"


_B, _C, _D, _R = BuildState, ChrootState, DeliveryState, ReleaseState

LIVE_BUILD = frozenset({_B.PENDING, _B.PREPARING, _B.SUBMITTING, _B.RUNNING, _B.HELD})
ENDED_BUILD = frozenset(BuildState) - LIVE_BUILD
ENDED_CHROOT = frozenset({_C.SUCCEEDED, _C.FAILED, _C.CANCELED, _C.SKIPPED})

_ANY_LIVE_TO = frozenset({_B.CANCELED, _B.ERRORED, _B.HELD})

BUILD_MOVES: Mapping[BuildState, frozenset[BuildState]] = {
    _B.PENDING: _ANY_LIVE_TO | {_B.PREPARING, _B.SUPERSEDED},
    _B.PREPARING: _ANY_LIVE_TO | {_B.SUBMITTING, _B.FAILED},
    _B.SUBMITTING: _ANY_LIVE_TO | {_B.RUNNING, _B.FAILED},
    _B.RUNNING: _ANY_LIVE_TO | {_B.SUCCEEDED, _B.FAILED},
    # A build that was submitted before it was held goes back to the search for that submission, so that it is not
    # submitted a second time.
    _B.HELD: frozenset({_B.PENDING, _B.SUBMITTING, _B.CANCELED, _B.ERRORED, _B.SUPERSEDED}),
    **{state: frozenset() for state in ENDED_BUILD},
}

CHROOT_MOVES: Mapping[ChrootState, frozenset[ChrootState]] = {
    _C.PENDING: frozenset({_C.RUNNING}) | ENDED_CHROOT,
    _C.RUNNING: ENDED_CHROOT,
    **{state: frozenset() for state in ENDED_CHROOT},
}

DELIVERY_MOVES: Mapping[DeliveryState, frozenset[DeliveryState]] = {
    _D.RECEIVED: frozenset({_D.PROCESSED, _D.IGNORED, _D.ERRORED}),
    _D.PROCESSED: frozenset(),
    _D.IGNORED: frozenset({_D.RECEIVED}),
    _D.ERRORED: frozenset({_D.RECEIVED}),
}

RELEASE_MOVES: Mapping[ReleaseState, frozenset[ReleaseState]] = {
    _R.KNOWN: frozenset({_R.PLANNED, _R.UNSUPPORTED, _R.WITHDRAWN}),
    # The catalogue may change, and upstream may publish again what it had taken back.
    _R.PLANNED: frozenset({_R.WITHDRAWN, _R.UNSUPPORTED}),
    _R.UNSUPPORTED: frozenset({_R.PLANNED, _R.WITHDRAWN}),
    _R.WITHDRAWN: frozenset({_R.KNOWN}),
}

_T = SideTagState
SIDE_TAG_MOVES: Mapping[SideTagState, frozenset[SideTagState]] = {
    _T.WANTED: frozenset({_T.CREATING, _T.HELD, _T.GIVEN_UP}),
    # Left only after the hub's answer, or after a search whose result is certain.
    _T.CREATING: frozenset({_T.OPEN, _T.WANTED, _T.HELD}),
    _T.OPEN: frozenset({_T.WANTED, _T.HELD, _T.GIVEN_UP, _T.REMOVING, _T.REMOVED}),
    _T.HELD: frozenset({_T.WANTED, _T.OPEN, _T.GIVEN_UP, _T.REMOVING, _T.REMOVED}),
    _T.GIVEN_UP: frozenset({_T.REMOVING, _T.REMOVED}),
    # Until the removal is carried out the tag is judged again: somebody may have put a build in.
    _T.REMOVING: frozenset({_T.OPEN, _T.HELD, _T.REMOVED}),
    _T.REMOVED: frozenset(),
}

# Members of different StrEnums compare equal when their text does, so the table is chosen by type.
_TABLES: Mapping[type[StrEnum], Mapping[Any, frozenset[Any]]] = {
    BuildState: BUILD_MOVES,
    ChrootState: CHROOT_MOVES,
    DeliveryState: DELIVERY_MOVES,
    ReleaseState: RELEASE_MOVES,
    SideTagState: SIDE_TAG_MOVES,
}


def legal(old: S, new: S) -> bool:
    """Whether the table of ``old``'s kind allows ``old`` to become ``new``."""
    return new in _TABLES[type(old)][old]


def move(old: S, new: S) -> S:
    """Return ``new`` if the move is legal. Raises IllegalMove, which names both states."""
    if not legal(old, new):
        raise IllegalMove(f"{type(old).__name__} cannot go from {old} to {new}")
    return new


def rollup(chroots: Iterable[ChrootState]) -> BuildState:
    """Return a build's state from the states of its chroots: running wins, then failed, then canceled.

    All skipped means the package was excluded everywhere, which is a failure. No chroots at all is running:
    COPR lists none until the source step has ended.
    """
    states = set(chroots)
    if not states or states & {ChrootState.PENDING, ChrootState.RUNNING}:
        return BuildState.RUNNING
    if ChrootState.FAILED in states or states == {ChrootState.SKIPPED}:
        return BuildState.FAILED
    if ChrootState.CANCELED in states:
        return BuildState.CANCELED
    return BuildState.SUCCEEDED
