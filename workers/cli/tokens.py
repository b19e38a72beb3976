"""``cryopack token …`` and ``cryopack audit``: create, list and revoke tokens; show who asked for what."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

import typer

from workers.cli.output import Json, fail, print_json, print_table, read_time
from workers.cli.service import service

tokens_app = typer.Typer(
    no_args_is_help=True, help="Tokens for the API and the dashboard: create, list, revoke."
)
_UNITS = {"h": 3600, "d": 86400, "w": 7 * 86400}


@tokens_app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="What the audit trail calls whoever uses it.")],
    scope: Annotated[
        list[str],
        typer.Option(help="read, builds:write, releases:write, catalog:write or admin; repeatable."),
    ] = ["read"],  # noqa: B006
    expires: Annotated[str, typer.Option(help="How long it is valid: 12h, 30d, 4w, or never.")] = "90d",
    as_json: Json = False,
) -> None:
    """Make a token and print it: on stdout, once. It is not stored; only its digest is."""
    with service() as asked:
        made = asked.create_token(name, scope, lasting(expires))
    if as_json:
        print_json(made)
        return
    typer.echo(made["text"])
    until = day(made["token"]["expires_at"]) if made["token"]["expires_at"] else "it is revoked"
    typer.echo(f"{name} may: {', '.join(made['token']['scopes'])}; until {until}. Shown this once.", err=True)


@tokens_app.command("list")
def show(as_json: Json = False) -> None:
    """Every token that was ever made, newest first; never their texts."""
    with service() as asked:
        rows = asked.list_tokens()
    if as_json:
        print_json(rows)
        return
    table = [
        (row["name"], row["state"], ",".join(row["scopes"]), day(row["created_at"]), row["created_by"],
         day(row["expires_at"]), day(row["last_used_at"]))
        for row in rows
    ]  # fmt: skip
    print_table(("NAME", "STATE", "SCOPES", "CREATED", "BY", "EXPIRES", "LAST USED"), table)


@tokens_app.command()
def revoke(name: Annotated[str, typer.Argument(help="The token's name.")]) -> None:
    """End a token, and the sign-ins that stand on it, at once."""
    with service() as asked:
        asked.revoke_token(name)
    typer.echo(f"token {name} is revoked")


def lasting(text: str) -> timedelta | None:
    """Return ``12h``, ``30d`` or ``4w`` as a duration, ``never`` as None; exit with status 1 for anything else."""
    if text == "never":
        return None
    match = re.fullmatch(r"([1-9]\d{0,3})([hdw])", text)
    if match is None:
        fail(f"--expires {text[:20]!r} is not a time such as 12h, 30d, 4w or never")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


def day(value: str | None) -> str:
    """Return a time of an answer to the minute, with its zone; a dash for none."""
    return f"{read_time(value):%Y-%m-%d %H:%M} UTC" if value else "-"


def audit(
    actor: Annotated[str | None, typer.Option(help="Only what this one asked for.")] = None,
    action: Annotated[str | None, typer.Option(help="Only this action, such as build.retry.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many, newest first.")] = 30,
    as_json: Json = False,
) -> None:
    """Who asked for what, newest first."""
    with service() as asked:
        entries = asked.audit({"actor": actor, "action": action}, limit)
    if as_json:
        print_json(entries)
        return
    rows = [
        (day(row["at"]), row["actor"], row["address"] or "here", row["action"], row["subject"], row["detail"])
        for row in entries
    ]
    print_table(("TIME", "WHO", "FROM", "ACTION", "SUBJECT", "DETAIL"), rows)
