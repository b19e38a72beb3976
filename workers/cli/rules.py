"""``cryopack rules …``: list the workarounds with their latest proofs, and prove them with this machine's toolchain."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from service import board
from service.catalog import Catalog
from service.domain.proofs import MEANINGS, Proved, Toolchain, Trial, Verdict, in_words
from service.proofs import record_proofs
from service.settings import load_settings
from workers.cli.output import Json, fail, plain, print_json, print_table
from workers.cli.service import context, report_errors
from workers.context import load_catalog
from workers.proofs import NoToolchain
from workers.proofs import prove as prove_rows

rules_app = typer.Typer(no_args_is_help=True, help="Workarounds: list them, and prove that each still cures.")


@rules_app.command("list")
def list_rules(as_json: Json = False) -> None:
    """The workarounds and what their latest proofs found."""
    with context() as ctx, ctx.db.reader() as session:
        found = board.rules(session, ctx.catalog)
    if as_json:
        print_json(
            [{"row": r.rule.id, "may_be_retired": r.may_be_retired, "proofs": plain(r.proofs)} for r in found]
        )
        return
    rows: list[tuple[object, ...]] = [
        (row.rule.id, "the row has changed since" if proof.stale else proof.verdict, proof.toolchain)
        for row in found
        for proof in row.proofs
    ]
    rows += [(row.rule.id, "not proved yet", "-") for row in found if not row.proofs]
    print_table(("ROW", "VERDICT", "TOOLCHAIN"), rows)
    for row in found:
        if row.may_be_retired:
            typer.echo(f"{row.rule.id} may be retired: no toolchain that it was tried with needs it")


@rules_app.command()
def prove(
    row: Annotated[list[str] | None, typer.Option(help="Only this row; may be given again.")] = None,
    go: Annotated[Path | None, typer.Option(help="The go program; without it the one on PATH.")] = None,
    keep: Annotated[bool, typer.Option(help="Write the verdicts into the database.")] = True,
    as_json: Json = False,
) -> None:
    """Link a small program without each row and with it, run both, and say what the row is worth.

    Status 1 where a row makes it worse or could not be tried.
    """
    with report_errors():
        settings = load_settings()
        catalog = load_catalog(settings)
        unknown = sorted(set(row or ()) - {each.id for each in catalog.workarounds})
        if unknown:
            fail(f"there is no row {unknown[0]}; there are {', '.join(r.id for r in catalog.workarounds)}")
        try:
            found = prove_rows(
                catalog,
                go=go,
                rows=row or (),
                cache=settings.state_dir.resolve() / "go-cache",
                tell=lambda command: typer.echo(f"linking: {command}", err=True),
            )
        except NoToolchain as error:
            typer.echo(str(error))
            return
    if keep:
        with context() as ctx:
            record_proofs(ctx.db, found, by=getpass.getuser())
    if as_json:
        print_json(found)
    else:
        _print(found, catalog)
    if any(proof.verdict in {Verdict.WORSE, Verdict.UNTRIED} for proof in found):
        raise typer.Exit(1)


def _print(found: Sequence[Proved], catalog: Catalog) -> None:
    rows = [
        (p.row, _variant(p.toolchain), _words(p.without), _words(p.with_row), p.verdict.upper())
        for p in found
    ]
    print_table(("ROW", "LINKER", "WITHOUT IT", "WITH IT", "VERDICT"), rows)
    if found:
        chain = found[0].toolchain
        typer.echo(f"\nwith {chain.go}, {chain.linker}, {chain.compiler}, {chain.machine}")
    for name in sorted({proof.toolchain.simulates for proof in found} - {""}):
        flags = " ".join(catalog.toolchain[name].simulate)
        typer.echo(f"{name} is simulated by {flags}: this machine's linker does not do it by itself")
    for each in sorted({proof.verdict for proof in found}):
        typer.echo(f"{each}: {MEANINGS[each]}")


def _variant(toolchain: Toolchain) -> str:
    return f"simulated {toolchain.simulates}" if toolchain.simulates else "as it is"


def _words(trial: Trial) -> str:
    findings = [finding.id for finding in trial.findings]
    return in_words(trial.linked, trial.symptom, trial.started, trial.called, findings)
