"""Who calls: the log-in check, new tokens, webhook secrets."""

from __future__ import annotations

import secrets
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from sandbox.copr.api import Call, Refused, endpoint, has_permission, login_expired, project_row
from sandbox.store import Store

TOKEN_LIFE = timedelta(days=180)


def renew_token(store: Store, account: str) -> dict[str, str]:
    """``{"login", "token", "expiration"}``; makes a missing account. The caller owns the transaction."""
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
    """Who the token belongs to."""
    row = call.store.one("SELECT * FROM account WHERE name = ?", call.account)
    if row is None:
        raise login_expired(call.ground)
    return {"id": row["id"], "name": row["name"]}


@endpoint("POST", "/api-token")
def api_token(call: Call) -> dict[str, str]:
    """A new token of 180 days; the old one is dead from this moment."""
    fresh = renew_token(call.store, call.account)
    return {"api_login": fresh["login"], "api_token": fresh["token"], "expiration": fresh["expiration"]}


@endpoint("GET", "/gssapi_login")
def gssapi_login(call: Call) -> dict[str, str]:
    """The sandbox has no Kerberos realm, so every attempt ends as one without credentials."""
    raise Refused(403, "Can't log-in using GSSAPI: Kerberos authentication failed (no credentials provided)")


@endpoint("POST", "/webhook/generate/{owner}/{name}")
def webhook_secret(call: Call) -> dict[str, Any]:
    """A new secret for the project's own webhooks; the sandbox keeps it and listens to none."""
    project = project_row(call, call.path["owner"], call.path["name"])
    if not has_permission(call.store, call.account, project, "admin"):
        raise Refused(403, "Only owners and admins may update their projects.")
    secret = str(uuid.uuid4())
    call.store.execute("UPDATE project SET webhook_secret = ? WHERE id = ?", secret, project["id"])
    return {
        "id": project["id"],
        "name": project["name"],
        "ownername": project["owner"],
        "full_name": f"{project['owner']}/{project['name']}",
        "webhook_secret": secret,
    }
