"""Moves a COPR build from step to step, by the clock or by hand.

pending, starting, running, importing, pending again, starting, running, end. Every step is one
transaction; the driver can be killed between any two of them and goes on at the next start.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from typing import Any

from sandbox.building.builder import End, Waiting
from sandbox.building.srpm_header import Header, NotAnSrpm
from sandbox.copr import results
from sandbox.copr.builder import ChrootBuilder
from sandbox.copr.shapes import (
    CHROOT_ENDS,
    LIVE,
    build_state,
    chroots_of,
    project_chroots,
    results_path,
    source_path,
)
from sandbox.copr.sources import IMPORT, outcome_of, read_source, source_file
from sandbox.driver import Driver
from sandbox.ground import Ground
from sandbox.store import Row


class BuildDriver(Driver):
    """Drives the COPR builds of one sandbox."""

    table = "build"

    def __init__(self, ground: Ground, builder: ChrootBuilder) -> None:
        super().__init__(ground)
        self._builder = builder

    def _load(self, build_id: int) -> tuple[Row, Row] | None:
        build = self.store.one("SELECT * FROM build WHERE id = ?", build_id)
        project = build and self.store.one("SELECT * FROM project WHERE id = ?", build["project_id"])
        return (build, project) if build and project else None

    async def step(self, build_id: int) -> None:
        """Move one build by one step; unknown and ended builds stay as they are."""
        loaded = self._load(build_id)
        if loaded is None or build_id in self._busy:
            return
        build, project = loaded
        source: Header | NotAnSrpm | None = None
        if build["source_state"] == "running" and not build["canceled"]:
            source = await self.read_alone(build_id, read_source(self.ground, build))
            loaded = self._load(build_id)
            if loaded is None or loaded[0]["canceled"]:
                return
            build, project = loaded
        with self.store.transaction():
            self._advance(build, project, source)
            loaded = self._load(build_id)
            over = loaded is not None and self._over(loaded[0])
            due = None if over else self.ground.next_step()
            self.store.execute("UPDATE build SET due_at = ? WHERE id = ?", due, build_id)
        # The real farm compresses logs after the final state is visible, and so does this one.
        asyncio.get_running_loop().call_later(self.ground.pace / 2, self.compress, build_id)

    def compress(self, build_id: int) -> None:
        """Compress the logs of the parts of this build that have ended."""
        loaded = self._load(build_id)
        if loaded is None:
            return
        build, project = loaded
        if build["source_state"] in {"succeeded", "importing", "failed"} or build["canceled"]:
            results.compress(self.ground.results / source_path(project, build))
        for row in chroots_of(self.store, build_id):
            if row["has_result"] and row["state"] in CHROOT_ENDS:
                results.compress(self.ground.results / results_path(project, build, row["name"]))

    def _over(self, build: Row) -> bool:
        if build["canceled"]:
            return bool(build["confirmed"])
        if build["source_state"] == "failed":
            return True
        rows = chroots_of(self.store, build["id"])
        return build["source_state"] == "succeeded" and all(row["state"] in CHROOT_ENDS for row in rows)

    def _advance(self, build: Row, project: Row, source: Header | NotAnSrpm | None) -> None:
        if build["canceled"]:
            self._confirm_cancel(build)
        elif build["source_state"] == "pending":
            if not self._blocked(build):
                self._source_state(build, "starting")
        elif build["source_state"] == "starting":
            folder = self.ground.results / source_path(project, build)
            results.start_log(folder, "Source step", [f"source type: {build['source_type']}"])
            self._source_state(build, "running")
        elif build["source_state"] == "running":
            self._end_source(build, project, source)
        elif build["source_state"] == "importing":
            self._import(build, project)
        else:
            for row in chroots_of(self.store, build["id"]):
                self._advance_chroot(build, project, row)

    def _source_state(self, build: Row, state: str) -> None:
        self.store.execute("UPDATE build SET source_state = ? WHERE id = ?", state, build["id"])

    def _blocked(self, build: Row) -> bool:
        """Return whether the build that this one must come after has not ended yet."""
        options = json.loads(build["options"])
        if options.get("with_build_id"):
            leader = self.store.one("SELECT * FROM build WHERE id = ?", options["with_build_id"])
            return leader is not None and self._blocked(leader)
        before = self.store.one("SELECT * FROM build WHERE id = ?", options.get("after_build_id"))
        if before is None:
            return False
        states = [row["state"] for row in chroots_of(self.store, before["id"])]
        return build_state(before["canceled"], before["source_state"], states) in LIVE

    def _confirm_cancel(self, build: Row) -> None:
        self.store.execute("UPDATE build SET confirmed = 1 WHERE id = ?", build["id"])
        for row in chroots_of(self.store, build["id"]):
            if row["state"] not in CHROOT_ENDS:
                self.set_chroot(build["id"], row["name"], state="canceled")

    def set_chroot(self, build_id: int, chroot: str, **columns: Any) -> None:
        """Change columns of one chroot of a build; the caller owns the transaction."""
        names = ", ".join(f"{name} = ?" for name in columns)
        self.store.execute(
            f"UPDATE build_chroot SET {names} WHERE build_id = ? AND name = ?",
            *columns.values(),
            build_id,
            chroot,
        )

    def _end_source(self, build: Row, project: Row, source: Header | NotAnSrpm | None) -> None:
        folder, now = self.ground.results / source_path(project, build), int(time.time())
        if not isinstance(source, Header):
            text = f"{source}\n{results.SOURCE_FAILED}"
            results.finish(folder, "failed", text, {})
            self._source_state(build, "failed")
            for row in chroots_of(self.store, build["id"]):
                self.set_chroot(build["id"], row["name"], state="failed", started_on=now, ended_on=now)
            return
        upload = source_file(self.ground, build)
        name = upload.name
        results.keep_source(upload, folder)
        results.finish(folder, "succeeded", f"Read {name}: {source.name}-{source.evr}\n", {})
        self.store.execute(
            "UPDATE build SET source_state = 'importing', package = ?, version = ?, header = ?,"
            " source_url = ? WHERE id = ?",
            source.name,
            source.evr,
            json.dumps(source.as_dict()),
            f"/results/{source_path(project, build)}/{name}",
            build["id"],
        )
        self.store.execute(
            "INSERT INTO package (project_id, name, source_type, source_dict) VALUES (?, ?, 'unset', '{}')"
            " ON CONFLICT DO NOTHING",
            project["id"],
            source.name,
        )
        for row in chroots_of(self.store, build["id"]):
            self._skip_excluded(build, row["name"], source)

    def _skip_excluded(self, build: Row, chroot: str, header: Header) -> None:
        if not header.builds_on(chroot.rpartition("-")[2]):
            now = int(time.time())
            self.set_chroot(build["id"], chroot, state="skipped", started_on=now, ended_on=now)

    def _import(self, build: Row, project: Row) -> None:
        shutil.rmtree(source_file(self.ground, build).parent, ignore_errors=True)
        if not chroots_of(self.store, build["id"]):
            header = Header.from_dict(json.loads(build["header"]))
            for position, name in enumerate(project_chroots(self.store, project["id"])):
                self.store.execute(
                    "INSERT INTO build_chroot (build_id, name, position, state) VALUES (?, ?, ?, 'waiting')",
                    build["id"],
                    name,
                    position,
                )
                self._skip_excluded(build, name, header)
        failed = outcome_of(self.store, build, IMPORT)[0] == "failed"
        self._source_state(build, "failed" if failed else "succeeded")
        for row in chroots_of(self.store, build["id"]):
            if row["state"] == "waiting":
                self.set_chroot(build["id"], row["name"], state="failed" if failed else "pending")

    def _advance_chroot(self, build: Row, project: Row, row: Row) -> None:
        now, name = int(time.time()), row["name"]
        if row["state"] == "pending":
            known = self.store.one("SELECT active FROM chroot WHERE name = ?", name)
            outcome = outcome_of(self.store, build, name)[0]
            if outcome == "canceled":
                self.set_chroot(build["id"], name, state="canceled")
            elif outcome != "pending" and known and known["active"]:
                self.set_chroot(build["id"], name, state="starting", started_on=now, has_result=1)
        elif row["state"] == "starting":
            lines = [f"Chroot: {name}", f"Package: {build['package']} {build['version']}"]
            results.start_log(
                self.ground.results / results_path(project, build, name),
                "Build step",
                lines,
                self._builder.banner(build, name),
            )
            # Chroots end one after the other, so that "one succeeded, one running" is an everyday sight.
            self.set_chroot(build["id"], name, state="running", steps_left=row["position"] % 2)
        elif row["state"] == "running" and row["steps_left"]:
            self.set_chroot(build["id"], name, steps_left=row["steps_left"] - 1)
        elif row["state"] == "running":
            self._end_chroot(build, project, row)

    def _end_chroot(self, build: Row, project: Row, row: Row) -> None:
        name = row["name"]
        end = self._builder.end(build, project, name)
        if isinstance(end, Waiting):
            return
        if isinstance(end, End):
            outcome, text, banner = end.outcome, end.log, end.banner
        else:
            outcome, text = outcome_of(self.store, build, name)
            banner = results.BANNER
        state = "failed" if outcome == "failed" else "succeeded"
        header = Header.from_dict(json.loads(build["header"]))
        nvr = f"{header.name}-{header.version}-{header.release_on(self.ground.dist(name))}"
        default = results.default_failure if state == "failed" else results.default_success
        packages = []
        if state == "succeeded":
            arch = "noarch" if header.arch == "noarch" else name.rpartition("-")[2]
            built = {"name": header.name, "epoch": header.epoch, "version": header.version}
            built["release"] = header.release_on(self.ground.dist(name))
            packages = [{**built, "arch": "src"}, {**built, "arch": arch}]
        folder = self.ground.results / results_path(project, build, name)
        results.change_banner(folder, banner)
        results.finish(folder, state, text or default(nvr, name), {"packages": packages}, banner)
        self.set_chroot(
            build["id"], name, state=state, ended_on=int(time.time()), packages=json.dumps(packages)
        )
