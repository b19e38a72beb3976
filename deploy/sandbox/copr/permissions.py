"""Who else may build in a project or edit it."""

from __future__ import annotations

from typing import Any

from sandbox.copr.api import Call, Refused, endpoint, has_permission, is_owner, project_row
from sandbox.store import Row

STATES = ("nothing", "request", "approved")


def _project(call: Call) -> Row:
    return project_row(call, call.path["owner"], call.path["name"])


def _put(call: Call, project: Row, account: str, wanted: dict[str, str]) -> bool:
    """Store the wanted states of ``builder`` and ``admin``; tells whether anything changed."""
    row = call.store.one(
        "SELECT * FROM permission WHERE project_id = ? AND account = ?", project["id"], account
    )
    before = (
        {"builder": row["builder"], "admin": row["admin"]}
        if row
        else dict.fromkeys(("builder", "admin"), "nothing")
    )
    after = {key: wanted.get(key, value) for key, value in before.items()}
    for state in after.values():
        if state not in STATES:
            raise Refused(400, f"Invalid permission state: {state}")
    call.store.execute(
        "INSERT INTO permission VALUES (?, ?, ?, ?) ON CONFLICT (project_id, account)"
        " DO UPDATE SET builder = excluded.builder, admin = excluded.admin",
        project["id"],
        account,
        after["builder"],
        after["admin"],
    )
    return after != before


@endpoint("GET", "/project/permissions/get/{owner}/{name}", login=True)
def get(call: Call) -> dict[str, Any]:
    """``{"permissions": {account: {"builder", "admin"}}}``; 404 where none is set."""
    project = _project(call)
    if not has_permission(call.store, call.account, project, "admin"):
        raise Refused(403, "Only owners and admins may see the permissions of their projects.")
    rows = call.store.all("SELECT * FROM permission WHERE project_id = ? ORDER BY account", project["id"])
    if not rows:
        raise Refused(404, f"No permissions set on {project['owner']}/{project['name']} project")
    return {
        "permissions": {row["account"]: {"builder": row["builder"], "admin": row["admin"]} for row in rows}
    }


@endpoint("PUT", "/project/permissions/request/{owner}/{name}", body=True)
def request(call: Call) -> dict[str, bool]:
    """Ask for (true) or give back (false) a role; the owner's answer comes through ``set``."""
    project = _project(call)
    wanted: dict[str, str] = {
        role: "request" if call.data[role] else "nothing"
        for role in ("builder", "admin")
        if role in call.data
    }
    if not wanted:
        raise Refused(400, "Permissions not requested")
    return {"updated": _put(call, project, call.account, wanted)}


@endpoint("PUT", "/project/permissions/set/{owner}/{name}", body=True)
def grant(call: Call) -> dict[str, list[str]]:
    """``{account: {"builder": state, "admin": state}}`` to the accounts that changed."""
    project = _project(call)
    if not is_owner(call.store, call.account, project["owner"]):
        raise Refused(403, "Only owners may set the permissions of their projects.")
    updated = []
    for account, wanted in call.data.items():
        if call.store.one("SELECT 1 FROM account WHERE name = ?", account) is None:
            raise Refused(400, f"user '{account}' doesn't exist in database")
        if _put(call, project, account, wanted):
            updated.append(account)
    return {"updated": updated}


@endpoint("GET", "/project/permissions/can_build_in/{who}/{owner}/{name}")
def can_build_in(call: Call) -> dict[str, Any]:
    """Whether an account may build; open to everybody."""
    project = _project(call)
    who = call.path["who"]
    if call.store.one("SELECT 1 FROM account WHERE name = ?", who) is None:
        raise Refused(404, f"No such user `{who}'")
    return {
        "ownername": project["owner"],
        "projectname": project["name"],
        "who": who,
        "can_build_in": has_permission(call.store, who, project, "builder"),
    }
