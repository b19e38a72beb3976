"""What a build is made from, and whether its name-version-release is still free."""

from __future__ import annotations

import asyncio
import json
import re
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sandbox.building.srpm_header import NotAnSrpm, read_header
from sandbox.ground import Ground
from sandbox.koji import wire
from sandbox.koji.builds import BUILDING, CANCELED, FAILED, STATE_NAMES
from sandbox.koji.commits import NoSource, read_commit
from sandbox.koji.tables import package
from sandbox.koji.uploads import work_path
from sandbox.koji.wire import HubFault
from sandbox.store import Row, Store

SCM = re.compile(
    r"git\+(?P<scheme>\w+)://(?P<host>[^/?#]*)(?P<path>/[^?#]*?)(?:\.git)?/?(?:\?[^#]*)?#(?P<commit>[0-9a-f]{7,64})"
)
SERVED = re.compile(r"/(?:git|pagure)/(?P<inside>(?:rpms|forks/\w+/rpms)/[\w.+-]+)")


@dataclass(frozen=True)
class Source:
    """The fields of a source package that the rest of the life acts on."""

    name: str
    version: str
    release: str
    exclude: list[str] = field(default_factory=list)
    exclusive: list[str] = field(default_factory=list)

    @property
    def nvr(self) -> str:
        return f"{self.name}-{self.version}-{self.release}"

    def arches(self, offered: list[str]) -> list[str]:
        """Those of the offered architectures that ExcludeArch and ExclusiveArch leave."""
        allowed = [arch for arch in offered if not self.exclusive or {arch, "noarch"} & set(self.exclusive)]
        return [arch for arch in allowed if arch not in self.exclude]

    def as_dict(self) -> dict[str, Any]:
        """JSON-able fields."""
        return asdict(self)


def dist_of(target: str) -> str:
    """The dist tag of a target's branch."""
    match = re.match(r"f(\d+)", target)
    return f".fc{match[1] if match else '46'}"


async def read_source(ground: Ground, task: Row) -> Source | NoSource:
    """The source of a task, or why there is none: an uploaded SRPM is read by rpm, a commit with git."""
    src, target, _ = json.loads(task["request"])
    if "://" in src:
        return await _commit(ground, src, dist_of(target))
    path = work_path(ground, src)
    if not path.is_file() or ".." in src:
        return NoSource(f"the uploaded file {src} does not exist")
    try:
        header = await asyncio.to_thread(read_header, path)
    except NotAnSrpm as error:
        return NoSource(f"not a source package: {error}")
    release = header.release_on(dist_of(target))
    return Source(header.name, header.version, release, list(header.exclude), list(header.exclusive))


async def _commit(ground: Ground, url: str, dist: str) -> Source | NoSource:
    """What a test said of this commit; otherwise what its own spec says."""
    told = ground.store.one("SELECT * FROM koji_source WHERE url = ?", url)
    if told is not None:
        return Source(told["name"], told["version"], told["release"])
    match = SCM.fullmatch(url)
    repository = _repository(ground, match) if match else None
    if match is None or repository is None:
        clone = (
            f'Error running GIT command "git clone -n {url.partition("#")[0]}", see checkout.log for details'
        )
        return NoSource(clone, "not a commit of a repository on this machine, and the sandbox asks no other")
    found = await asyncio.to_thread(read_commit, repository, repository.stem, match["commit"], dist)
    return found if isinstance(found, NoSource) else Source(*found)


def _repository(ground: Ground, match: re.Match[str]) -> Path | None:
    """The bare repository of an address: a folder, or what the sandbox serves itself; None where there is none."""
    if match["scheme"] == "file" and not match["host"]:
        folder = Path(match["path"])
        found = folder.with_name(f"{folder.name}.git")
    else:
        served = SERVED.fullmatch(match["path"])
        if served is None or match["host"].rpartition(":")[0] not in ("127.0.0.1", "localhost"):
            return None
        found = ground.state_dir / "dist-git" / f"{served['inside']}.git"
    return found if found.is_dir() else None


def conflict(store: Store, task: Row, target: Row, source: Source) -> HubFault | None:
    """Why the hub would make no build of this source in this target, or None."""
    tag = store.one("SELECT name FROM koji_tag WHERE id = ?", target["dest_tag"])
    listed = store.one("SELECT unlisted FROM koji_package WHERE name = ?", source.name)
    if listed is not None and listed["unlisted"]:
        name = tag["name"] if tag else ""
        return HubFault(wire.BUILD, f"package {source.name} not in list for tag {name}")
    old = store.one(
        "SELECT * FROM koji_build WHERE name = ? AND version = ? AND release = ?",
        source.name, source.version, source.release,
    )  # fmt: skip
    if old is None or old["state"] in (FAILED, CANCELED):
        return None
    if old["state"] == BUILDING:
        return HubFault(wire.GENERIC, f"Build already in progress (task {old['task_id']})")
    url, _, opts = json.loads(task["request"])
    wanted = {
        "name": source.name, "version": source.version, "release": source.release, "epoch": None,
        "task_id": task["id"], "source": url, "extra": json.dumps(_extra(url, opts)), "owner": task["owner"],
        "state": 0, "completion_time": None, "pkg_id": old["package_id"], "start_time": "NOW", "volume_id": 0,
        "draft": False,
    }  # fmt: skip
    state = STATE_NAMES[old["state"]]
    return HubFault(wire.GENERIC, f"Build already exists (id={old['id']}, state={state}): {wanted}")


def _extra(url: str, opts: dict[str, Any]) -> dict[str, Any]:
    extra: dict[str, Any] = {"source": {"original_url": url}}
    if "custom_user_metadata" in opts:
        extra["custom_user_metadata"] = opts["custom_user_metadata"]
    return extra


def start_build(store: Store, task: Row, source: Source) -> int:
    """The build's row in state BUILDING; a failed or cancelled one of the same name is used again."""
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
