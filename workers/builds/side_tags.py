"""Side tags at the build system: made once, looked at, removed; and the turn of a build in one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog

from service.builds.claims import BuildWork, back_off, end_build
from service.contacts import record_contact
from service.domain.side_tags import Adoption, TagSeen, adopt
from service.domain.states import BuildState, SideTagState
from service.sidetags.lifecycle import (
    SideTagWork,
    begin_making,
    claim_side_tag,
    hold_side_tag,
    postpone_side_tag,
    record_look,
    record_made,
    record_not_made,
    record_removed,
    taken_names,
)
from service.sidetags.turns import Turn, Waiting, hasten_side_tag, is_prepared, join, record_turn, turn_of
from workers.buildsystems import (
    BuildSystemError,
    BuildSystemUnavailable,
    NeedsPerson,
    SideTagged,
    SideTagVanished,
    SubmissionRefused,
    SubmissionUnknown,
)
from workers.context import Context

log = structlog.get_logger()


def advance_side_tag(ctx: Context, side_tag_id: int) -> None:
    """Take one side tag as far as it goes now. Never raises for trouble of the outside: that becomes a reason."""
    work = claim_side_tag(ctx.db, side_tag_id, lease_seconds=ctx.settings.step_lease_seconds)
    if work is None:
        return
    try:
        STEPS[work.state](ctx, work, side_tagged(ctx, work.system))
    except BuildSystemError as error:
        record_contact(ctx.db, work.system, str(error))
        _later(ctx, work, f"{work.system}: {error}", getattr(error, "retry_after", 0.0))
    except Exception as error:
        log.exception("side tag failed", side_tag=work.id, state=str(work.state))
        said = str(error).split("\n", 1)[0][:300]
        _later(ctx, work, f"internal trouble while {work.state}: {type(error).__name__}: {said}")


def side_tagged(ctx: Context, name: str) -> SideTagged:
    """The build system as one that has side tags. Raises NeedsPerson where it has none."""
    system = ctx.system(name)
    if not isinstance(system, SideTagged):
        raise NeedsPerson(f"{name} has no side tags; take side_tag from its targets")
    return system


def make(ctx: Context, work: SideTagWork, system: SideTagged) -> None:
    """Ask for a side tag: the intent first, then the act."""
    try:
        fence = system.open_side_tag(work.base_target)
    except (NeedsPerson, SubmissionRefused) as error:
        hold_side_tag(ctx.db, work, f"{work.system}: {error}; then let it go on")
        return
    record_contact(ctx.db, work.system)
    settings = ctx.settings
    creating = begin_making(
        ctx.db, work, fence, lease_seconds=settings.step_lease_seconds, retry_seconds=settings.retry_seconds
    )
    if creating is None:
        return
    try:
        name = system.make_side_tag(fence)
    except (SubmissionUnknown, BuildSystemUnavailable) as error:
        record_contact(ctx.db, work.system, str(error))
        reason = f"{work.system}: {error}; looking for the side tag before asking again"
        postpone_side_tag(ctx.db, creating, reason, delay_seconds=settings.retry_seconds / 3)
        return
    except (NeedsPerson, SubmissionRefused) as error:
        hold_side_tag(ctx.db, creating, f"{work.system} denies a side tag: {error}; then let it go on")
        return
    record_made(ctx.db, creating, Adoption(name), adopted=False, look_seconds=_pace(ctx))


def look_again(ctx: Context, work: SideTagWork, system: SideTagged) -> None:
    """Somebody may have asked for it before us: search until the answer is certain, and take what is found."""
    found = system.find_side_tags(work.fence)
    record_contact(ctx.db, work.system)
    known = [str(name) for name in work.fence.get("known") or ()]
    choice = adopt(found, known=known, taken=taken_names(ctx.db, work))
    if choice.name:
        record_made(ctx.db, work, choice, adopted=True, look_seconds=_pace(ctx))
    else:
        record_not_made(
            ctx.db, work, "a certain search found no side tag of an earlier request; asking again"
        )


def look(ctx: Context, work: SideTagWork, system: SideTagged) -> None:
    """See what the tag holds; remove it where that was intended and still holds."""
    seen = system.look_at_side_tag(work.name, work.fence) if work.name else TagSeen(exists=False)
    record_contact(ctx.db, work.system)
    if record_look(ctx.db, work, seen, look_seconds=_pace(ctx)):
        system.remove_side_tag(work.name, work.fence)
        record_removed(ctx.db, work)


STEPS: Mapping[SideTagState, Callable[[Context, SideTagWork, SideTagged], None]] = {
    SideTagState.WANTED: make,
    SideTagState.CREATING: look_again,
    SideTagState.OPEN: look,
    SideTagState.HELD: look,
    SideTagState.GIVEN_UP: look,
    SideTagState.REMOVING: look,
}


def before_preparation(ctx: Context, work: BuildWork) -> bool:
    """Let a build of a set join its side tag. False: it was prepared before and still waits for its turn.

    So whoever waits for hours does not fetch and render again each time.
    """
    if work.target.side_tag is None:
        return True
    base = side_tagged(ctx, work.target.system).side_tag_base(work.target)
    if not is_prepared(ctx.db, work.id):
        return join(ctx.db, work, base_target=base)
    return _ready(ctx, work) is not None


def take_turn(ctx: Context, work: BuildWork) -> BuildWork | None:
    """The prepared build as one that is built in its side tag. None: it has not its turn, which is recorded.

    Raises BuildSystemUnavailable, NeedsPerson.
    """
    if work.target.side_tag is None:
        return work
    turn = _ready(ctx, work)
    return None if turn is None else record_turn(ctx.db, work, turn)


def without_side_tag(ctx: Context, work: BuildWork, reason: str) -> None:
    """What becomes of a build whose side tag somebody removed between its turn and its submission.

    One that was handed over before has been searched for by now, and certainly is not there.
    """
    if work.state is BuildState.SUBMITTING:
        end_build(
            ctx.db, work, BuildState.ERRORED, f"not submitted: {reason}. Retry it in the set's next side tag"
        )
    else:
        _wait(ctx, work, f"{reason}; looking what became of it")


def _ready(ctx: Context, work: BuildWork) -> Turn | None:
    """The turn of a build that may go on now. None: it waits, which is recorded."""
    system = side_tagged(ctx, work.target.system)
    turn = _turn(ctx, work, system.side_tag_base(work.target))
    if turn is None:
        return None
    try:
        missing = system.missing_in_side_tag(turn.name, turn.earlier)
    except SideTagVanished as error:
        hasten_side_tag(ctx.db, turn.side_tag_id)
        ctx.wake.side_tag(turn.side_tag_id)
        missing = f"{error}; looking what became of it"
    if missing:
        _wait(ctx, work, missing)
        return None
    return turn


def _turn(ctx: Context, work: BuildWork, base: str) -> Turn | None:
    turn = turn_of(ctx.db, work, base_target=base)
    if isinstance(turn, Waiting):
        if turn.side_tag_id:
            ctx.wake.side_tag(turn.side_tag_id)
        _wait(ctx, work, turn.reason)
        return None
    return turn


def _wait(ctx: Context, work: BuildWork, reason: str) -> None:
    delay = min(ctx.settings.poll_seconds, ctx.settings.retry_max_seconds)
    back_off(ctx.db, work, reason, delay_seconds=delay, spend_try=False)


def _later(ctx: Context, work: SideTagWork, reason: str, retry_after: float = 0.0) -> None:
    settings = ctx.settings
    pause = max(retry_after, settings.retry_seconds * 2 ** min(work.tries - 1, 16))
    postpone_side_tag(ctx.db, work, reason, delay_seconds=min(pause, settings.retry_max_seconds))


def _pace(ctx: Context) -> float:
    return min(ctx.settings.distgit_look_seconds, ctx.settings.retry_max_seconds)
