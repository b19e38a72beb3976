"""The ``cryopack`` command. Exit status 0, 1 (it failed, said on stderr in one line) or 2 (wrong usage)."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import structlog
import typer

import migrations
from service.settings import SettingsError, load_settings
from service.wake import FETCH, QUEUES, WORK
from workers.builds import deliveries
from workers.cli.builds import builds_app
from workers.cli.catalog import branches_app, catalog_app, streams_app, targets_app
from workers.cli.causes import causes_app
from workers.cli.output import Json, fail, print_json, print_table
from workers.cli.rules import rules_app
from workers.cli.service import choose, context, report_errors, service
from workers.cli.side_tags import side_tags_app
from workers.cli.specs import render, srpm
from workers.cli.tokens import audit, tokens_app
from workers.context import load_catalog
from workers.machine import release_delivery, supervisor
from workers.machine.bootstrap import running_settings

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
release_app = typer.Typer(no_args_is_help=True, help="Releases: announce one by hand.")
delivery_app = typer.Typer(no_args_is_help=True, help="Webhook deliveries: list and replay.")
app.add_typer(builds_app, name="build")
app.add_typer(causes_app, name="cause")
app.add_typer(release_app, name="release")
app.add_typer(delivery_app, name="delivery")
app.add_typer(catalog_app, name="catalog")
app.add_typer(rules_app, name="rules")
app.add_typer(targets_app, name="target")
app.add_typer(streams_app, name="stream")
app.add_typer(branches_app, name="branch")
app.add_typer(tokens_app, name="token")
app.add_typer(side_tags_app, name="sidetag")
app.callback()(choose)
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
    with report_errors():
        raise typer.Exit(supervisor.run(load_settings(), port=port, with_parent=with_parent))


@app.command()
def web(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
) -> None:
    """Start the web service in the foreground."""
    with report_errors():
        load_settings()
    _become(
        "uvicorn", "service.web.app:create_app", "--factory", "--host", host, "--port", str(port),
        "--no-access-log", "--no-proxy-headers", "--timeout-graceful-shutdown", "3",
    )  # fmt: skip


@app.command()
def worker(
    queues: Annotated[
        str,
        typer.Option(
            help=f"Serve only these queues, separated by commas: {FETCH} is what downloads logs and RPMs and may take "
            f"minutes, {WORK} is everything else. Each queue needs a worker."
        ),
    ] = ",".join(QUEUES),
) -> None:
    """Start a worker in the foreground. Without --queues it serves all of them."""
    with report_errors():
        load_catalog(load_settings())
        chosen = [name.strip() for name in queues.split(",") if name.strip()]
        if not chosen or not set(chosen) <= set(QUEUES):
            raise SettingsError(f"--queues: {queues!r} is not among {', '.join(QUEUES)}")
    _become("celery", "-A", "workers.app", "worker", "--loglevel", "info", "--queues", ",".join(chosen))


@app.command()
def beat() -> None:
    """Start the clock that sweeps what is due and reconciles. One is enough, and there must be one."""
    with report_errors():
        settings = load_settings()
        settings.state_dir.mkdir(parents=True, exist_ok=True)
    _become(
        "celery", "-A", "workers.app", "beat", "--loglevel", "info", "--pidfile", "",
        "--schedule", str(settings.state_dir / "beat-schedule"),
    )  # fmt: skip


@app.command()
def migrate() -> None:
    """Bring the database to the newest schema; safe to repeat."""
    with report_errors():
        migrations.upgrade(running_settings(load_settings()).database())
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
    with report_errors():
        settings = running_settings(load_settings())
        if not settings.secrets():
            fail("CRYOPACK_GITHUB_WEBHOOK_SECRETS is empty: there is nothing to sign with")
        answer = release_delivery.deliver(
            url or settings.base_url, settings.secrets()[0], repository, tag, action=action
        )
    typer.echo(f"HTTP {answer.status}: {answer.body}")
    if answer.status >= 300:
        raise typer.Exit(1)


@app.command()
def matrix(as_json: Json = False) -> None:
    """The dashboard's matrix in the terminal."""
    with service() as asked:
        found = asked.matrix()
    if as_json:
        print_json(found)
        return
    heads = ["PACKAGE", "UPSTREAM", *(f"{col['branch']}/{col['system']}" for col in found["targets"])]
    rows = []
    for row in found["rows"]:
        cells = [
            f"{cell['state']} {cell['version'] or '-'}{' (behind)' if cell['behind'] else ''}"
            f"{' ' + cell['shipped'] if cell['shipped'] else ''}"
            for cell in row["cells"]
        ]
        rows.append([row["package"], row["newest"] or "-", *cells])
    print_table(heads, rows)


@app.command()
def reconcile() -> None:
    """Plan again now, against the catalogue and upstream's own list of releases."""
    with context() as ctx:
        done = deliveries.reconcile(ctx)
        for sentence in done.sentences or ["nothing to do: everything that should be built has its builds"]:
            typer.echo(sentence)


@release_app.command("add")
def add_release(
    tag: Tag,
    family: Family = "cri-o",
    bug: Annotated[
        list[int] | None,
        typer.Option(
            min=1, help="A bug of Fedora's Bugzilla that asks for it; dist-git's commit resolves it."
        ),
    ] = None,
) -> None:
    """Start a release by its tag, announced or not; a pre-release named here is built, too."""
    with service() as asked:
        typer.echo(asked.add_release(family, tag, bug or ())["sentence"])


@delivery_app.command("list")
def list_deliveries(limit: Annotated[int, typer.Option(min=1, max=200)] = 20, as_json: Json = False) -> None:
    """Webhook deliveries, newest first, with what became of each."""
    with service() as asked:
        found = asked.deliveries(limit)
    if as_json:
        print_json(found)
        return
    names = ("guid", "event", "action", "tag", "state", "reason")
    print_table([name.upper() for name in names], [[row[name] for name in names] for row in found])


@delivery_app.command()
def replay(guid: Annotated[str, typer.Argument(help="The delivery's guid.")]) -> None:
    """Process an ignored or errored delivery again."""
    with service() as asked:
        typer.echo(asked.replay(guid)["sentence"])


def _become(module: str, *arguments: str) -> None:
    """Replace this process, so that signals reach the server itself."""
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])


def main() -> None:
    """The entry point of the ``cryopack`` script. What it logs goes to stderr: stdout is for answers."""
    if not structlog.is_configured():
        structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
    app()
