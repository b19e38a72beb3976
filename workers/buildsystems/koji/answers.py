"""What the hub says before a submission, and the port's words for what goes wrong around one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from service.domain.planning import BuildTarget
from service.domain.reports import Fence
from workers.buildsystems import (
    BuildSystemError,
    BuildSystemUnavailable,
    NeedsPerson,
    SideTagVanished,
    SubmissionRefused,
    SubmissionUnknown,
)
from workers.buildsystems.koji.client import FIRST_FENCEABLE, KojiClient
from workers.buildsystems.koji.settings import TargetSettings
from workers.buildsystems.koji.trouble import Kind, KojiTrouble


@dataclass(frozen=True)
class Health:
    """Whether the hub answers and knows us, at one moment; ``text`` is the account's name or the trouble."""

    ok: bool
    at: datetime
    text: str


@dataclass(frozen=True)
class Seen:
    """Who we are at the hub, its version, and which chroots of a target it builds, or why not."""

    user_id: int
    version: str
    chroots: tuple[str, ...]
    dropped: Mapping[str, str]


def look_at_target(client: KojiClient, target: BuildTarget, chosen: TargetSettings) -> Seen:
    """Check hub, target and architectures. Raises NeedsPerson, SubmissionRefused, KojiTrouble."""
    version = client.hub_version()
    shown = refuse_unfenceable(version)
    user, koji_target = _values(
        client.many([("getLoggedInUser", (), {}), ("getBuildTarget", (chosen.koji_target,), {})])
    )
    chroots, dropped = _chroots(client, target, chosen, koji_target)
    return Seen(user_id_of(user), shown, tuple(chroots), dropped)


def refuse_unfenceable(version: tuple[int, ...]) -> str:
    """The hub's version as text. Raises NeedsPerson for one at which nothing can be fenced."""
    shown = ".".join(map(str, version))
    if version < FIRST_FENCEABLE:
        raise NeedsPerson(f"the hub is Koji {shown}; 1.31 is the first that can fence a submission")
    return shown


def _chroots(
    client: KojiClient, target: BuildTarget, chosen: TargetSettings, koji_target: Any
) -> tuple[list[str], dict[str, str]]:
    """The chroots to build in, and why not the others. Koji itself accepts any target, and fails later."""
    wanted = ", ".join(target.chroots) or "no chroot"
    if not isinstance(koji_target, dict) and chosen.koji_target != chosen.base_target:
        raise SideTagVanished(f"Koji has no side tag {chosen.koji_target} any more")
    if not isinstance(koji_target, dict):
        raise SubmissionRefused(f"Koji has no build target {chosen.koji_target}, so nothing builds {wanted}")
    config, dest = _values(
        client.many(
            [
                ("getBuildConfig", (koji_target.get("build_tag"),), {}),
                ("getTag", (koji_target.get("dest_tag"),), {}),
            ]
        )
    )
    if isinstance(dest, dict) and dest.get("locked") and not chosen.scratch:
        raise NeedsPerson(f"Koji's tag {dest.get('name')} is locked; wait until it is open, then resume")
    offered = set(str((config or {}).get("arches") or "").split())
    chroots = [str(chroot) for chroot in chosen.chroots if chroot.arch in offered]
    if not chroots:
        raise SubmissionRefused(
            f"Koji's target {chosen.koji_target} builds for {', '.join(sorted(offered)) or 'nothing'}, not {wanted}"
        )
    why = f"Koji's target {chosen.koji_target} does not build for this architecture now"
    return chroots, {str(chroot): why for chroot in chosen.chroots if chroot.arch not in offered}


def _values(answers: Sequence[Any]) -> Sequence[Any]:
    """The answers of several calls of which all are needed. Raises the first one's KojiTrouble."""
    for answer in answers:
        if isinstance(answer, KojiTrouble):
            raise answer
    return answers


def user_id_of(user: Any) -> int:
    """The id in the hub's answer about us. Raises KojiTrouble."""
    number = user.get("id") if isinstance(user, dict) else None
    if not isinstance(number, int):
        raise KojiTrouble(Kind.UNCLEAR, "the hub does not say who we are")
    return number


def for_good(error: KojiTrouble) -> BuildSystemError:
    """The port's word for trouble of a request that can be repeated without harm."""
    if error.kind in {Kind.DENIED, Kind.LOGIN}:
        return NeedsPerson(f"Koji denies it: {error}")
    if error.kind is Kind.REFUSED:
        return SubmissionRefused(str(error))
    return BuildSystemUnavailable(str(error))


def before_build(error: KojiTrouble) -> BuildSystemError:
    """The port's word for trouble before the build was asked for: surely nothing was submitted."""
    # The client itself compares sizes and checksums of what it has uploaded, in words of its own.
    if error.kind is Kind.REFUSED and "upload" in str(error).lower():
        return BuildSystemUnavailable(str(error))
    return for_good(error)


def after_build(error: KojiTrouble) -> BuildSystemError:
    """The port's word for a submission without a success: a doubt, unless the hub surely said no."""
    if error.kind in {Kind.UNCLEAR, Kind.OFFLINE}:
        return SubmissionUnknown(str(error))
    return for_good(error)


def other_account(user_id: int, fence: Fence) -> str:
    """Why the tasks of a submission cannot be found: they are another account's."""
    return (
        f"the hub knows us as user {user_id}, and this submission was made by user {fence.get('user_id')}: "
        "give the old account back, or cancel the build by hand at Koji"
    )


def number_in(fence: Fence, key: str) -> int:
    """A number of a fence; 0 where it has none."""
    number = fence.get(key)
    return number if isinstance(number, int) and not isinstance(number, bool) else 0
