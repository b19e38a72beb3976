"""``/_sandbox/forge``: what tests and demonstrations may tell the forge, as its maintainer or its owner."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from sandbox.forge import core as forge
from sandbox.ground import Ground
from sandbox.levers import BadCommand, command
from sandbox.store import Row


def _pull(ground: Ground, data: dict[str, Any]) -> Row:
    try:
        return forge.pull_of(ground, data["package"], int(data["number"]))
    except KeyError:
        raise BadCommand(f"there is no pull request #{data['number']} of {data['package']}") from None


@command("POST", "/forge/pulls")
async def pulls(ground: Ground, data: dict[str, Any], request: Request) -> list[dict[str, Any]]:
    """``{"package"}``: its pull requests, oldest first, each with its comments."""
    rows = reversed(forge.pulls_of(ground, data["package"]))
    return [
        {**dict(row), "comments": [one["text"] for one in forge.comments_of(ground, row)]} for row in rows
    ]


@command("POST", "/forge/merge")
async def merge(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, str]:
    """``{"package", "number", "how", "delete"}``: merge, fast-forward, squash or rebase, and delete the branch."""
    delete = bool(data.get("delete", False))
    try:
        return {"commit": forge.merge_pull(ground, _pull(ground, data), data["how"], delete=delete)}
    except forge.ForgeRefusal as error:
        raise BadCommand(str(error)) from error


@command("POST", "/forge/close")
async def close(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, Any]:
    """``{"package", "number"}``: the maintainer closes it without a merge."""
    try:
        forge.close_pull(ground, _pull(ground, data), forge.MAINTAINER)
    except forge.ForgeRefusal as error:
        raise BadCommand(str(error)) from error
    return {}


@command("POST", "/forge/open")
async def open_another(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, int]:
    """``{"package", "number"}``: a second pull request from the same branch, as a late request would open."""
    row = _pull(ground, data)
    twin = forge.open_pull(
        ground, row["package"], branch=row["branch"], user=row["user"], branch_from=row["branch_from"],
        title=row["title"], text=row["text"],
    )  # fmt: skip
    return {"number": twin["number"]}


@command("POST", "/forge/account")
async def account(ground: Ground, data: dict[str, Any], request: Request) -> dict[str, Any]:
    """``{"expired", "forks"}``: whether the bot's token holds, and whether it may fork."""
    with ground.store.transaction():
        ground.store.execute(
            "UPDATE forge_account SET expired = ?, forks = ? WHERE name = ?",
            bool(data.get("expired", False)), bool(data.get("forks", True)), forge.BOT,
        )  # fmt: skip
    return {}
