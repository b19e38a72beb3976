"""The ``cryopack`` command. Exit status 0, 1 (it failed, said on stderr in one line) or 2 (wrong usage)."""

from __future__ import annotations

import getpass
import os
import sys
from typing import Annotated

import typer

import migrations
from service import board, commands
from service.settings import Settings, load_settings
from service.store.session import database_now
from workers import deliveries, offline, sample, up
from workers.cli_builds import builds_app
from workers.cli_output import Json, context, fail, print_json, print_table, told
from workers.cli_rules import rules_app
from workers.cli_specs import render, srpm
from workers.cli_tokens import audit, tokens_app
from workers.context import NO_OWNER, load_catalog

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="From a CRI-O release on GitHub to finished Fedora builds, kept and shown.",
)
release_app = typer.Typer(no_args_is_help=True, help="Releases: announce one by hand.")
delivery_app = typer.Typer(no_args_is_help=True, help="Webhook deliveries: list and replay.")
catalog_app = typer.Typer(no_args_is_help=True, help="The catalogue: check it.")
app.add_typer(builds_app, name="build")
app.add_typer(release_app, name="release")
app.add_typer(delivery_app, name="delivery")
app.add_typer(catalog_app, name="catalog")
app.add_typer(rules_app, name="rules")
app.add_typer(tokens_app, name="token")
app.command()(audit)
app.command()(render)
app.command()(srpm)

Tag = Annotated[str, typer.Argument(help="An upstream tag such as v1.32.1.")]
Family = Annotated[str, typer.Option(help="The catalogue's family.")]
BranchName = Annotated[str, typer.Option(help="A Fedora branch such as f44 or rawhide.")]
StrategyName = Annotated[
    str | None, typer.Option(help="How the linker trouble is met: default, strict, compat, no-wasm, none.")
]


@app.command("up")
def up_command(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where the dashboard answers.")] = 8000,
    with_parent: Annotated[
        bool, typer.Option("--with-parent", help="Stop when the calling process ends.")
    ] = False,
) -> None:
    """Start everything on this machine: web, worker, beat, and a sandbox where no COPR account is configured."""
    with told():
        raise typer.Exit(up.run(load_settings(), port=port, with_parent=with_parent))


@app.command()
def web(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
) -> None:
    """Start the web service in the foreground."""
    with told():
        load_settings()
    _become(
        "uvicorn", "service.web.app:create_app", "--factory", "--host", host, "--port", str(port),
        "--no-access-log", "--timeout-graceful-shutdown", "3",
    )  # fmt: skip


@app.command()
def worker() -> None:
    """Start a worker in the foreground."""
    with told():
        load_catalog(load_settings())
    _become("celery", "-A", "workers.app", "worker", "--loglevel", "info")


@app.command()
def beat() -> None:
    """Start the clock that sweeps what is due and reconciles. One is enough, and there must be one."""
    with told():
        settings = load_settings()
        settings.state_dir.mkdir(parents=True, exist_ok=True)
    _become(
        "celery", "-A", "workers.app", "beat", "--loglevel", "info", "--pidfile", "",
        "--schedule", str(settings.state_dir / "beat-schedule"),
    )  # fmt: skip


@app.command()
def migrate() -> None:
    """Bring the database to the newest schema; safe to repeat."""
    with told():
        migrations.upgrade(up.running_settings(load_settings()).database())
    typer.echo("the database has the newest schema")


@app.command("send-release")
def send_release(
    tag: Tag,
    url: Annotated[str | None, typer.Option(help="The service; without it the setting BASE_URL.")] = None,
    action: Annotated[
        str, typer.Option(help="GitHub's action: published, edited, deleted, ...")
    ] = "published",
    repository: Annotated[str, typer.Option(help="The upstream repository.")] = "cri-o/cri-o",
) -> None:
    """Send a signed GitHub release delivery to a running service, as GitHub would."""
    with told():
        settings = up.running_settings(load_settings())
        if not settings.secrets():
            fail("CRYOPACK_GITHUB_WEBHOOK_SECRETS is empty: there is nothing to sign with")
        answer = sample.deliver(
            url or settings.base_url, settings.secrets()[0], repository, tag, action=action
        )
    typer.echo(f"HTTP {answer.status}: {answer.body}")
    if answer.status >= 300:
        raise typer.Exit(1)


@app.command()
def matrix(as_json: Json = False) -> None:
    """The dashboard's matrix in the terminal."""
    with context() as ctx, ctx.db.reader() as session:
        found = board.matrix(session, ctx.catalog, database_now(session))
        if as_json:
            print_json(found)
            return
        heads = ["PACKAGE", "UPSTREAM", *(f"{col.branch}/{col.system}" for col in found.columns)]
        rows = []
        for row in found.rows:
            cells = []
            for cell in row.cells:
                version = cell.build.version if cell.build else "-"
                cells.append(f"{cell.state} {version}{' (behind)' if cell.behind else ''}")
            rows.append([row.package, row.newest or "-", *cells])
        print_table(heads, rows)


@app.command()
def reconcile() -> None:
    """Plan again now, against the catalogue and upstream's own list of releases."""
    with context() as ctx:
        done = deliveries.reconcile(ctx)
        for sentence in done.sentences or ["nothing to do: everything that should be built has its builds"]:
            typer.echo(sentence)


@release_app.command("add")
def add_release(tag: Tag, family: Family = "cri-o") -> None:
    """Announce a release by hand, as its webhook would have."""
    with context() as ctx:
        done = commands.add_release(ctx.db, ctx.catalog, family, tag, by=getpass.getuser())
        for build_id in done.builds:
            ctx.wake.build(build_id)
        typer.echo(done.sentence)


@delivery_app.command("list")
def list_deliveries(limit: Annotated[int, typer.Option(min=1, max=200)] = 20, as_json: Json = False) -> None:
    """Webhook deliveries, newest first, with what became of each."""
    with context() as ctx, ctx.db.reader() as session:
        page = board.list_deliveries(session, limit=limit)
        if as_json:
            print_json(page.items)
            return
        rows = [(d.guid, d.event, d.action, d.tag, d.state, d.reason) for d in page.items]
        print_table(("GUID", "EVENT", "ACTION", "TAG", "STATE", "REASON"), rows)


@delivery_app.command()
def replay(guid: Annotated[str, typer.Argument(help="The delivery's guid.")]) -> None:
    """Process an ignored or errored delivery again."""
    with context() as ctx:
        ctx.wake.delivery(commands.replay_delivery(ctx.db, guid, by=getpass.getuser()))
        typer.echo(f"delivery {guid} is due again")


@catalog_app.command()
def check() -> None:
    """Load the catalogue and render and parse every spec that it can make."""
    with told():
        settings: Settings = load_settings()
        catalog, notes = offline.check_catalog(
            settings.catalog_dir,
            copr_owner=settings.copr_owner or NO_OWNER,
            koji_profile=settings.koji_profile,
        )
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    streams = sum(len(family.streams) for family in catalog.families.values())
    typer.echo(
        f"the catalogue is sound: {len(catalog.families)} families, {streams} streams, "
        f"{len(catalog.targets)} targets, {len(catalog.workarounds)} workarounds"
    )


def _become(module: str, *arguments: str) -> None:
    """Replace this process, so that signals reach the server itself."""
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])


def main() -> None:
    """The entry point of the ``cryopack`` script."""
    app()
