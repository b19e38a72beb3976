"""Koji's side tags: asked for once in a session of their own, found again by what was there before.

The shape of a fence::

    {"session_id": 67, "user_id": 2, "base_tag": "f44-build", "known": ["f44-build-side-21"],
     "opened_at": "2026-11-26T12:00:00+00:00"}

A repository is made on request by hubs since 1.35, and by itself by older ones; both say with which event it was begun,
which is compared with the event that put a build into the tag, as ``koji wait-repo`` does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from service.domain.planning import BuildTarget
from service.domain.reports import BuildRef, Fence
from service.domain.side_tags import TagSeen
from workers.buildsystems import (
    BuildSystemUnavailable,
    NeedsPerson,
    SideTagVanished,
    SubmissionRefused,
    SubmissionUnknown,
)
from workers.buildsystems.koji.answers import (
    after_build,
    for_good,
    number_in,
    other_account,
    refuse_unfenceable,
    user_id_of,
)
from workers.buildsystems.koji.client import KojiClient, Profile
from workers.buildsystems.koji.polls import is_number
from workers.buildsystems.koji.sessions import HeldSessions
from workers.buildsystems.koji.settings import KojiSettings, TargetSettings
from workers.buildsystems.koji.trouble import Kind, KojiTrouble

# From this version on a hub makes repositories on request, and nobody else makes those of side tags.
FIRST_REQUESTABLE = (1, 35)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}", re.ASCII)

Row = Mapping[str, Any]


class KojiSideTags(HeldSessions):
    """The part of the adapter that makes, finds and removes side tags."""

    _settings: KojiSettings

    def side_tag_base(self, target: BuildTarget) -> str:
        """The Koji target whose build tag the side tags of this target stand beside."""
        return TargetSettings.read(target).base_target

    def open_side_tag(self, base_target: str) -> Fence:
        """Log in for one request and list what our account has already; nothing is changed at the hub."""
        try:
            with self._client(self._settings.setup_timeout) as client:
                sinfo = client.log_in(self._ccache())
                refuse_unfenceable(client.hub_version())
                user_id = user_id_of(client.call("getLoggedInUser"))
                base = _base_tag(client.call("getBuildTarget", base_target), base_target)
                known = _listed(client, base, user_id)
        except KojiTrouble as error:
            raise for_good(error) from None
        return {
            "session_id": self._hold(sinfo),
            "user_id": user_id,
            "base_tag": base,
            "known": [name for _, name in known],
            "opened_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def make_side_tag(self, fence: Fence) -> str:
        """Ask once, in the fence's own session. Every odd answer is SubmissionUnknown."""
        sinfo = self._take(number_in(fence, "session_id"))
        if sinfo is None:
            raise SubmissionUnknown("the session for this side tag was opened by another worker")
        with self._client(self._settings.setup_timeout) as client:
            client.adopt(sinfo)
            try:
                made = client.call_once("createSideTag", str(fence.get("base_tag")))
            except KojiTrouble as error:
                if error.kind is Kind.CLOSED:
                    raise SubmissionUnknown("the session for this side tag is closed") from None
                raise after_build(error) from None
            name = made.get("name") if isinstance(made, dict) else None
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise SubmissionUnknown("the hub's answer names no side tag")
            self._end_session(client)
        return name

    def find_side_tags(self, fence: Fence) -> Sequence[tuple[int, str]]:
        """Close the request's session, then list our side tags beside its base: what is not there now never comes."""
        try:
            with self._client(self._settings.setup_timeout) as client:
                client.log_in(self._ccache())
                user_id = user_id_of(client.call("getLoggedInUser"))
                if fence.get("user_id") != user_id:
                    raise NeedsPerson(other_account(user_id, fence))
                self._close(client, number_in(fence, "session_id"))
                found = _listed(client, str(fence.get("base_tag")), user_id)
                self._end_session(client)
        except KojiTrouble as error:
            raise BuildSystemUnavailable(str(error)) from None
        return found

    def look_at_side_tag(self, name: str, fence: Fence) -> TagSeen:
        """One request without a log-in. A tag that is no side tag of ours is told as somebody else's."""
        try:
            with self._client(self._settings.poll_timeout) as client:
                tag = client.call("getTag", name)
                if tag is None:
                    return TagSeen(exists=False)
                held = client.call("listTagged", name)
        except KojiTrouble as error:
            raise BuildSystemUnavailable(str(error)) from None
        extra = tag.get("extra") if isinstance(tag, dict) else None
        if not isinstance(extra, dict) or not isinstance(held, list):
            raise BuildSystemUnavailable(f"the hub's answer about {name} has an unknown form")
        ours = bool(extra.get("sidetag")) and extra.get("sidetag_user_id") == fence.get("user_id")
        builds = {str(row.get("nvr")): str(row.get("task_id")) for row in held if isinstance(row, dict)}
        return TagSeen(exists=True, ours=ours, builds=builds)

    def missing_in_side_tag(self, name: str, refs: Sequence[BuildRef]) -> str:
        """Whether the tag is there and its repository was begun after these builds came into it; else it is requested.

        Without builds any repository will do, and the hub makes one by itself.
        """
        try:
            with self._client(self._settings.setup_timeout) as client:
                client.log_in(self._ccache())
                try:
                    return self._missing(client, name, refs)
                finally:
                    self._end_session(client)
        except KojiTrouble as error:
            raise BuildSystemUnavailable(str(error)) from None

    @staticmethod
    def _missing(client: KojiClient, name: str, refs: Sequence[BuildRef]) -> str:
        tag = client.call("getTag", name)
        if not isinstance(tag, dict):
            raise SideTagVanished(f"Koji has no side tag {name} any more")
        since = 0
        for ref in refs:
            nvr, event = _tagged(client, name, ref)
            if not event:
                return f"waits until {nvr} is tagged {name}"
            since = max(since, event)
        if not since:
            return ""
        if client.hub_version() >= FIRST_REQUESTABLE:
            answer = client.call("repo.request", tag["id"], min_event=since)
            repo = answer.get("repo") if isinstance(answer, dict) else None
        else:
            repo = client.call("getRepo", tag["id"])
        begun = repo.get("create_event") if isinstance(repo, dict) else None
        if isinstance(begun, int) and begun >= since:
            return ""
        return f"waits until the repository of {name} holds the builds before it"

    def remove_side_tag(self, name: str, fence: Fence) -> None:
        """Ask the hub to remove it, with its target. The hub itself refuses tags of other accounts."""
        try:
            with self._client(self._settings.setup_timeout) as client:
                client.log_in(self._ccache())
                user_id = user_id_of(client.call("getLoggedInUser"))
                if fence.get("user_id") != user_id:
                    raise NeedsPerson(other_account(user_id, fence))
                client.call_once("removeSideTag", name)
                self._end_session(client)
        except KojiTrouble as error:
            raise (
                for_good(error) if error.kind is Kind.DENIED else BuildSystemUnavailable(str(error))
            ) from None

    def _client(self, seconds: float) -> KojiClient:
        return KojiClient(Profile.read(self._settings), self._settings, seconds)


def _base_tag(target: Any, base_target: str) -> str:
    name = target.get("build_tag_name") if isinstance(target, dict) else None
    if not isinstance(name, str) or not name:
        raise SubmissionRefused(f"Koji has no build target {base_target} to make a side tag for")
    return name


def _listed(client: KojiClient, base: str, user_id: int) -> list[tuple[int, str]]:
    rows = client.call("listSideTags", basetag=base, user=user_id)
    # An answer of another form must never look like an empty list, the proof that no side tag is there.
    if not isinstance(rows, list) or not all(
        isinstance(row, dict) and isinstance(row.get("id"), int) and isinstance(row.get("name"), str)
        for row in rows
    ):
        raise KojiTrouble(Kind.UNCLEAR, "the hub's list of side tags has an unknown form")
    # The hub gives the user's id as a text.
    return sorted((row["id"], row["name"]) for row in rows if str(row.get("user_id")) == str(user_id))


def _tagged(client: KojiClient, name: str, ref: BuildRef) -> tuple[str, int]:
    """The name of a task's build, and the event that put it into the tag; 0 while it is not in there."""
    if not is_number(ref.external_id):
        raise KojiTrouble(Kind.UNCLEAR, f"'{ref.external_id[:40]}' is not the id of a Koji task")
    rows = client.call("listBuilds", taskID=int(ref.external_id))
    found = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    if not found:
        return f"the build of task {ref.external_id}", 0
    nvr = str(found[-1].get("nvr"))
    history = client.call("queryHistory", tables=["tag_listing"], build=nvr)
    listing = history.get("tag_listing") if isinstance(history, dict) else None
    events = [
        row.get("create_event")
        for row in listing or []
        if isinstance(row, dict) and row.get("tag.name") == name and row.get("active")
    ]
    return nvr, max((event for event in events if isinstance(event, int)), default=0)
