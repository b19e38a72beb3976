"""COPR's endpoints for accounts: check a log-in, issue tokens, and keep who may build in or edit a project."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

from sandbox.copr.api import (
    Call,
    Refused,
    endpoint,
    has_permission,
    is_owner,
    login_expired,
    project_row,
)
from sandbox.store import Row, Store

TOKEN_LIFE = timedelta(days=180)
STATES = ("nothing", "request", "approved")


def renew_token(store: Store, account: str) -> dict[str, str]:
    """Issue ``{"login", "token", "expiration"}``; makes a missing account. The caller owns the transaction."""
    login, token = secrets.token_hex(10), secrets.token_hex(15)
    expiration = (datetime.now(UTC).date() + TOKEN_LIFE).isoformat()
    store.execute(
        "INSERT INTO account (name, login, token, expiration) VALUES (?, ?, ?, ?) ON CONFLICT (name)"
        " DO UPDATE SET login = excluded.login, token = excluded.token, expiration = excluded.expiration",
        account,
        login,
        token,
        expiration,
    )
    return {"login": login, "token": token, "expiration": expiration}


@endpoint("GET", "/auth-check", login=True)
def auth_check(call: Call) -> dict[str, Any]:
    """Return the account that the token belongs to."""
    row = call.store.one("SELECT * FROM account WHERE name = ?", call.account)
    if row is None:
        raise login_expired(call.ground)
    return {"id": row["id"], "name": row["name"]}


@endpoint("POST", "/api-token")
def api_token(call: Call) -> dict[str, str]:
    """Issue a new token of 180 days; the old one is invalid from this moment."""
    fresh = renew_token(call.store, call.account)
    return {"api_login": fresh["login"], "api_token": fresh["token"], "expiration": fresh["expiration"]}


@endpoint("GET", "/gssapi_login")
def gssapi_login(call: Call) -> dict[str, str]:
    """Refuse every log-in by Kerberos, as one without credentials: the sandbox has no realm."""
    raise Refused(403, "Can't log-in using GSSAPI: Kerberos authentication failed (no credentials provided)")


def _project(call: Call) -> Row:
    return project_row(call, call.path["owner"], call.path["name"])


def _put(call: Call, project: Row, account: str, wanted: dict[str, str]) -> bool:
    """Store the wanted states of ``builder`` and ``admin``; return whether anything changed."""
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
    """Return ``{"permissions": {account: {"builder", "admin"}}}``; 404 where none is set."""
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
    """Set roles, ``{account: {"builder": state, "admin": state}}``, and return the accounts that changed."""
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
    """Return whether an account may build in a project; needs no log-in."""
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
