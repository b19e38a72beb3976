"""Tests that tasks of the sandbox hub change as the captured tasks of a real hub did, step by step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sandbox.koji.outputs import relative_folder
from sandbox.testing import Farm
from tests.contract.conftest import make_srpm
from tests.contract.koji.replay import PAYLOADS, Replay, masked

LIFE = [json.loads(line) for line in (PAYLOADS / "task-life.jsonl").read_text().splitlines()]
# In the capture's order: two scenarios meet the build that an earlier one has left.
SCENARIOS = list(dict.fromkeys(line["scenario"] for line in LIFE))
STATES = ("FREE", "OPEN", "CLOSED", "CANCELED", "ASSIGNED", "FAILED")
BUILDS = ("BUILDING", "COMPLETE", "DELETED", "FAILED", "CANCELED")
RELEASES = {"1": 1, "2": 2, "4": 4, "5": 5}
ONE_ARCH = ("scm_failed_nvr_recycled", "scm_freed_then_ok")


class Life:
    """Plays one captured scenario and looks at it as the capture did."""

    def __init__(self, farm: Farm, srpm: Path, scenario: str) -> None:
        self.hub = farm.koji
        self.lines = [line for line in LIFE if line["scenario"] == scenario]
        self.replay = Replay(farm, srpm.read_bytes(), 0)
        user = self.hub.user("life", password="lifepw")["name"]
        self.replay.login("67", user, "lifepw")
        self.number = 0
        source, self.target, self.opts = self.lines[0]["request"]
        self.source = source
        commit = source.rpartition("#")[2][:1]
        self.nvr = f"cri-o1.32-1.32.9-{RELEASES[commit]}.fc42" if commit in RELEASES else ""
        if self.nvr:
            self.hub.source(source, self.nvr)
        arches = "x86_64" if scenario in ONE_ARCH else "x86_64 aarch64"
        self.hub.target("f42-candidate", "f42-build", "f42-updates-candidate", arches)
        self.hub.clear_outcomes()
        if scenario == "scm_arch_fails":
            self.hub.set_outcome("x86_64")
        if scenario == "scm_srpm_fails":
            self.hub.set_outcome("srpm")
        if scenario == "scratch_srpm_ok":
            self._upload(srpm)
        self.task = self.call("build", source, self.target, self.opts)

    def _upload(self, srpm: Path) -> None:
        folder, _, name = self.source.rpartition("/")
        session = self.replay.sessions["67"]
        headers = {
            "Koji-Session-Id": str(session["session-id"]), "Koji-Session-Key": session["session-key"],
            "Content-Type": "application/octet-stream",
        }  # fmt: skip
        query = {"filepath": folder, "filename": name, "offset": "0", "fileverify": "adler32"}
        url = self.replay.farm.koji_url + "/kojihub"
        self.replay.http.post(url, srpm.read_bytes(), params=query, headers=headers, timeout=20)

    def call(self, method: str, *params: Any) -> Any:
        self.number += 1
        return self.replay.call(method, *params, session="67", number=self.number)

    def go_on(self, after: str) -> None:
        if after == "cancelTask() by the owner":
            self.call("cancelTask", self.task)
        elif after == "host.freeTasks":
            self.hub.free(self.task)
        elif after != "build() by the submitter":
            self.hub.step(self.task)

    def look(self) -> dict[str, Any]:
        info = self.call("getTaskInfo", self.task)
        task = {
            "state": STATES[info["state"]],
            "waiting": info["waiting"],
            "started": info["start_time"] is not None,
            "completed": info["completion_time"] is not None,
            "result": self._result(),
        }
        rows = sorted(self.call("getTaskChildren", self.task), key=lambda one: one["id"])
        children = [
            {"n": n, **{key: one[key] for key in ("method", "label", "arch", "awaited")},
             "state": STATES[one["state"]], "files": sorted(self.call("listTaskOutput", one["id"]))}
            for n, one in enumerate(rows)
        ]  # fmt: skip
        return {"task": task, "children": children, "build": self._build()}

    def _result(self) -> Any:
        how = {"raise_fault": False, "__starstar": True}
        answer = self.replay.ask("getTaskResult", self.task, how, session="67", number=self.number + 1)
        if "fault" in answer:
            return {
                "raised": f"GenericError({answer['fault']['code']}): {self._masked(answer['fault']['string'])}"
            }
        told = answer["result"]
        return told if told is None else {**told, "faultString": self._masked(told["faultString"])}

    def _masked(self, text: str) -> str:
        return text.replace(f"Task {self.task} ", "Task <id> ").replace(
            f"'task_id': {self.task},", "'task_id': <id>,"
        )

    def _build(self) -> Any:
        row = self.call("getBuild", self.nvr) if self.nvr else None
        if row is None:
            return None
        tags = [tag["name"] for tag in self.call("listTags", self.nvr)]
        return {"state": BUILDS[row["state"]], "task_is_ours": row["task_id"] == self.task, "tags": tags}


def comparable(line: dict[str, Any]) -> dict[str, Any]:
    """A line without the files of an open child: the capture's builders uploaded them at the end only."""
    children = [{**one, "files": one["files"] if one["state"] != "OPEN" else []} for one in line["children"]]
    task = dict(line["task"])
    if isinstance(task["result"], dict) and "faultString" in task["result"]:
        task["result"] = {**task["result"], "faultString": masked(task["result"]["faultString"])}
    return {"task": task, "children": children, "build": line["build"]}


@pytest.fixture(scope="module")
def seen(module_farm: Farm, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[Any, Any]]]:
    srpm = make_srpm(tmp_path_factory.mktemp("versioned"), "cri-o1.32", version="1.32.1")
    found: dict[str, list[tuple[Any, Any]]] = {}
    for scenario in SCENARIOS:
        life = Life(module_farm, srpm, scenario)
        found[scenario] = []
        for line in life.lines:
            life.go_on(line["after"])
            found[scenario].append((comparable(line), comparable(life.look())))
    return found


@pytest.mark.timeout(120)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_life(seen: dict[str, list[tuple[Any, Any]]], scenario: str) -> None:
    assert seen[scenario]
    for step, (expected, answered) in enumerate(seen[scenario]):
        assert answered == expected, f"step {step}"


def test_a_killed_sandbox_goes_on_with_its_tasks(tmp_path: Path) -> None:
    with Farm(tmp_path / "farm", publish="none", pace=0.1) as farm:
        replay = Replay(farm, b"", 0)
        farm.koji.user("life", password="lifepw")
        replay.login("67", "life", "lifepw")
        source = "git+https://x.example/rpms/cri-o1.32#abcdef1"
        farm.koji.source(source, "cri-o1.32-1.32.3-1.fc44")
        task = replay.call("build", source, "f44-candidate", {}, session="67")
        farm.koji.wait(lambda tasks: tasks[0]["state"] == 1)
        farm.restart()
        farm.koji.wait(lambda tasks: tasks[0]["id"] == task and tasks[0]["state"] == 2)
        page = replay.http.get(f"{farm.koji_url}/koji/taskinfo?taskID={task}", timeout=10).text
        output = relative_folder(task + 1)
        log = replay.http.get(f"{farm.koji_url}/kojifiles/{output}/build.log", timeout=10).text
    assert "simulated" in page and log.startswith("SIMULATED")
