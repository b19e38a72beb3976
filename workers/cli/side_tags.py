"""``cryopack sidetag …``: list and show side tags, give one up, let one go on."""

from __future__ import annotations

from typing import Annotated

import typer

from workers.cli.builds import event_line
from workers.cli.output import Json, print_json, print_table
from workers.cli.service import service

side_tags_app = typer.Typer(no_args_is_help=True, help="Side tags of Koji: list, show, give-up, go-on.")
SideTagId = Annotated[int, typer.Argument(min=1, help="The side tag's number, as `sidetag list` shows it.")]
Why = Annotated[str, typer.Option(help="The reason, kept in the history and the audit trail.")]


@side_tags_app.command("list")
def list_side_tags(
    branch: Annotated[str | None, typer.Option(help="Only this branch, such as f44.")] = None,
    stream: Annotated[str | None, typer.Option(help="Only this stream, such as 1.35.")] = None,
    state: Annotated[str | None, typer.Option(help="Only this state, such as open or held.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many, newest first.")] = 30,
    as_json: Json = False,
) -> None:
    """Side tags, newest first, and what each waits for."""
    with service() as asked:
        rows = asked.side_tags({"branch": branch, "stream": stream, "state": state}, limit)
    if as_json:
        print_json(rows)
        return
    table = [
        (row["id"], row["name"] or "-", f"{row['set_id']} {row['stream']}", row["branch"], row["state"], row["reason"])
        for row in rows
    ]  # fmt: skip
    print_table(("ID", "SIDE TAG", "SET", "BRANCH", "STATE", "REASON"), table)


@side_tags_app.command()
def show(side_tag_id: SideTagId, as_json: Json = False) -> None:
    """One side tag: its set in build order, and its history."""
    with service() as asked:
        found = asked.side_tag(side_tag_id)
    if as_json:
        print_json(found)
        return
    tag = found["side_tag"]
    title = f"side tag of {tag['set_id']} {tag['stream']} on {tag['branch']}"
    typer.echo(f"{title}, {tag['name'] or 'not made yet'}: {tag['state']}")
    if tag["reason"]:
        typer.echo(f"  {tag['reason']}")
    for family in tag["families"]:
        builds = [build for build in tag["builds"] if build["family"] == family]
        if not builds:
            typer.echo(f"  {family:12} no build: nobody waits for it")
        for build in builds:
            name, far = f"{build['package']} {build['version']}", build["shipped"] or "-"
            line = f"  {family:12} build {build['build_id']}  {name:24} {build['state']:11} {far:9} {build['reason']}"
            typer.echo(line.rstrip())
    for event in found["events"]:
        typer.echo(f"  {event_line({**event, 'kind': 'side-tag', 'chroot': ''})}")


@side_tags_app.command("give-up")
def give_up(side_tag_id: SideTagId, why: Why) -> None:
    """Have a side tag removed although its update was not pushed; a person vouches for what it holds."""
    with service() as asked:
        typer.echo(asked.give_up_side_tag(side_tag_id, why)["sentence"])


@side_tags_app.command("go-on")
def go_on(side_tag_id: SideTagId, why: Why) -> None:
    """Let a held side tag go on, or build the rest of the set without what ended badly."""
    with service() as asked:
        typer.echo(asked.go_on_side_tag(side_tag_id, why)["sentence"])
