"""Koji's methods for side tags, as the plugin of that name makes and removes them."""

from __future__ import annotations

import time
from typing import Any

from sandbox.koji.builds import build_shape, side_tag_extra, tag_row
from sandbox.koji.hub import Call, FaultCode, HubFault, rpc
from sandbox.koji.repos import initial_repo
from sandbox.koji.tables import add_target, tag
from sandbox.store import Row, Store


def _known_tag(store: Store, info: Any) -> Row:
    row = tag_row(store, info)
    if row is None:
        raise HubFault(FaultCode.GENERIC, f"No such tagInfo: {info!r}")
    return row


@rpc("createSideTag", writes=True)
def create_side_tag(
    call: Call, basetag: str, debuginfo: bool = False, suffix: str | None = None
) -> dict[str, Any]:
    """Make a side tag with a target of the same name, and a repository copied from its base."""
    if suffix:
        raise HubFault(FaultCode.GENERIC, f"{suffix} suffix is not allowed for sidetag")
    owner = call.user_id
    base = _known_tag(call.store, basetag)
    if call.store.setting("koji_side_tags_denied", ""):
        raise HubFault(
            FaultCode.DENIED, f"policy violation (sidetag): {call.store.setting('koji_side_tags_denied')}"
        )
    last = call.store.one("SELECT max(id) AS id FROM koji_tag")
    name = f"{base['name']}-side-{(last['id'] if last else 0) + 1}"
    number = tag(call.store, name)
    call.store.execute(
        "INSERT INTO koji_side_tag (tag_id, base, user_id) VALUES (?, ?, ?)", number, base["id"], owner
    )
    add_target(call.store, name, name, name, base["arches"])
    initial_repo(call.store, number, call.event())
    return {"name": name, "id": number, "task_id": None, "request": None}


@rpc("listSideTags")
def list_side_tags(
    call: Call, basetag: Any = None, user: Any = None, queryOpts: Any = None
) -> list[dict[str, Any]]:
    """Return side tags of a base, of a user by name or id; the user's id is a text, as on the real hub."""
    base = _known_tag(call.store, basetag)["id"] if basetag is not None else None
    if user is not None:
        column = "id" if isinstance(user, int) else "name"
        known = call.store.one(f"SELECT id FROM koji_user WHERE {column} = ?", user)
        if known is None:
            raise HubFault(FaultCode.GENERIC, f"No such user: {user!r}")
        user = known["id"]
    rows = call.store.all(
        "SELECT g.id, g.name, s.base, u.id AS user_id, u.name AS user_name FROM koji_side_tag s"
        " JOIN koji_tag g ON g.id = s.tag_id JOIN koji_user u ON u.id = s.user_id WHERE NOT s.removed"
    )
    return [
        {"id": row["id"], "name": row["name"], "user_id": str(row["user_id"]), "user_name": row["user_name"]}
        for row in rows
        if user in (None, row["user_id"]) and base in (None, row["base"])
    ]


@rpc("removeSideTag", writes=True)
def remove_side_tag(call: Call, sidetag: Any) -> None:
    """Remove a side tag of the caller and its target."""
    user = call.user_id
    row = _known_tag(call.store, sidetag)
    extra = side_tag_extra(call.store, row["id"])
    if not extra:
        raise HubFault(FaultCode.GENERIC, f"Not a sidetag: {row['name']}")
    if extra["sidetag_user_id"] != user and not (call.user and call.user["admin"]):
        raise HubFault(FaultCode.DENIED, "This is not your sidetag")
    remove_side_tag_rows(call.store, row["id"])


def remove_side_tag_rows(store: Store, tag_id: int) -> None:
    """Remove a side tag's target and taggings, and mark it removed: its name is never used again."""
    store.execute("DELETE FROM koji_target WHERE build_tag = ? AND dest_tag = ?", tag_id, tag_id)
    store.execute("UPDATE koji_side_tag SET removed = 1 WHERE tag_id = ?", tag_id)
    store.execute(
        "UPDATE koji_tagging SET revoke_ts = ?, revoke_event = 1 WHERE tag_id = ? AND revoke_ts IS NULL",
        time.time(), tag_id,
    )  # fmt: skip


def untag(store: Store, build_id: int, name: str) -> None:
    """Take a tag from a build. A side tag whose last build goes is removed, as Fedora's hub is configured."""
    row = tag_row(store, name)
    if row is None:
        return
    store.execute(
        "UPDATE koji_tagging SET revoke_ts = ?, revoke_event = 1"
        " WHERE build_id = ? AND revoke_ts IS NULL AND tag_id = ?",
        time.time(), build_id, row["id"],
    )  # fmt: skip
    left = store.one("SELECT 1 FROM koji_tagging WHERE tag_id = ? AND revoke_ts IS NULL", row["id"])
    if left is None and side_tag_extra(store, row["id"]):
        remove_side_tag_rows(store, row["id"])


@rpc("listTagged")
def list_tagged(
    call: Call, tag: Any, event: Any = None, inherit: bool = False, prefix: Any = None, latest: bool = False,
    package: Any = None, owner: Any = None, type: Any = None, strict: bool = True, extra: bool = True,
) -> list[dict[str, Any]]:  # fmt: skip
    """Return the builds that have a tag now, the newest tagging first; without inheritance and old events."""
    row = _known_tag(call.store, tag)
    rows = call.store.all(
        "SELECT b.* FROM koji_tagging t JOIN koji_build b ON b.id = t.build_id"
        " WHERE t.tag_id = ? AND t.revoke_ts IS NULL ORDER BY t.id DESC",
        row["id"],
    )
    return [
        {**build_shape(call.store, one), "tag_id": row["id"], "tag_name": row["name"]}
        for one in rows
        if package in (None, one["name"])
    ]
