"""Koji's methods for sessions and users: log in, renew, log out, and tell who calls."""

from __future__ import annotations

import secrets
import string
from typing import Any

from sandbox.koji.hub import Call, FaultCode, HubFault, rpc, version_of
from sandbox.store import Row

LETTERS = string.ascii_letters + string.digits
PASSWORD, CERTIFICATE = 0, 2


def _session(call: Call, user_id: int, authtype: int, *, renew: bool) -> dict[str, Any]:
    key = f"{user_id}-{''.join(secrets.choice(LETTERS) for _ in range(19))}"
    if renew:
        if call.session is None:
            raise HubFault(FaultCode.AUTH, "Invalid session or bad credentials")
        number = call.session["id"]
        call.store.execute("UPDATE koji_session SET key = ?, expired = 0 WHERE id = ?", key, number)
    else:
        number = call.store.execute(
            "INSERT INTO koji_session (user_id, key, authtype) VALUES (?, ?, ?)", user_id, key, authtype
        ).lastrowid
    return {"session-id": number, "session-key": key, "header-auth": True}


def _not_twice(call: Call, renew: bool) -> None:
    if call.session is not None and not renew:
        raise HubFault(FaultCode.AUTH, "Already logged in")


@rpc("login")
def login(
    call: Call, user: str, password: str, opts: Any = None, renew: bool = False, exclusive: bool = False
) -> dict[str, Any]:
    """Open a session for a name and a password; with ``renew`` the same session gets a new key."""
    _not_twice(call, renew)
    row = call.store.one("SELECT * FROM koji_user WHERE name = ? AND password = ?", user, password)
    if row is None:
        raise HubFault(FaultCode.AUTH, "invalid username or password")
    return _session(call, row["id"], PASSWORD, renew=renew)


@rpc("sslLogin")
def ssl_login(
    call: Call, proxyuser: Any = None, proxyauthtype: Any = None, renew: bool = False, exclusive: bool = False
) -> dict[str, Any]:
    """Open a session for the client that the TLS front names; an unknown name becomes a new user, as in Fedora."""
    _not_twice(call, renew)
    if call.client is None:
        raise HubFault(FaultCode.AUTH, "could not verify client: NONE")
    name, kind = call.client
    row = call.store.one("SELECT id FROM koji_user WHERE name = ?", name)
    user_id = row["id"] if row else None
    if user_id is None:
        password = secrets.token_hex(16)
        user_id = call.store.execute(
            "INSERT INTO koji_user (name, password) VALUES (?, ?)", name, password
        ).lastrowid
    return _session(call, int(user_id or 0), kind, renew=renew)


@rpc("logout", writes=True)
def logout(call: Call, session_id: int | None = None) -> None:
    """Close this session or another one of the same user; also one that is closed or expired."""
    if call.session is None or call.user is None:
        raise HubFault(FaultCode.AUTH, "Not logged in")
    number = call.session["id"] if session_id is None else session_id
    owner = call.store.one("SELECT user_id FROM koji_session WHERE id = ?", number)
    if owner is None or (owner["user_id"] != call.user["id"] and not call.user["admin"]):
        raise HubFault(FaultCode.GENERIC, "query returned no rows")
    call.store.execute("UPDATE koji_session SET closed = 1 WHERE id = ?", number)


def _user(row: Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "name": row["name"],
        "status": 0,
        "usertype": 0,
        "krb_principals": [f"{row['name']}@TEST.REALM"],
    }


@rpc("getLoggedInUser")
def get_logged_in_user(call: Call) -> dict[str, Any] | None:
    """Return the caller, or None."""
    if call.user is None or call.session is None:
        return None
    principal = f"{call.user['name']}@TEST.REALM"
    return {**_user(call.user), "authtype": call.session["authtype"], "krb_principal": principal}


@rpc("getUser")
def get_user(call: Call, userInfo: Any = None, strict: bool = False) -> dict[str, Any] | None:
    """Return a user by name or id; without a name the caller."""
    if userInfo is None:
        return _user(call.user) if call.user else None
    column = "id" if isinstance(userInfo, int) else "name"
    row = call.store.one(f"SELECT * FROM koji_user WHERE {column} = ?", userInfo)
    if row is None and strict:
        raise HubFault(FaultCode.GENERIC, f"No such user: {userInfo!r}")
    return _user(row) if row else None


@rpc("getKojiVersion")
def get_koji_version(call: Call) -> str:
    """Return the hub's version."""
    return version_of(call.ground)[0]


@rpc("getAPIVersion")
def get_api_version(call: Call) -> int:
    """Return the protocol's version."""
    return 1


@rpc("echo")
def echo(call: Call, *values: Any) -> list[Any]:
    """Return the arguments."""
    return list(values)
