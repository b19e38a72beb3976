"""Commands below ``/_sandbox/forge`` with which tests act as the forge's maintainer or owner."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from sandbox.forge import core
from sandbox.ground import Ground
from sandbox.levers import BadCommand, command
from sandbox.store import Row


def _pull(ground: Ground, data: dict[str, Any]) -> Row:
    try:
        return core.pull_of(ground, data["package"], int(data["number"]))
    except KeyError:
        raise BadCommand(f"there is no pull request #{data['number']} of {data['package']}") from None


@command("POST", "/forge/pulls")
async def pulls(ground: Ground, data: dict[str, Any], request: Request) -> list[dict[str, Any]]:
    """Return the pull requests of ``{"package"}``, oldest first, each with its comments."""
    rows = reversed(core.pulls_of(ground, data["package"]))
    return [{**dict(row), "comments": [one["text"] for one in core.comments_of(ground, row)]} for row in rows]


@command("POST", "/forge/merge")
async def merge(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, str]:
    """Merge ``{"package", "number", "how", "delete"}``: ``how`` as in MERGES; ``delete`` removes the fork's branch."""
    delete = bool(data.get("delete", False))
    try:
        return {"commit": core.merge_pull(ground, _pull(ground, data), data["how"], delete=delete)}
    except core.ForgeRefusal as error:
        raise BadCommand(str(error)) from error


@command("POST", "/forge/close")
async def close(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, Any]:
    """Close ``{"package", "number"}`` as the maintainer, without a merge."""
    try:
        core.close_pull(ground, _pull(ground, data), core.MAINTAINER)
    except core.ForgeRefusal as error:
        raise BadCommand(str(error)) from error
    return {}


@command("POST", "/forge/open")
async def open_another(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, int]:
    """Open a second pull request from the branch of ``{"package", "number"}``, as a late request would."""
    row = _pull(ground, data)
    twin = core.open_pull(
        ground, row["package"], branch=row["branch"], user=row["user"], branch_from=row["branch_from"],
        title=row["title"], text=row["text"],
    )  # fmt: skip
    return {"number": twin["number"]}


@command("POST", "/forge/account")
async def account(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, Any]:
    """Set whether the bot's token holds and whether it may fork: ``{"expired", "forks"}``."""
    with ground.store.transaction():
        ground.store.execute(
            "UPDATE forge_account SET expired = ?, forks = ? WHERE name = ?",
            bool(data.get("expired", False)), bool(data.get("forks", True)), core.BOT,
        )  # fmt: skip
    return {}
