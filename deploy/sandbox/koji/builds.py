"""Koji's methods for builds, tags and targets, and the rows of builds and taggings."""

from __future__ import annotations

import json
import time
from typing import Any

from sandbox.koji.hub import Call, FaultCode, HubFault, rpc, time_text
from sandbox.koji.sources import Source
from sandbox.koji.tables import package, tag
from sandbox.store import Row, Store

BUILDING, COMPLETE, DELETED, FAILED, CANCELED = range(5)
STATE_NAMES = ("BUILDING", "COMPLETE", "DELETED", "FAILED", "CANCELED")
ARCH_LOGS = ("build.log", "state.log", "hw_info.log", "mock_output.log", "root.log")
# What getBuild tells and listBuilds does not.
ONLY_ALONE = ("cg_id", "cg_name", "id")
TAGGINGS = (
    "SELECT t.*, g.name AS tag_name, b.name, b.version, b.release, b.epoch, b.state FROM koji_tagging t"
    " JOIN koji_tag g ON g.id = t.tag_id JOIN koji_build b ON b.id = t.build_id"
)


def split_nvr(nvr: str) -> tuple[str, str, str]:
    """Split an NVR into name, version and release. Raises HubFault."""
    parts = nvr.rsplit("-", 2)
    if len(parts) != 3 or not all(parts):
        raise HubFault(FaultCode.GENERIC, f"invalid format: {nvr}")
    return parts[0], parts[1], parts[2]


def find_build(store: Store, info: Any) -> Row | None:
    """Return a build by its id or its NVR. Raises HubFault for what is neither."""
    if isinstance(info, int):
        return store.one("SELECT * FROM koji_build WHERE id = ?", info)
    return store.one(
        "SELECT * FROM koji_build WHERE name = ? AND version = ? AND release = ?", *split_nvr(str(info))
    )


def build_shape(store: Store, row: Row) -> dict[str, Any]:
    """Return a build as getBuild shows it."""
    owner = store.one("SELECT name FROM koji_user WHERE id = ?", row["owner"])
    nobody = dict.fromkeys(
        ("promoter_id", "promoter_name", "promotion_time", "promotion_ts", "cg_id", "cg_name")
    )
    return {
        **nobody,
        "build_id": row["id"],
        "completion_time": time_text(row["completion_ts"]),
        "completion_ts": row["completion_ts"],
        "creation_event_id": row["event"],
        "creation_time": time_text(row["create_ts"]),
        "creation_ts": row["create_ts"],
        "draft": False,
        "epoch": row["epoch"],
        "extra": json.loads(row["extra"]),
        "id": row["id"],
        "name": row["name"],
        "nvr": f"{row['name']}-{row['version']}-{row['release']}",
        "owner_id": row["owner"],
        "owner_name": owner["name"] if owner else "",
        "package_id": row["package_id"],
        "package_name": row["name"],
        "release": row["release"],
        "source": row["source"],
        "start_time": time_text(row["start_ts"]),
        "start_ts": row["start_ts"],
        "state": row["state"],
        "task_id": row["task_id"],
        "version": row["version"],
        "volume_id": 0,
        "volume_name": "DEFAULT",
    }


@rpc("getBuild")
def get_build(call: Call, buildInfo: Any, strict: bool = False) -> dict[str, Any] | None:
    """Return one build, or None."""
    row = find_build(call.store, buildInfo)
    if row is None and strict:
        raise HubFault(FaultCode.GENERIC, f"No such build: {buildInfo!r}")
    return build_shape(call.store, row) if row else None


def _known(call: Call, info: Any) -> Row:
    row = find_build(call.store, info)
    if row is None:
        raise HubFault(FaultCode.GENERIC, f"No such build: {info!r}")
    return row


@rpc("listBuilds")
def list_builds(
    call: Call, packageID: Any = None, userID: Any = None, taskID: Any = None, state: Any = None,
    source: Any = None, queryOpts: Any = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Return the builds that fit; ``source`` may be a glob."""
    clauses, values = ["1"], []
    for column, value in (
        ("package_id", packageID),
        ("owner", userID),
        ("task_id", taskID),
        ("state", state),
    ):
        if value is not None:
            clauses.append(f"{column} = ?")
            values.append(value)
    if source is not None:
        clauses.append("source GLOB ?")
        values.append(source)
    rows = call.store.all(f"SELECT * FROM koji_build WHERE {' AND '.join(clauses)} ORDER BY id", *values)
    return [
        {key: value for key, value in build_shape(call.store, row).items() if key not in ONLY_ALONE}
        for row in rows
    ]


@rpc("getBuildLogs")
def get_build_logs(call: Call, build: Any) -> list[dict[str, str]]:
    """Return the logs of a build by name, folder and path below the top folder."""
    row = _known(call, build)
    base = f"packages/{row['name']}/{row['version']}/{row['release']}/data/logs"
    return [
        {"name": name, "dir": arch, "path": f"{base}/{arch}/{name}"}
        for arch in row["arches"].split()
        for name in ARCH_LOGS
    ]


@rpc("listBuildRPMs")
def list_build_rpms(call: Call, build: Any) -> list[dict[str, Any]]:
    """Return the packages of a build, of which none exists: their sizes and digests are all nought."""
    row = _known(call, build)
    return [
        {
            "arch": arch, "build_id": row["id"], "buildroot_id": 0, "buildtime": int(row["create_ts"]), "draft": False,
            "epoch": row["epoch"], "external_repo_id": 0, "external_repo_name": "INTERNAL", "extra": None,
            "id": row["id"] * 10 + number, "metadata_only": False, "name": row["name"],
            "nvr": f"{row['name']}-{row['version']}-{row['release']}", "payloadhash": "0" * 32,
            "release": row["release"], "size": 0, "version": row["version"],
        }
        for number, arch in enumerate(["src", *row["arches"].split()])
    ]  # fmt: skip


def conflict(store: Store, task: Row, target: Row, source: Source) -> HubFault | None:
    """Return why the hub would make no build of this source in this target, or None."""
    tag = store.one("SELECT name FROM koji_tag WHERE id = ?", target["dest_tag"])
    listed = store.one("SELECT unlisted FROM koji_package WHERE name = ?", source.name)
    if listed is not None and listed["unlisted"]:
        name = tag["name"] if tag else ""
        return HubFault(FaultCode.BUILD, f"package {source.name} not in list for tag {name}")
    old = store.one(
        "SELECT * FROM koji_build WHERE name = ? AND version = ? AND release = ?",
        source.name, source.version, source.release,
    )  # fmt: skip
    if old is None or old["state"] in (FAILED, CANCELED):
        return None
    if old["state"] == BUILDING:
        return HubFault(FaultCode.GENERIC, f"Build already in progress (task {old['task_id']})")
    url, _, opts = json.loads(task["request"])
    wanted = {
        "name": source.name, "version": source.version, "release": source.release, "epoch": None,
        "task_id": task["id"], "source": url, "extra": json.dumps(_extra(url, opts)), "owner": task["owner"],
        "state": 0, "completion_time": None, "pkg_id": old["package_id"], "start_time": "NOW", "volume_id": 0,
        "draft": False,
    }  # fmt: skip
    state = STATE_NAMES[old["state"]]
    return HubFault(FaultCode.GENERIC, f"Build already exists (id={old['id']}, state={state}): {wanted}")


def _extra(url: str, opts: dict[str, Any]) -> dict[str, Any]:
    extra: dict[str, Any] = {"source": {"original_url": url}}
    if "custom_user_metadata" in opts:
        extra["custom_user_metadata"] = opts["custom_user_metadata"]
    return extra


def start_build(store: Store, task: Row, source: Source) -> int:
    """Make the build's row in state BUILDING; a failed or cancelled one of the same NVR is used again."""
    url, _, opts = json.loads(task["request"])
    now = round(time.time(), 6)
    event = store.execute("INSERT INTO koji_event (at) VALUES (?)", now).lastrowid
    store.execute(
        "INSERT INTO koji_build (package_id, name, version, release, state, task_id, source, extra, owner,"
        " event, create_ts, start_ts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (name, version, release) DO UPDATE SET state = excluded.state, owner = excluded.owner,"
        " task_id = excluded.task_id, source = excluded.source, extra = excluded.extra,"
        " start_ts = excluded.start_ts, completion_ts = NULL",
        package(store, source.name), source.name, source.version, source.release, BUILDING, task["id"], url,
        json.dumps(_extra(url, opts)), task["owner"], event, now, now,
    )  # fmt: skip
    row = store.one("SELECT id FROM koji_build WHERE task_id = ?", task["id"])
    assert row is not None, "the build was made a line above"
    return int(row["id"])


@rpc("cancelBuild", writes=True)
def cancel_build(call: Call, buildID: Any) -> bool:
    """Cancel a running build; return whether it was one."""
    assert call.user_id
    row = _known(call, buildID)
    if row["state"] != BUILDING:
        return False
    call.store.execute(
        "UPDATE koji_build SET state = ?, completion_ts = ? WHERE id = ?", CANCELED, time.time(), row["id"]
    )
    return True


@rpc("listTags")
def list_tags(call: Call, build: Any = None) -> list[dict[str, Any]]:
    """Return the tags that a build has now."""
    row = _known(call, build)
    sql = "SELECT g.* FROM koji_tagging t JOIN koji_tag g ON g.id = t.tag_id WHERE t.build_id = ? AND revoke_ts IS NULL"
    return [
        {**_tag(one), "maven_support": False, "maven_include_all": False}
        for one in call.store.all(sql, row["id"])
    ]


def _tag(row: Row) -> dict[str, Any]:
    return {
        "arches": row["arches"], "id": row["id"], "locked": bool(row["locked"]), "name": row["name"],
        "perm": None, "perm_id": None,
    }  # fmt: skip


@rpc("queryHistory")
def query_history(call: Call, tables: Any = None, build: Any = None) -> dict[str, list[dict[str, Any]]]:
    """Return every tag that a build ever had; only the history of taggings is there."""
    row = _known(call, build)
    history = [
        {
            "active": True if one["revoke_ts"] is None else None,
            "build.state": one["state"],
            "build_id": one["build_id"],
            "create_event": one["create_event"],
            "create_ts": one["create_ts"],
            "epoch": one["epoch"],
            "name": one["name"],
            "release": one["release"],
            "revoke_event": one["revoke_event"],
            "revoke_ts": one["revoke_ts"],
            "tag.name": one["tag_name"],
            "tag_id": one["tag_id"],
            "version": one["version"],
        }
        for one in call.store.all(f"{TAGGINGS} WHERE t.build_id = ? ORDER BY t.id", row["id"])
    ]
    return {"tag_listing": history}


def put_tag(store: Store, build_id: int, name: str, event: int) -> None:
    """Tag a build; the caller owns the transaction."""
    store.execute(
        "INSERT INTO koji_tagging (build_id, tag_id, create_event, create_ts) VALUES (?, ?, ?, ?)",
        build_id, tag(store, name), event, round(time.time(), 6),
    )  # fmt: skip


@rpc("getBuildTarget")
def get_build_target(call: Call, info: Any, event: Any = None, strict: bool = False) -> dict[str, Any] | None:
    """Return a target with the names of its tags, or None."""
    row = call.store.one(
        "SELECT t.*, b.name AS build_tag_name, d.name AS dest_tag_name FROM koji_target t"
        " JOIN koji_tag b ON b.id = t.build_tag JOIN koji_tag d ON d.id = t.dest_tag WHERE t.name = ?",
        info,
    )
    if row is None and strict:
        raise HubFault(FaultCode.GENERIC, f"No such build target: {info}")
    return dict(row) if row else None


def tag_row(store: Store, info: Any) -> Row | None:
    """Return a tag by its id or name; a removed side tag keeps its row and is not found any more."""
    column = "id" if isinstance(info, int) else "name"
    return store.one(
        f"SELECT * FROM koji_tag WHERE {column} = ?"
        " AND id NOT IN (SELECT tag_id FROM koji_side_tag WHERE removed)",
        info,
    )


def side_tag_extra(store: Store, tag_id: int) -> dict[str, Any]:
    """Return what a side tag keeps of its owner; nothing for other tags."""
    row = store.one(
        "SELECT u.id, u.name FROM koji_side_tag s JOIN koji_user u ON u.id = s.user_id WHERE s.tag_id = ?",
        tag_id,
    )
    return {"sidetag": True, "sidetag_user": row["name"], "sidetag_user_id": row["id"]} if row else {}


@rpc("getTag")
def get_tag(call: Call, tagInfo: Any, strict: bool = False) -> dict[str, Any] | None:
    """Return a tag by name or id, or None."""
    row = tag_row(call.store, tagInfo)
    if row is None and strict:
        raise HubFault(FaultCode.GENERIC, f"No such tagInfo: {tagInfo!r}")
    if row is None:
        return None
    extra = side_tag_extra(call.store, row["id"])
    return {**_tag(row), "maven_support": False, "maven_include_all": False, "extra": extra}


@rpc("getBuildConfig")
def get_build_config(call: Call, tag: Any, event: Any = None) -> dict[str, Any] | None:
    """Return what getTag returns; no tag of the sandbox inherits its architectures."""
    found: dict[str, Any] | None = get_tag(call, tag)
    return found
