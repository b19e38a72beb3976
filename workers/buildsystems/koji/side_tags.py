"""Makes, finds, reads and removes Koji's side tags, and requests their repositories.

A side tag is asked for once, in a session of its own, and found again by what was there before. The shape of a fence::

    {"session_id": 67, "user_id": 2, "base_tag": "f44-build", "known": ["f44-build-side-21"],
     "opened_at": "2026-11-26T12:00:00+00:00"}

A repository is made on request by hubs since 1.35, and by itself by older ones; both say with which event it was begun,
which is compared with the event that put a build into the tag, as ``koji wait-repo`` does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from service.domain.reports import BuildRef, Fence
from service.domain.side_tags import TagSeen
from workers.buildsystems import (
    BuildSystemUnavailable,
    NeedsPerson,
    SideTagVanished,
    SubmissionRefused,
    SubmissionUnknown,
)
from workers.buildsystems.koji.client import (
    Hub,
    Kind,
    KojiClient,
    KojiTrouble,
    fence_number,
    other_account,
    port_error,
    port_error_after_build,
    user_id_of,
)
from workers.buildsystems.koji.reports import is_task_id

# From this version on a hub makes repositories on request, and nobody else makes those of side tags.
FIRST_REQUESTABLE = (1, 35)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}", re.ASCII)


class SideTags:
    """The side tags of our account at one hub. Each method raises as ``SideTagged`` of the port says."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def open(self, base_target: str) -> Fence:
        """Log in for one request and list the side tags that our account has already; the hub changes nothing."""
        try:
            with self._hub.client(self._hub.settings.setup_timeout) as client:
                sinfo = self._hub.log_in(client)
                client.fencing_version()
                user_id = user_id_of(client.call("getLoggedInUser"))
                base = _base_tag(client.call("getBuildTarget", base_target), base_target)
                known = _listed(client, base, user_id)
        except KojiTrouble as error:
            raise port_error(error) from None
        return {
            "session_id": self._hub.hold_session(sinfo),
            "user_id": user_id,
            "base_tag": base,
            "known": [name for _, name in known],
            "opened_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def make(self, fence: Fence) -> str:
        """Ask for a side tag once, in the fence's own session. Every odd answer is SubmissionUnknown."""
        sinfo = self._hub.take_session(fence_number(fence, "session_id"))
        if sinfo is None:
            raise SubmissionUnknown("the session for this side tag was opened by another worker")
        with self._hub.client(self._hub.settings.setup_timeout) as client:
            client.use_session(sinfo)
            try:
                made = client.call_once("createSideTag", str(fence.get("base_tag")))
            except KojiTrouble as error:
                if error.kind is Kind.CLOSED:
                    raise SubmissionUnknown("the session for this side tag is closed") from None
                raise port_error_after_build(error) from None
            name = made.get("name") if isinstance(made, dict) else None
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise SubmissionUnknown("the hub's answer names no side tag")
            client.log_out()
        return name

    def find(self, fence: Fence) -> Sequence[tuple[int, str]]:
        """Close the request's session, then list our side tags beside its base: no other can come after that."""
        try:
            with self._hub.client(self._hub.settings.setup_timeout) as client:
                self._hub.log_in(client)
                user_id = user_id_of(client.call("getLoggedInUser"))
                if fence.get("user_id") != user_id:
                    raise NeedsPerson(other_account(user_id, fence))
                self._hub.close_session(client, fence_number(fence, "session_id"))
                found = _listed(client, str(fence.get("base_tag")), user_id)
                client.log_out()
        except KojiTrouble as error:
            raise BuildSystemUnavailable(str(error)) from None
        return found

    def look_at(self, name: str, fence: Fence) -> TagSeen:
        """Read a side tag and what it holds, without a log-in. A tag that is no side tag of ours is not ``ours``."""
        try:
            with self._hub.client(self._hub.settings.poll_timeout) as client:
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

    def missing(self, name: str, refs: Sequence[BuildRef]) -> str:
        """Return what the tag's repository still lacks of these builds, and request a newer one; empty text if nothing.

        A repository holds a build if it was begun after the build came into the tag. Without builds any repository will
        do, and the hub makes one by itself.
        """
        try:
            with self._hub.client(self._hub.settings.setup_timeout) as client:
                self._hub.log_in(client)
                try:
                    return _missing(client, name, refs)
                finally:
                    client.log_out()
        except KojiTrouble as error:
            raise BuildSystemUnavailable(str(error)) from None

    def remove(self, name: str, fence: Fence) -> None:
        """Remove a side tag with its target. The hub itself refuses tags of other accounts."""
        try:
            with self._hub.client(self._hub.settings.setup_timeout) as client:
                self._hub.log_in(client)
                user_id = user_id_of(client.call("getLoggedInUser"))
                if fence.get("user_id") != user_id:
                    raise NeedsPerson(other_account(user_id, fence))
                client.call_once("removeSideTag", name)
                client.log_out()
        except KojiTrouble as error:
            raise (
                port_error(error) if error.kind is Kind.DENIED else BuildSystemUnavailable(str(error))
            ) from None


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
    """Return the NVR of a task's build, and the event that put it into the tag; 0 while it is not in there."""
    if not is_task_id(ref.external_id):
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
