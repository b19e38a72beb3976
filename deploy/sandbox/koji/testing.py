"""The Koji hub of a running sandbox for tests: the commands of ``koji/control.py`` as methods."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol


class Farm(Protocol):
    """What ``Hub`` needs of the running sandbox."""

    def call(self, method: str, path: str, /, **data: Any) -> Any: ...
    def fault(self, kind: str, path: str = "*", *, method: str = "*", times: int | None = 1, skip: int = 0,
              **options: Any) -> int: ...  # fmt: skip
    def requests(self, method: str = "", path: str = "") -> list[dict[str, Any]]: ...


class Hub:
    """The Koji hub of a running sandbox. Rules and settings outlive a restart."""

    def __init__(self, farm: Farm) -> None:
        self._farm = farm

    def tasks(self, method: str = "build") -> list[dict[str, Any]]:
        """Return every task of a method, oldest first, with its request; an empty method means all."""
        return [one for one in self._farm.call("GET", "/koji/tasks") if method in {"", one["method"]}]

    def step(self, task: int | None = None, count: int = 1) -> None:
        """Move one build task, or all that are live, by ``count`` steps."""
        self._farm.call("POST", "/koji/step", task=task, count=count)

    def wait(
        self, until: Callable[[list[dict[str, Any]]], bool], seconds: float = 20.0
    ) -> list[dict[str, Any]]:
        """Return the build tasks once ``until(tasks)`` is true. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            tasks = self.tasks()
            if until(tasks):
                return tasks
            time.sleep(0.02)
        raise TimeoutError(f"still not so after {seconds} s: {[(t['id'], t['state']) for t in self.tasks()]}")

    def set_outcome(self, step: str, *, package: str = "*", code: int = 1005, text: str = "") -> None:
        """Set how a step (an architecture, ``srpm``, ``tag``, ``begin``, ``builder``) of builds ends; 0 is success."""
        self._farm.call("POST", "/koji/outcomes", step=step, package=package, code=code, text=text)

    def clear_outcomes(self) -> None:
        """Let every step succeed again."""
        self._farm.call("DELETE", "/koji/outcomes")

    def play(self, version: str) -> None:
        """Answer as a hub of another version; below 1.35 a repeated call runs twice."""
        self._farm.call("POST", "/koji/hub", version=version)

    def outage(self, text: str = "database outage") -> None:
        """Answer ServerOffline with this text; an empty one ends it."""
        self._farm.call("POST", "/koji/hub", offline=text)

    def sessions(self, action: str, number: int | None = None) -> int:
        """``expire``, ``close`` or ``delete`` one session or all; return how many."""
        data: dict[str, Any] = {"action": action, **({} if number is None else {"id": number})}
        return int(self._farm.call("POST", "/koji/sessions", **data)["sessions"])

    def user(self, name: str, **more: Any) -> dict[str, Any]:
        """Make an account or renew its password: ``{"id", "name", "password"}``."""
        return dict(self._farm.call("POST", "/koji/users", name=name, **more))

    def free(self, task: int) -> None:
        """Give the task back, as its builder would."""
        self._farm.call("POST", "/koji/free", task=task)

    def forget(self, task: int, *, output: bool = False) -> None:
        """Remove a task from the hub, or only its files."""
        self._farm.call("POST", "/koji/forget", task=task, output=output)

    def target(self, name: str, build_tag: str, dest_tag: str, arches: str, *, locked: bool = False) -> None:
        """Make or change a target."""
        self._farm.call(
            "POST",
            "/koji/targets",
            name=name,
            build_tag=build_tag,
            dest_tag=dest_tag,
            arches=arches,
            locked=locked,
        )

    def only_targets(self, *names: str) -> None:
        """Remove every other target."""
        self._farm.call("POST", "/koji/targets", only=list(names))

    def unlist(self, package: str, *, unlisted: bool = True) -> None:
        """Take a package from every tag's list, or put it back."""
        self._farm.call("POST", "/koji/packages", name=package, unlisted=unlisted)

    def source(self, url: str, nvr: str) -> None:
        """Set what is built from a commit."""
        self._farm.call("POST", "/koji/sources", url=url, nvr=nvr)

    def build(self, nvr: str, state: int, **more: Any) -> int:
        """Make a build of somebody else, with ``task``, ``source``, ``tags``; return its id."""
        return int(self._farm.call("POST", "/koji/builds", nvr=nvr, state=state, **more)["id"])

    def move(self, nvr: str, add: str | None = None, remove: str | None = None) -> None:
        """Tag a build, and take another tag from it; one of both is enough."""
        named = {"add": add, "remove": remove}
        self._farm.call("POST", "/koji/tags", nvr=nvr, **{key: tag for key, tag in named.items() if tag})

    def side_tags(self) -> list[dict[str, Any]]:
        """Return every side tag ever made: ``{"name", "owner", "removed", "holds"}``, oldest first."""
        return list(self._farm.call("GET", "/koji/side-tags"))

    def remove_side_tag(self, name: str) -> None:
        """Remove a side tag, as somebody else would."""
        self._farm.call("POST", "/koji/side-tags", remove=name)

    def deny_side_tags(self, why: str) -> None:
        """Let the hub's policy deny new side tags; an empty text ends it."""
        self._farm.call("POST", "/koji/side-tags", denied=why)

    def hold_repos(self, held: bool = True) -> None:
        """Let no repository that is begun get ready, or all."""
        self._farm.call("POST", "/koji/side-tags", hold_repos=held)

    def fault(
        self, kind: str, method: str = "*", *, times: int | None = 1, skip: int = 0, **options: Any
    ) -> int:
        """Spoil calls of one XML-RPC method (``upload`` for uploads); kinds as in ``Farm.fault``."""
        return self._farm.fault(kind, f"/kojihub/{method}", times=times, skip=skip, **options)

    def offline(self) -> int:
        """Drop every connection to the hub until ``clear_faults``."""
        return self._farm.fault("dropped", "/kojihub*", times=None)

    def calls(self, method: str = "") -> list[str]:
        """Return the methods that were called, oldest first; of one name, if it is given."""
        names = [one["path"].rpartition("/")[2] for one in self._farm.requests(path="/kojihub")]
        return [name for name in names if method in {"", name}]
