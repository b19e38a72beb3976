"""Decides about Koji side tags: which build of a set has its turn, and when a tag is opened or removed. Pure.

A *set* is a few families whose packages of one minor belong together on a branch. They are built one after another
in one side tag of Koji, each against those before it, and reach Fedora as one update.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from service.domain.shipping import Stage
from service.domain.states import ENDED_BUILD, BuildState, SideTagState

SYSTEMS = frozenset({"koji"})
"""Build systems that have side tags; a test compares it with what the adapters offer."""

STABLE = Stage.STABLE.value
"""How far a build has got in Fedora (``shipped``) once its update was pushed.

Not ``testing``: until it is stable an update may be edited, and what is edited is built in the side tag again. Bodhi
itself takes its builds out of the side tag only when it pushes them to stable.
"""


@dataclass(frozen=True)
class SideTagPolicy:
    """The set that a target builds in side tags. ``families`` are in build order.

    ``name`` is the side tag that a build was let into; empty before its turn, and always in the catalogue.
    """

    set_id: str
    families: tuple[str, ...]
    name: str = ""

    def named(self, name: str) -> SideTagPolicy:
        """Return the same policy with a side tag's name."""
        return replace(self, name=name)

    def as_json(self) -> dict[str, Any]:
        """Return the form in which a build keeps it; ``from_json`` reads it."""
        return {"set": self.set_id, "families": list(self.families), "name": self.name}

    @classmethod
    def from_json(cls, data: Any) -> SideTagPolicy | None:
        """Read the policy in a build's options; None where there is none."""
        if not isinstance(data, Mapping):
            return None
        return cls(str(data["set"]), tuple(data["families"]), str(data.get("name", "")))


@dataclass(frozen=True)
class Member:
    """One build of a set's families for one stream and branch.

    ``joined`` says that it belongs to the side tag in question; a build that was planned and that no worker has
    begun has not joined any. ``order`` sorts builds by version and attempt. ``shipped`` is how far it has got in
    Fedora, empty for not at all. ``task`` is its id at the build system.
    """

    build_id: int
    family: str
    package: str
    version: str
    order: tuple[str, int]
    state: BuildState
    reason: str = ""
    shipped: str = ""
    joined: bool = True
    task: str = ""

    @property
    def live(self) -> bool:
        return self.state not in ENDED_BUILD

    @property
    def title(self) -> str:
        return f"{self.package} {self.version} (build {self.build_id})"


@dataclass(frozen=True)
class TagSeen:
    """A side tag as the build system shows it. ``builds`` maps the NVRs that it holds to their task ids."""

    exists: bool
    ours: bool = True
    builds: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Judgement:
    """The state that a side tag should have now, and in one line why, or what it waits for."""

    state: SideTagState
    reason: str


def waits_for(
    policy: SideTagPolicy, family: str, members: Iterable[Member], waived: Collection[int] = ()
) -> str:
    """Return why a build of ``family`` does not have its turn yet; empty text if it does.

    It waits for every earlier family's build that is under way or planned, and for one that has joined the same side
    tag and ended badly, until that is retried or a person says go on (``waived`` holds the ids of such builds). A
    family without a build blocks nobody.
    """
    found = list(members)
    for earlier in _before(policy, family):
        build = _newest(found, earlier)
        if build is None or build.state is BuildState.SUCCEEDED:
            continue
        if build.live:
            why = f", which is held: {build.reason}" if build.state is BuildState.HELD else ""
            return f"its turn comes after {build.title}{why}"
        if build.build_id not in waived:
            told = f": {build.reason}" if build.reason else ""
            return (
                f"its turn comes after {build.title}, which {_ended(build.state)}{told}. "
                f"Retry that build, or let the set go on without it"
            )
    return ""


def built_before(policy: SideTagPolicy, family: str, members: Iterable[Member]) -> tuple[Member, ...]:
    """Return the succeeded builds that a build of ``family`` must find in the side tag's repository.

    One in stable is not looked for there: Bodhi took it out of the side tag, which inherits it from now on.
    """
    return tuple(build for build in unpushed(members) if build.family in _before(policy, family))


def failed_members(policy: SideTagPolicy, members: Iterable[Member]) -> tuple[Member, ...]:
    """Return the builds that ended badly and that later ones wait for: those that a person may waive."""
    found = list(members)
    newest = [_newest(found, family) for family in policy.families]
    return tuple(
        one for one in newest if one is not None and not one.live and one.state is not BuildState.SUCCEEDED
    )


def unpushed(members: Iterable[Member]) -> tuple[Member, ...]:
    """Return of each family the newest succeeded build in the side tag, where that is not in stable yet."""
    return tuple(build for build in _good(members) if build.shipped != STABLE)


def pushed(members: Iterable[Member]) -> bool:
    """Whether the set's update was pushed: something was built in the side tag, and all that counts is in stable."""
    found = list(members)
    return bool(_good(found)) and not unpushed(found)


def judge(name: str, seen: TagSeen, members: Iterable[Member]) -> Judgement:
    """Decide the state of a side tag that was made, from what the build system shows and the builds in it.

    It is to be removed only when its update was pushed, nothing is under way in it, and it holds nothing but builds
    of ours. One that somebody else removed is made again where nothing was built in it; else a person decides.
    """
    joined = [member for member in members if member.joined]
    live = [member for member in joined if member.live]
    if not seen.exists:
        return _gone(name, joined, live)
    if not seen.ours:
        return Judgement(
            SideTagState.HELD, f"{name} belongs to another account of the build system; nothing is done to it"
        )
    if live:
        return Judgement(SideTagState.OPEN, f"builds under way: {_titles(live)}")
    missing = unpushed(joined)
    if not pushed(joined):
        waits = f"waits until its update is pushed: {_titles(missing)} not in stable yet"
        return Judgement(SideTagState.OPEN, waits if missing else "nothing was built in it yet")
    tasks = {member.task for member in joined if member.task}
    strangers = sorted(nvr for nvr, task in (seen.builds or {}).items() if task not in tasks)
    if strangers:
        return Judgement(
            SideTagState.OPEN,
            f"its update was pushed, but it holds what is not of this set: {', '.join(strangers[:5])}; "
            "take that out, or give the side tag up",
        )
    return Judgement(SideTagState.REMOVING, f"its update was pushed: {_titles(_good(joined))} in stable")


def _gone(name: str, joined: Sequence[Member], live: Sequence[Member]) -> Judgement:
    if pushed(joined):
        return Judgement(
            SideTagState.REMOVED, f"{name} is gone from the build system after its update was pushed"
        )
    inside = [member for member in live if member.task]
    if inside:
        return Judgement(
            SideTagState.OPEN, f"{name} is gone from the build system; waits for {_titles(inside)}"
        )
    if not _good(joined):
        return Judgement(
            SideTagState.WANTED,
            f"{name} is gone from the build system; nothing was built in it, so a new one is made",
        )
    return Judgement(
        SideTagState.HELD,
        f"{name} is gone from the build system, and {_titles(unpushed(joined))} was built in it and is not in stable: "
        "give the side tag up to let the set begin a new one, or wait if an update is on its way",
    )


@dataclass(frozen=True)
class Adoption:
    """The side tag that is taken after a request in doubt (empty: none), and the new ones that are left alone."""

    name: str
    others: tuple[str, ...] = ()


def adopt(found: Iterable[tuple[int, str]], *, known: Collection[str], taken: Collection[str]) -> Adoption:
    """Choose among our account's side tags, given as (number, name), after a request whose answer was lost.

    Those that were there before it (``known``), and those of other rows (``taken``), are not its. One request makes
    one side tag at most, so of several the oldest is taken; the others were made by a person with the same account,
    and are never removed.
    """
    new = [name for _, name in sorted(found) if name not in known and name not in taken]
    return Adoption(new[0], tuple(new[1:])) if new else Adoption("")


def _before(policy: SideTagPolicy, family: str) -> tuple[str, ...]:
    return policy.families[: policy.families.index(family)] if family in policy.families else ()


def _newest(members: Iterable[Member], family: str) -> Member | None:
    """Return the family's build that counts: one under way, else the newest that has joined; never a superseded one."""
    of_family = [
        member
        for member in members
        if member.family == family
        and member.state is not BuildState.SUPERSEDED
        and (member.live or member.joined)
    ]
    return max(of_family, key=lambda member: (member.live, member.order), default=None)


def _good(members: Iterable[Member]) -> tuple[Member, ...]:
    """Return the newest succeeded build of each family that was made in the side tag."""
    newest: dict[str, Member] = {}
    for member in members:
        if member.joined and member.state is BuildState.SUCCEEDED:
            other = newest.get(member.family)
            if other is None or other.order < member.order:
                newest[member.family] = member
    return tuple(newest[family] for family in sorted(newest))


def _ended(state: BuildState) -> str:
    return "was canceled" if state is BuildState.CANCELED else str(state)


def _titles(members: Iterable[Member]) -> str:
    return ", ".join(member.title for member in members)
