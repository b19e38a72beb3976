"""``cryopack build …``: look at builds, follow them, retry, cancel, resume, and find their logs."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from service.domain.distgit import Resolution
from service.domain.states import ENDED_BUILD
from workers.cli.output import Json, age, fail, print_json, print_table, read_time
from workers.cli.service import service

builds_app = typer.Typer(
    no_args_is_help=True, help="Builds: list, show, watch, retry, rebuild, cancel, resume, give-up, log."
)
BuildId = Annotated[
    int, typer.Argument(min=1, help="The build's number, as the dashboard and `build list` show it.")
]
Strategy = Annotated[str | None, typer.Option(help="Another strategy than before.")]
WATCH_SECONDS = 2.0


@builds_app.command("list")
def list_builds(
    stream: Annotated[str | None, typer.Option(help="Only this stream, such as 1.32.")] = None,
    branch: Annotated[str | None, typer.Option(help="Only this branch, such as f44 or rawhide.")] = None,
    system: Annotated[str | None, typer.Option(help="Only this build system: copr, koji.")] = None,
    state: Annotated[list[str], typer.Option(help="Only this state, such as failed; repeatable.")] = [],  # noqa: B006
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many, newest first.")] = 30,
    as_json: Json = False,
) -> None:
    """Builds, newest first."""
    with service() as asked:
        filters = {"stream": stream, "branch": branch, "system": system, "state": state or None}
        rows = asked.builds(filters, limit)
    if as_json:
        print_json(rows)
        return
    now = datetime.now(UTC)
    table = [
        (
            b["id"],
            name_of(b),
            b["target"],
            b["attempt"],
            b["state"],
            age(read_time(b["created_at"]), now),
            b["reason"],
        )
        for b in rows
    ]
    print_table(("ID", "BUILD", "TARGET", "TRY", "STATE", "AGE", "REASON"), table)


@builds_app.command()
def show(build_id: BuildId, as_json: Json = False) -> None:
    """One build: chroots, history and other attempts."""
    with service() as asked:
        build, events = asked.build(build_id), asked.events(build_id)
    if as_json:
        print_json({**build, "events": events})
        return
    typer.echo(f"{name_of(build)} on {build['target']}, attempt {build['attempt']}: {build['state']}")
    shipped = f"shipped: {build['shipped']} since {build['shipped_at']}" if build["shipped"] else ""
    for line in (build["reason"], shipped, build["web_url"]):
        if line:
            typer.echo(f"  {line}")
    pull = build.get("dist_git") or {}
    if pull.get("pull_number"):
        opened = age(read_time(pull["pull_opened_at"]), datetime.now(UTC))
        typer.echo(
            f"  pull request #{pull['pull_number']}, {pull['pull_state']}, {opened} old: {pull['pull_url']}"
        )
    for chroot in build["chroots"]:
        note = f"  {chroot['reason']}" if chroot["reason"] else ""
        typer.echo(f"  {chroot['chroot']:26} {chroot['state']:10} {chroot['log_url']}{note}")
    for event in events:
        typer.echo(f"  {event_line(event)}")


@builds_app.command()
def watch(
    build_id: BuildId,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = WATCH_SECONDS,
) -> None:
    """Follow a build to its end: each line of its history as it comes. Status 0 if it succeeds, else 1."""
    with service() as asked:
        build = asked.build(build_id)
        typer.echo(f"{name_of(build)} on {build['target']}, attempt {build['attempt']}: {build['state']}")
        last = 0
        while True:
            # The state is read before the history, so that the last line is never missed.
            build = asked.build(build_id)
            for event in asked.events(build_id):
                if event["id"] > last:
                    last = event["id"]
                    typer.echo(f"  {event_line(event)}")
            if build["state"] in ENDED_BUILD:
                break
            time.sleep(every)
    if build["state"] != "succeeded":
        fail(f"build {build_id} is {build['state']}: {build['reason']}")
    typer.echo(f"build {build_id} succeeded")


@builds_app.command()
def retry(build_id: BuildId, strategy: Strategy = None) -> None:
    """A new attempt at the cell of an ended build."""
    with service() as asked:
        typer.echo(asked.retry(build_id, strategy)["sentence"])


@builds_app.command()
def rebuild(
    family: Annotated[str, typer.Option(help="The catalogue's family.")] = "cri-o",
    stream: Annotated[str | None, typer.Option(help="A row: the newest release of this stream.")] = None,
    version: Annotated[str | None, typer.Option(help="One release, such as 1.35.6.")] = None,
    branch: Annotated[str | None, typer.Option(help="A column: this branch.")] = None,
    system: Annotated[str | None, typer.Option(help="On this build system only.")] = None,
    target: Annotated[str | None, typer.Option(help="On this target only: with a version, one cell.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only what failed or errored last.")] = False,
    strategy: Strategy = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    as_json: Json = False,
) -> None:
    """Build many cells again: a cell, a branch, a stream, or all that failed of a release."""
    wish = {
        "family": family, "stream": stream, "version": version, "branch": branch, "system": system,
        "target": target, "failed_only": failed, "strategy": strategy,
    }  # fmt: skip
    with service() as asked:
        done = asked.rebuild(wish, dry_run=dry_run)
    if as_json:
        print_json(done)
        return
    rows = [
        (c["package"], c["version"], c["target"], c["last_state"] or "-", c["build"] or "-",
         c["refusal"] or ("would be built" if dry_run else "is being built"))
        for c in done["cells"]
    ]  # fmt: skip
    print_table(("PACKAGE", "VERSION", "TARGET", "WAS", "BUILD", "NOW"), rows)


@builds_app.command()
def cancel(build_id: BuildId) -> None:
    """Ask for a build's end; the next step or poll carries it out."""
    with service() as asked:
        typer.echo(asked.cancel(build_id)["sentence"])


@builds_app.command()
def resume(build_id: BuildId) -> None:
    """Let a held build go on."""
    with service() as asked:
        typer.echo(asked.resume(build_id)["sentence"])


@builds_app.command()
def resolve(
    build_id: BuildId,
    how: Annotated[
        Resolution,
        typer.Argument(help="generated or dist-git: whose lines win; done: it was edited in dist-git."),
    ],
) -> None:
    """Settle a conflict in dist-git, for the lines in conflict only, and let the held build go on."""
    if not how:
        fail("say generated, dist-git or done")
    with service() as asked:
        typer.echo(asked.resolve(build_id, how.value)["sentence"])


@builds_app.command("give-up")
def give_up(
    build_id: BuildId,
    why: Annotated[str, typer.Option(help="The reason, kept in the build's history and the audit trail.")],
) -> None:
    """End a build that waits for a build system which may never answer."""
    with service() as asked:
        typer.echo(asked.give_up(build_id, why)["sentence"])


@builds_app.command()
def log(
    build_id: BuildId,
    chroot: Annotated[str | None, typer.Argument(help="The chroot; without it every log's address.")] = None,
) -> None:
    """Where the logs of a build are at the build system."""
    with service() as asked:
        build = asked.build(build_id)
    found = [c for c in build["chroots"] if chroot in (None, c["chroot"])]
    if not found:
        fail(f"build {build_id} has no chroot {chroot}" if chroot else f"build {build_id} has no chroots yet")
    for one in found:
        typer.echo(f"{one['chroot']}  {one['log_url'] or 'no log yet'}")


def name_of(build: dict[str, Any]) -> str:
    """Return a build's NVR, or package and version while there is none."""
    return str(build["nvr"] or f"{build['package']}-{build['version']}")


def event_line(event: dict[str, Any]) -> str:
    """Return one line of a build's history."""
    move = f"{event['old_state'] or '-'} → {event['new_state']}" if event["new_state"] else event["kind"]
    at = read_time(event["at"])
    return f"{at:%Y-%m-%d %H:%M:%S} UTC  {move:26} {event['chroot']} {event['text']}".rstrip()
