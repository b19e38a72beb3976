"""``cryopack render`` and ``cryopack srpm``: make specs and SRPMs without server, database or network."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path
from typing import Annotated

import typer

from service.settings import load_settings
from workers.cli.output import existing_file, fail
from workers.cli.service import report_errors
from workers.context import load_catalog
from workers.packaging import offline
from workers.packaging.rpm_commands import SrpmFailed
from workers.packaging.spec_check import SpecRefused
from workers.sources.archives import SourceRefused

Tag = Annotated[str, typer.Argument(help="An upstream tag such as v1.32.1.")]
Family = Annotated[str, typer.Option(help="The catalogue's family.")]
BranchName = Annotated[str, typer.Option(help="A Fedora branch such as f44 or rawhide.")]
StrategyName = Annotated[
    str | None, typer.Option(help="How the linker trouble is met: default, strict, compat, ...")
]


REFUSALS = (SourceRefused, SpecRefused, SrpmFailed)


def render(
    tag: Tag,
    branch: BranchName = "rawhide",
    strategy: StrategyName = None,
    style: Annotated[
        str, typer.Option(help="How release and changelog are written: srpm or dist-git.")
    ] = "srpm",
    source: Annotated[
        Path | None, typer.Option(help="The source archive; without it the catalogue's facts.")
    ] = None,
    diff: Annotated[
        bool, typer.Option("--diff", help="Show what differs from the spec of the patch before instead.")
    ] = False,
    against: Annotated[
        str | None,
        typer.Option(help="With --diff: another tag to compare with, or 'neighbour' for the stream before."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write the spec and the files beside it to this folder instead.")
    ] = None,
    family: Family = "cri-o",
) -> None:
    """Print a spec, or write it with the files that belong beside it: no server, no database, no network."""
    if against is not None and not diff:
        fail("--against says what --diff compares with: give both")
    with report_errors(*REFUSALS):
        catalog = load_catalog(load_settings())
        archive = existing_file(source) if source else None
        made = offline.render(
            catalog, tag, family=family, branch=branch, strategy=strategy, style=style, source=archive
        )
        offline.check(catalog, made, branch=branch)
        if note := offline.lint(catalog, made, branch=branch):
            typer.echo(f"note: {note}", err=True)
        if output is not None:
            for path in offline.write_folder(made, output, source=archive):
                typer.echo(path)
            return
        if not diff:
            sys.stdout.write(made.spec.text)
            return
        if against == "neighbour":
            against = offline.neighbour_tag(made)
        other_tag = against or offline.previous_tag(made)
        other = offline.render(
            catalog, other_tag, family=family, branch=branch, strategy=strategy, style=style
        )
    changed = difflib.unified_diff(
        other.spec.text.splitlines(True), made.spec.text.splitlines(True), f"{other_tag}.spec", f"{tag}.spec"
    )
    sys.stdout.writelines(changed)


def srpm(
    tag: Tag,
    source: Annotated[Path, typer.Option(help="The upstream archive, under the name that Source0 gives it.")],
    output: Annotated[Path, typer.Option(help="The folder for the SRPM.")] = Path("."),
    branch: BranchName = "rawhide",
    strategy: StrategyName = None,
    family: Family = "cri-o",
) -> None:
    """Make an SRPM from an archive: no server, no database, no network."""
    with report_errors(*REFUSALS):
        catalog = load_catalog(load_settings())
        made = offline.srpm(
            catalog,
            tag,
            source=existing_file(source),
            directory=output,
            family=family,
            branch=branch,
            strategy=strategy,
        )
        typer.echo(f"{made.path}  sha256 {made.sha256}")
