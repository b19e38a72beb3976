"""``cryopack cause …``: which causes were met, and names for unknown ones."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from service import board
from service.domain.diagnosis import Fault, Retry
from service.results import diagnoses
from service.store.session import database_now
from workers.cli.output import Json, age, context, print_json, print_table, told

causes_app = typer.Typer(no_args_is_help=True, help="Causes of failures: list them, name an unknown one.")


@causes_app.command("list")
def list_causes(as_json: Json = False) -> None:
    """Unknown clusters first, then the rules that were met."""
    with context() as ctx, ctx.db.reader() as session:
        found = board.list_causes(session, ctx.catalog)
        now = database_now(session)
        if as_json:
            print_json(found)
            return
        rows = [
            (c.fingerprint, c.counts.builds, age(c.counts.last_at or c.first_at, now), ",".join(c.branches), c.cause)
            for c in found.clusters
        ]  # fmt: skip
        rows += [
            (rule.id, rule.counts.builds, age(rule.counts.last_at, now), rule.fault, rule.cause)
            for rule in (*found.named, *found.rules)
            if rule.counts.last_at
        ]
        print_table(("RULE OR CLUSTER", "BUILDS", "LAST", "WHERE OR WHOSE", "CAUSE"), rows)


@causes_app.command()
def name(
    cluster: Annotated[str, typer.Argument(help="The cluster's 16 hex digits, as `cause list` shows them.")],
    cause: Annotated[str, typer.Option(help="The cause in one line.")],
    why: Annotated[str, typer.Option(help="How you know, in one line.")],
    advice: Annotated[str, typer.Option(help="What to do about it.")] = "",
    reference: Annotated[str, typer.Option(help="An address that says more.")] = "",
    fault: Annotated[Fault, typer.Option(help="Whose fault it is.")] = Fault.PACKAGE,
    retry: Annotated[Retry, typer.Option(help="Whether building the same again helps.")] = Retry.NO,
) -> None:
    """Name an unknown cause: from now on it is a rule, for all that look the same."""
    with context() as ctx, told():
        done = diagnoses.name_cluster(
            ctx.db, cluster, cause=cause, why=why, advice=advice, reference=reference, fault=fault, retry=retry,
            by=getpass.getuser(),
        )  # fmt: skip
    typer.echo(done.sentence)
