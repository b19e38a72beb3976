"""The forge of a running sandbox for tests: the commands of ``forge/control.py`` as methods."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol


class Farm(Protocol):
    """What ``Forge`` needs of the running sandbox."""

    state_dir: Path
    mirror_url: str

    def call(self, method: str, path: str, /, **data: Any) -> Any: ...


class Forge:
    """The forge of a running sandbox, as its maintainer sees it."""

    def __init__(self, farm: Farm) -> None:
        self._farm = farm

    @property
    def token(self) -> str:
        """Return the bot's token."""
        return (self._farm.state_dir / "forge-token").read_text().strip()

    @property
    def fork_pattern(self) -> str:
        """Return the address of a fork over HTTP, with ``{user}`` and ``{package}`` in it."""
        return f"{self._farm.mirror_url}/git/forks/{{user}}/rpms/{{package}}.git"

    def pulls(self, package: str) -> list[dict[str, Any]]:
        """Return the pull requests of a package, oldest first, each with its ``comments``."""
        return list(self._farm.call("POST", "/forge/pulls", package=package))

    def merge(self, package: str, number: int, how: str = "merge", *, delete: bool = False) -> str:
        """Merge (merge, fast-forward, squash or rebase) and return the commit; ``delete`` the fork's branch."""
        asked = {"package": package, "number": number, "how": how, "delete": delete}
        return str(self._farm.call("POST", "/forge/merge", **asked)["commit"])

    def close(self, package: str, number: int) -> None:
        """Close a pull request without a merge."""
        self._farm.call("POST", "/forge/close", package=package, number=number)

    def open_another(self, package: str, number: int) -> int:
        """Open a second pull request from the same branch, and return its number."""
        return int(self._farm.call("POST", "/forge/open", package=package, number=number)["number"])

    def account(self, *, expired: bool = False, forks: bool = True) -> None:
        """Set whether the bot's token holds, and whether it may fork."""
        self._farm.call("POST", "/forge/account", expired=expired, forks=forks)
