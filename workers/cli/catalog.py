"""``cryopack target …``, ``stream …``, ``branch …``, ``catalog …``: show and change what is built where."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from service.settings import load_settings
from workers.cli.output import Json, fail, print_json, print_table
from workers.cli.service import report_errors, service
from workers.context import NO_OWNER
from workers.packaging import offline
from workers.packaging.spec_check import SpecRefused

targets_app = typer.Typer(no_args_is_help=True, help="Targets: pause, resume, edit.")
streams_app = typer.Typer(no_args_is_help=True, help="Streams: confirm a new one, end an old one.")
branches_app = typer.Typer(no_args_is_help=True, help="Branches: end one.")
catalog_app = typer.Typer(
    no_args_is_help=True, help="The catalogue: check its files, show and drop overrides."
)

TargetName = Annotated[str, typer.Argument(help="The target's id, such as f44-copr.")]
StreamName = Annotated[str, typer.Argument(help="Family and stream, such as cri-o/1.38.")]
Why = Annotated[str, typer.Option(help="Why, for the others; kept in the audit trail.")]
Eol = Annotated[str | None, typer.Option(help="Since which day, such as 2026-11-25; without it today.")]


@targets_app.command("pause")
def pause(target: TargetName, why: Why) -> None:
    """Plan nothing new for a target; what is under way goes on."""
    _change("target.pause", target, {}, why)


@targets_app.command("resume")
def resume(target: TargetName, why: Why) -> None:
    """Plan for a paused target again; what it missed is planned in a moment."""
    _change("target.resume", target, {}, why)


@targets_app.command("edit")
def edit(
    target: TargetName,
    why: Why,
    strategy: Annotated[str | None, typer.Option(help="How the linker trouble is met.")] = None,
    project: Annotated[str | None, typer.Option(help="COPR's owner/project.")] = None,
    chroot: Annotated[list[str], typer.Option(help="A chroot; repeat it for each.")] = [],  # noqa: B006
    first_stream: Annotated[str | None, typer.Option(help="From this stream on; 'open' for no end.")] = None,
    last_stream: Annotated[str | None, typer.Option(help="Up to this stream; 'open' for no end.")] = None,
    deadline_hours: Annotated[int | None, typer.Option(min=1, max=720)] = None,
) -> None:
    """Change a target without a restart. The catalogue's own checks judge it."""
    given: dict[str, Any] = {
        "strategy": strategy, "project": project, "chroots": chroot or None, "first_stream": first_stream,
        "last_stream": last_stream, "deadline_hours": deadline_hours,
    }  # fmt: skip
    changes = {key: None if value == "open" else value for key, value in given.items() if value is not None}
    if not changes:
        fail("say what to change, such as --strategy compat")
    _change("target.edit", target, changes, why)


@streams_app.command("confirm")
def confirm(stream: StreamName, why: Why) -> None:
    """Say that a person has looked at a new stream: it is built, and no longer marked."""
    _change("stream.confirm", _family_stream(stream), {}, why)


@streams_app.command("end")
def end_stream(stream: StreamName, why: Why, eol: Eol = None) -> None:
    """Mark a stream as end-of-life: nothing new is built of it."""
    _change("stream.end", _family_stream(stream), {"eol": eol} if eol else {}, why)


@branches_app.command("end")
def end_branch(
    branch: Annotated[str, typer.Argument(help="A branch such as f44.")], why: Why, eol: Eol = None
) -> None:
    """Mark a branch as end-of-life: it gets no new builds."""
    _change("branch.end", branch, {"eol": eol} if eol else {}, why)


@catalog_app.command("overrides")
def overrides(as_json: Json = False) -> None:
    """What differs from the files, with who wanted it and why."""
    with service() as asked:
        rows = asked.overrides()
    if as_json:
        print_json(rows)
        return
    table = [
        (row["id"], row["kind"], row["subject"], _words(row["changes"]), row["actor"], row["at"], row["why"])
        for row in rows
    ]
    print_table(("ID", "KIND", "SUBJECT", "CHANGES", "WHO", "WHEN", "WHY"), table)


@catalog_app.command("drop")
def drop(override_id: Annotated[int, typer.Argument(min=1, help="The override's number.")], why: Why) -> None:
    """Go back to what the files say."""
    with service() as asked:
        typer.echo(asked.drop_override(override_id, why)["sentence"])


@catalog_app.command()
def check() -> None:
    """Load the catalogue's files and render and parse every spec that they can make."""
    with report_errors(SpecRefused):
        settings = load_settings()
        catalog, notes = offline.check_catalog(
            settings.catalog_dir,
            copr_owner=settings.copr_owner or NO_OWNER,
            koji_profile=settings.koji_profile,
            distgit_url=settings.distgit_url,
            distgit_push_url=settings.distgit_push_url,
        )
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    streams = sum(len(family.streams) for family in catalog.families.values())
    typer.echo(
        f"the catalogue is sound: {len(catalog.families)} families, {streams} streams, "
        f"{len(catalog.targets)} targets, {len(catalog.workarounds)} workarounds"
    )


def _change(action: str, subject: str, changes: dict[str, Any], why: str) -> None:
    with service() as asked:
        typer.echo(asked.change(action, subject, changes, why)["sentence"])


def _family_stream(text: str) -> str:
    if text.count("/") != 1:
        fail(f"{text[:40]!r} is not a family and a stream, such as cri-o/1.38")
    return text


def _words(changes: dict[str, Any]) -> str:
    return ", ".join(f"{key}={json.dumps(value)}" for key, value in changes.items())
