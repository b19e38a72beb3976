"""Moves a Koji build task from step to step, one hub call of its builder at a time, by the clock or by hand.

The order is the one that real builders were seen to follow: the SRPM, the build's row, one child an
architecture, the tag, the end. What comes next is read off the rows alone, so a killed sandbox goes on.
"""

from __future__ import annotations

import fnmatch
import json
import time
from pathlib import Path
from typing import Any

from sandbox.building.builder import Builder, End, Waiting
from sandbox.building.real_build import BANNER as REALLY_BUILT
from sandbox.driver import Driver
from sandbox.ground import Ground
from sandbox.koji import builds, outputs
from sandbox.koji.hub import FaultCode, work_path
from sandbox.koji.sources import SRPM_FAILED, NoSource, Source, dist_of, read_source
from sandbox.koji.tasks import CLOSED, FAILED, FREE, LIVE, OPEN, add_task, cancel, children, next_step
from sandbox.store import Row

HOST = 1
ENDED_BADLY = (
    "error building package (arch {arch}), mock exited with status 1; "
    "see build.log or root.log for more information"
)


class TaskDriver(Driver):
    """Drives the build tasks of one sandbox."""

    table = "koji_task"

    def __init__(self, ground: Ground, builder: Builder) -> None:
        super().__init__(ground)
        self._builder = builder

    async def step(self, task_id: int) -> None:
        """Move one build task by one step; unknown, ended and waiting ones stay as they are."""
        task = self._live(task_id)
        if task is None or task_id in self._busy:
            return
        read: Source | NoSource | None = None
        if self._srpm_is_open(task):
            read = await self.read_alone(task_id, read_source(self.ground, task))
            task = self._live(task_id)
            if task is None:
                return
        with self.store.transaction():
            self._advance(task, read)
            due = next_step(self.ground) if self._live(task_id) else None
            self.store.execute("UPDATE koji_task SET due_at = ? WHERE id = ?", due, task_id)

    def _live(self, task_id: int) -> Row | None:
        states = ", ".join(map(str, LIVE))
        return self.store.one(
            f"SELECT * FROM koji_task WHERE id = ? AND method = 'build' AND state IN ({states})", task_id
        )

    def _srpm_is_open(self, task: Row) -> bool:
        return any(
            one["label"] == "srpm" and one["state"] == OPEN for one in children(self.store, task["id"])
        )

    def _advance(self, task: Row, read: Source | NoSource | None) -> None:
        source, target_name, opts = json.loads(task["request"])
        if task["state"] != OPEN:
            if not self._outcome(source, "builder"):
                self._open(task)
            return
        found = {one["label"]: one for one in children(self.store, task["id"])}
        target = self.store.one("SELECT * FROM koji_target WHERE name = ?", target_name)
        code, text = self._outcome(source, "begin") or (0, "")
        if code and not found:
            self._fail(task, code, text)
        elif target is None:
            self._fail(task, FaultCode.GENERIC, f"unknown build target: {target_name}")
        elif "srpm" not in found:
            method = "buildSRPMFromSCM" if "://" in source else "rebuildSRPM"
            options = {"repo_id": 1, **({"scratch": True} if opts.get("scratch") else {})}
            self._child(task, method, [source, target["build_tag"], options], "srpm")
        elif self._srpm_over(task, found["srpm"], read):
            self._after_srpm(task, target, opts, found)

    def _srpm_over(self, task: Row, srpm: Row, read: Source | NoSource | None) -> bool:
        """Move the SRPM step on; return whether it is over, well, and no longer waited for."""
        if srpm["awaited"] is None:
            self._wait_for(task, [srpm])
        elif srpm["state"] == FREE:
            self._open(srpm)
        elif srpm["state"] == OPEN:
            self._end_srpm(task, srpm, read)
        elif srpm["awaited"]:
            self._set(srpm, awaited=0)
        elif srpm["state"] == FAILED:
            told = json.loads(srpm["result"])
            self._fail(task, told["faultCode"], told["faultString"])
        else:
            return srpm["state"] == CLOSED
        return False

    def _end_srpm(self, task: Row, srpm: Row, read: Source | NoSource | None) -> None:
        code, text = self._outcome(json.loads(task["request"])[0], "srpm") or (0, "")
        if code or not isinstance(read, Source):
            why = NoSource(text or SRPM_FAILED) if code or read is None else read
            outputs.fail_srpm(self.ground, srpm, why.log)
            self._fail(srpm, code or FaultCode.BUILD, why.fault)
            return
        self.store.execute(
            "UPDATE koji_task SET source = ? WHERE id = ?", json.dumps(read.as_dict()), task["id"]
        )
        self._close(srpm, outputs.finish_srpm(self.ground, srpm, read))

    def _after_srpm(self, task: Row, target: Row, opts: dict[str, Any], found: dict[str, Row]) -> None:
        source = Source(**json.loads(task["source"]))
        if len(found) == 1:
            self._set(task, waiting=0)
        build = self.store.one("SELECT * FROM koji_build WHERE task_id = ?", task["id"])
        if not opts.get("scratch") and build is None:
            self._init_build(task, target, source)
            return
        arches = source.arches(self._arches(target, opts))
        missing = [arch for arch in arches if arch not in found]
        rows = [found[arch] for arch in arches if arch in found]
        bad = next((row for row in rows if row["state"] == FAILED), None)
        if not arches:
            self._fail_build(task, build, FaultCode.BUILD, "No matching arches were found")
        elif missing:
            srpm = f"tasks/{found['srpm']['id'] % 10000}/{found['srpm']['id']}/{source.nvr}.src.rpm"
            request = [srpm, target["build_tag"], missing[0], len(missing) == len(arches), {"repo_id": 1}]
            self._child(task, "buildArch", request, missing[0])
        elif any(row["awaited"] is None for row in rows):
            self._wait_for(task, rows)
        elif bad is not None:
            self._after_failure(task, build, rows, bad)
        elif any(row["state"] != CLOSED for row in rows):
            self._build_arch(task, next(row for row in rows if row["state"] != CLOSED), source)
        elif rows[0]["awaited"]:
            self._complete(task, build, rows, source)
        elif opts.get("scratch") or opts.get("skip_tag"):
            self._close(task, None)
        else:
            self._tag(task, target, build, found.get("tag"))

    def _arches(self, target: Row, opts: dict[str, Any]) -> list[str]:
        tag = self.store.one("SELECT arches FROM koji_tag WHERE id = ?", target["build_tag"])
        allowed = tag["arches"].split() if tag else []
        wanted = str(opts.get("arch_override") or "").split()
        return [arch for arch in wanted if arch in allowed] if wanted else allowed

    def _init_build(self, task: Row, target: Row, source: Source) -> None:
        fault = builds.conflict(self.store, task, target, source)
        if fault is not None:
            self._fail(task, fault.code, fault.text)
        else:
            builds.start_build(self.store, task, source)

    def _build_arch(self, task: Row, row: Row, source: Source) -> None:
        if row["state"] == FREE:
            self._open(row)
            outputs.start_arch(self.ground, row, source, self._banner(task, row))
            return
        code, text = self._outcome(source.name, row["arch"]) or (0, "")
        end = None if code else self._built(task, row, source)
        if isinstance(end, Waiting):
            return
        if code or (end is not None and end.outcome == "failed"):
            told = text or ENDED_BADLY.format(arch=row["arch"])
            outputs.fail_arch(self.ground, row, source, told, end)
            self._fail(row, code or FaultCode.BUILD, told)
        else:
            self._close(row, outputs.finish_arch(self.ground, row, source, end))

    def _banner(self, task: Row, row: Row) -> str:
        """Return the first line of an architecture's log while it grows."""
        compiles = row["arch"] == self._builder.arch and self._srpm(task)
        return REALLY_BUILT if compiles else outputs.BANNER

    def _built(self, task: Row, row: Row, source: Source) -> End | Waiting | None:
        """Compile an uploaded SRPM for one architecture (``row``), or replay a recording; None where it is simulated.

        An architecture of this machine is compiled where there is a toolchain, any other is replayed where a recording
        fits. Builds of commits have no source package here, and are simulated.
        """
        srpm = self._srpm(task)
        if srpm is None:
            return None
        key, dist = f"koji-{row['id']}", dist_of(json.loads(task["request"])[1])
        if row["arch"] == self._builder.arch:
            keep = outputs.output_folder(self.ground, row["id"])
            end = self._builder.compiled(key, srpm, dist, keep)
            if end is not None:
                return end
        chroot = f"fedora-{dist.removeprefix('.fc')}-{row['arch']}"
        return self._builder.replayed(key, srpm, source.name, source.version, chroot, dist)

    def _srpm(self, task: Row) -> Path | None:
        src = json.loads(task["request"])[0]
        return None if "://" in src else work_path(self.ground, src)

    def _after_failure(self, task: Row, build: Row | None, rows: list[Row], bad: Row) -> None:
        live = [row for row in rows if row["state"] in LIVE]
        told = json.loads(bad["result"])
        if live:
            for row in live:
                cancel(self.store, row["id"])
        else:
            self._fail_build(task, build, told["faultCode"], told["faultString"])

    def _fail_build(self, task: Row, build: Row | None, code: int, text: str) -> None:
        if build is not None and build["state"] == builds.BUILDING:
            self.store.execute(
                "UPDATE koji_build SET state = ?, completion_ts = ? WHERE id = ?",
                builds.FAILED, round(time.time(), 6), build["id"],
            )  # fmt: skip
        else:
            self._fail(task, code, text)

    def _complete(self, task: Row, build: Row | None, rows: list[Row], source: Source) -> None:
        for row in rows:
            self._set(row, awaited=0)
        self._set(task, waiting=0)
        if build is not None:
            outputs.keep_build(self.ground, source, rows)
            self.store.execute(
                "UPDATE koji_build SET state = ?, completion_ts = ?, arches = ? WHERE id = ?",
                builds.COMPLETE, round(time.time(), 6), " ".join(row["arch"] for row in rows), build["id"],
            )  # fmt: skip

    def _tag(self, task: Row, target: Row, build: Row | None, tagging: Row | None) -> None:
        assert build is not None, "only a build with a row comes to be tagged"
        tagged = self.store.one("SELECT 1 FROM koji_tagging WHERE build_id = ?", build["id"])
        if tagging is None:
            self._child(task, "tagBuild", [target["dest_tag"], build["id"], False, None, True], "tag")
        elif tagging["state"] == FREE:
            self._open(tagging)
        elif tagging["state"] == OPEN and tagged is None:
            code, text = self._outcome(build["name"], "tag") or (0, "")
            if code:
                self._fail(tagging, code, text or "the tag is locked")
                return
            name = self.store.one("SELECT name FROM koji_tag WHERE id = ?", target["dest_tag"])
            event = self.store.execute("INSERT INTO koji_event (at) VALUES (?)", time.time()).lastrowid or 0
            builds.put_tag(self.store, build["id"], name["name"] if name else "", event)
        elif tagging["state"] == OPEN:
            self._close(tagging, None)
        elif tagging["state"] == FAILED:
            told = json.loads(tagging["result"])
            self._fail(task, told["faultCode"], told["faultString"])
        else:
            self._close(task, None)

    def _outcome(self, package: str, step: str) -> tuple[int, str] | None:
        """Return the newest rule for this package (or source) and step."""
        for rule in self.store.all("SELECT * FROM koji_outcome ORDER BY id DESC"):
            if fnmatch.fnmatchcase(package, rule["package"]) and rule["step"] == step:
                return (rule["code"], rule["text"]) if rule["code"] else None
        return None

    def _child(self, task: Row, method: str, request: list[Any], label: str) -> None:
        arch = label if method == "buildArch" else "noarch"
        add_task(
            self.store, method, request,
            owner=task["owner"], priority=task["priority"] - 1, parent=task["id"], label=label, arch=arch,
        )  # fmt: skip

    def _wait_for(self, task: Row, rows: list[Row]) -> None:
        for row in rows:
            self._set(row, awaited=1)
        self._set(task, waiting=1)

    def _open(self, row: Row) -> None:
        self._set(row, state=OPEN, host_id=HOST, start_ts=round(time.time(), 6))

    def _close(self, row: Row, result: Any) -> None:
        self._set(row, state=CLOSED, completion_ts=round(time.time(), 6), result=json.dumps(result))

    def _fail(self, row: Row, code: int, text: str) -> None:
        result = json.dumps({"faultCode": code, "faultString": text})
        self._set(row, state=FAILED, completion_ts=round(time.time(), 6), result=result)

    def _set(self, row: Row, **values: Any) -> None:
        names = ", ".join(f"{name} = ?" for name in values)
        self.store.execute(f"UPDATE koji_task SET {names} WHERE id = ?", *values.values(), row["id"])
