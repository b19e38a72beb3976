"""``cryopack build …``: look at builds, retry, cancel, resume, and find their logs."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from service import board, commands
from service.store.session import database_now
from workers.cli_output import Json, age, context, fail, print_json, print_table

builds_app = typer.Typer(no_args_is_help=True, help="Builds: list, show, retry, cancel, resume, log.")
BuildId = Annotated[
    int, typer.Argument(help="The build's number, as the dashboard and `build list` show it.")
]


@builds_app.command("list")
def list_builds(
    stream: Annotated[str | None, typer.Option(help="Only this stream, such as 1.32.")] = None,
    branch: Annotated[str | None, typer.Option(help="Only this branch, such as f44 or rawhide.")] = None,
    state: Annotated[str | None, typer.Option(help="Only this state, such as failed.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many, newest first.")] = 30,
    as_json: Json = False,
) -> None:
    """Builds, newest first."""
    with context() as ctx, ctx.db.reader() as session:
        wanted = board.BuildFilter(stream=stream, branch=branch, states=(state,) if state else ())
        page = board.list_builds(session, wanted, limit=limit)
        now = database_now(session)
        if as_json:
            print_json(page.items)
            return
        rows = [
            (
                b.id,
                b.nvr or f"{b.package}-{b.version}",
                b.target,
                b.attempt,
                b.state,
                age(b.created_at, now),
                b.reason,
            )
            for b in page.items
        ]
        print_table(("ID", "BUILD", "TARGET", "TRY", "STATE", "AGE", "REASON"), rows)


@builds_app.command()
def show(build_id: BuildId, as_json: Json = False) -> None:
    """One build: chroots, history and other attempts."""
    with context() as ctx, ctx.db.reader() as session:
        detail = board.build_detail(session, build_id)
        if detail is None:
            fail(f"there is no build {build_id}")
        if as_json:
            print_json(detail)
            return
        build = detail.build
        name = build.nvr or f"{build.package}-{build.version}"
        typer.echo(f"{name} on {build.target}, attempt {build.attempt}: {build.state}")
        if build.reason:
            typer.echo(f"  {build.reason}")
        if build.web_url:
            typer.echo(f"  {build.web_url}")
        for chroot in build.chroots:
            note = f"  {chroot.reason}" if chroot.reason else ""
            typer.echo(f"  {chroot.chroot:26} {chroot.state:10} {chroot.log_url}{note}")
        for event in detail.events:
            move = f"{event.old_state or '-'} → {event.new_state}" if event.new_state else event.kind
            typer.echo(f"  {event.at:%Y-%m-%d %H:%M:%S} UTC  {move:26} {event.chroot} {event.text}".rstrip())


@builds_app.command()
def retry(
    build_id: BuildId,
    strategy: Annotated[str | None, typer.Option(help="Another strategy than the build's.")] = None,
) -> None:
    """A new attempt at the cell of an ended build."""
    with context() as ctx:
        done = commands.request_build(ctx.db, ctx.catalog, build_id, by=getpass.getuser(), strategy=strategy)
        ctx.wake.build(done.build_id)
        typer.echo(done.sentence)


@builds_app.command()
def cancel(build_id: BuildId) -> None:
    """Ask for a build's end; the next step or poll carries it out."""
    with context() as ctx:
        done = commands.request_cancel(ctx.db, build_id, by=getpass.getuser())
        ctx.wake.build(done.build_id)
        typer.echo(done.sentence)


@builds_app.command()
def resume(build_id: BuildId) -> None:
    """Let a held build go on."""
    with context() as ctx:
        done = commands.resume_build(ctx.db, ctx.catalog, build_id, by=getpass.getuser())
        ctx.wake.build(done.build_id)
        typer.echo(done.sentence)


@builds_app.command("give-up")
def give_up(
    build_id: BuildId,
    why: Annotated[str, typer.Option(help="The reason, kept in the build's history and the audit trail.")],
) -> None:
    """End a build that waits for a build system which may never answer."""
    with context() as ctx:
        surplus_seconds = 2 * ctx.settings.submit_doubt_seconds
        done = commands.give_up_build(
            ctx.db, build_id, by=getpass.getuser(), why=why, surplus_seconds=surplus_seconds
        )
        typer.echo(done.sentence)


@builds_app.command()
def log(
    build_id: BuildId,
    chroot: Annotated[str | None, typer.Argument(help="The chroot; without it every log's address.")] = None,
) -> None:
    """Where the logs of a build are at the build system."""
    with context() as ctx, ctx.db.reader() as session:
        detail = board.build_detail(session, build_id)
        if detail is None:
            fail(f"there is no build {build_id}")
        found = [c for c in detail.build.chroots if chroot in (None, c.chroot)]
        if not found:
            fail(f"build {build_id} has no chroot {chroot}")
        for one in found:
            typer.echo(f"{one.chroot}  {one.log_url or 'no log yet'}")
