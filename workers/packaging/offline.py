"""Specs and SRPMs without server, database or network: what ``cryopack render`` and ``cryopack srpm`` do."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from service.catalog import Catalog, load
from service.domain.errors import BadSpec
from service.domain.planning import Family
from service.domain.reports import Srpm
from service.domain.sources import SourceFacts
from service.domain.specs import STYLES, ChangelogEntry, SpecFile, SpecRequest
from service.domain.versions import Version, parse_tag
from service.specs.render import catalogue_facts, check_templates, render_spec
from workers.packaging.spec_check import check_spec
from workers.packaging.spec_lint import lint_spec
from workers.packaging.srpm import build_srpm
from workers.sources.archives import inspect

# Nobody is asked for the day of the release, so it is fixed: the bytes of a spec made offline are, too.
UNKNOWN_DAY = date(2000, 1, 1)


@dataclass(frozen=True)
class Offline:
    """A rendered spec with what it was made from."""

    spec: SpecFile
    family: Family
    version: Version
    facts: SourceFacts


def render(
    catalog: Catalog,
    tag: str,
    *,
    family: str = "cri-o",
    branch: str = "rawhide",
    strategy: str | None = None,
    style: str = "srpm",
    source: Path | None = None,
    release_number: int = 1,
    day: date = UNKNOWN_DAY,
) -> Offline:
    """The spec of ``tag`` for ``branch``; facts come from the archive ``source`` if given, else from the
    catalogue. ``strategy`` None is what the strategy ``default`` means for the family.

    Raises BadTag, BadSpec, BadCatalog (all DomainError), and SourceRefused for another tag's archive.
    """
    version = parse_tag(tag)
    known = catalog.families.get(family)
    if known is None:
        raise BadSpec(f"family {family[:40]!r} is not in the catalogue")
    if source is None:
        facts = catalogue_facts(catalog, family, version)
    else:
        facts = inspect(source, version, catalog.packaging[family].layout)
    request = SpecRequest(
        family=family,
        package=known.package(version.stream),
        version=version,
        branch=branch,
        strategy=strategy or known.strategy("default"),
        style=style,
        facts=facts,
        release_number=release_number,
        released_on=day,
        changelog=(
            ChangelogEntry(day, f"{version.rpm}-0.{release_number}", f"Update to upstream {version.tag}"),
        ),
    )
    return Offline(render_spec(request, catalog), known, version, facts)


def render_text(
    catalog: Catalog,
    tag: str,
    *,
    family: str = "cri-o",
    branch: str = "rawhide",
    strategy: str | None = None,
    style: str = "srpm",
    source: Path | None = None,
) -> str:
    """The text of ``render``."""
    made = render(catalog, tag, family=family, branch=branch, strategy=strategy, style=style, source=source)
    return made.spec.text


def check(catalog: Catalog, made: Offline, *, branch: str) -> Mapping[str, str]:
    """Check a spec as ``branch`` sees it; the preamble's tags. Raises BadSpec, SpecRefused and RpmTrouble."""
    policy = catalog.branches.get(branch)
    if policy is None:
        raise BadSpec(f"branch {branch[:40]!r} is not in the catalogue")
    return check_spec(made.spec, branch=policy.branch)


def lint(catalog: Catalog, made: Offline, *, branch: str) -> str:
    """What rpmlint has to say besides errors, above all that it is not installed. Raises what ``check`` raises."""
    return lint_spec(made.spec, branch=catalog.branches[branch].branch)


def srpm(
    catalog: Catalog,
    tag: str,
    *,
    source: Path,
    directory: Path,
    family: str = "cri-o",
    branch: str = "rawhide",
    strategy: str | None = None,
    release_number: int = 1,
    day: date = UNKNOWN_DAY,
) -> Srpm:
    """The SRPM of ``tag`` from the archive ``source``, put into ``directory``; the spec is checked first.

    ``source`` must have the name that ``Source0`` gives it. Raises what ``render``, ``check`` and
    ``build_srpm`` raise.
    """
    made = render(
        catalog,
        tag,
        family=family,
        branch=branch,
        strategy=strategy,
        source=source,
        release_number=release_number,
        day=day,
    )
    check(catalog, made, branch=branch)
    lint(catalog, made, branch=branch)
    if source.name != made.spec.source_name:
        raise BadSpec(f"the archive must be named {made.spec.source_name}, not {source.name[:100]!r}")
    epoch = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    return build_srpm(made.spec, [source], directory=directory, epoch=epoch)


def previous_tag(made: Offline) -> str:
    """The tag to compare a spec with: the patch before it, or for a first patch the same one a stream earlier.

    Raises BadSpec where the catalogue has neither.
    """
    version = made.version
    if version.patch > 0:
        return f"v{version.stream}.{version.patch - 1}"
    return neighbour_tag(made)


def neighbour_tag(made: Offline) -> str:
    """The same patch in the stream before; for the oldest stream in the one after. Raises BadSpec."""
    version = made.version
    older = [stream for stream in made.family.streams if stream < version.stream]
    newer = [stream for stream in made.family.streams if stream > version.stream]
    if not (older or newer):
        raise BadSpec(f"{made.family.name} has one stream only: there is nothing to compare with")
    return f"v{max(older) if older else min(newer)}.{version.patch}"


def write_folder(made: Offline, folder: Path, *, source: Path | None = None) -> list[Path]:
    """Put the spec and the files that belong beside it into ``folder``, which is made if needed.

    In the dist-git style that is what a commit there holds; ``sources`` names the archive by its checksum where
    ``source`` is at hand, as Fedora's lookaside cache wants it. Files of other names are left alone. OSError.
    """
    texts = {made.spec.name: made.spec.text, **made.spec.files, **made.spec.dist_git_files}
    if source is not None and made.spec.dist_git_files:
        with source.open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha512").hexdigest()
        texts["sources"] = f"SHA512 ({made.spec.source_name}) = {digest}\n"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts]


def check_catalog(
    directory: Path | None, *, copr_owner: str, **accounts: str
) -> tuple[Catalog, tuple[str, ...]]:
    """Load and validate a catalogue with its templates and prove that every stream renders and parses.

    ``accounts`` are the others that ``load`` takes.

    Every stream with every strategy that it can have, for every branch, on rawhide in both styles; about 10 ms each.
    With it come remarks of the checks, such as that rpmlint is not installed. Raises BadCatalog, BadSpec,
    SpecRefused and RpmTrouble.
    """
    catalog = load(directory, copr_owner=copr_owner, **accounts)
    check_templates(catalog)
    notes: dict[str, None] = {}
    for family in catalog.families.values():
        for stream in sorted(family.streams):
            for strategy in catalog.strategies.values():
                facts = family.streams[stream].facts
                vendored = {name for name in ("wazero", "nri") if facts[name]}
                if catalog.strategy_refusal(family, stream, strategy.id, vendored):
                    continue
                for branch in catalog.branches:
                    # No row depends on the style, so one branch shows that it parses.
                    for style in STYLES if branch == "rawhide" else STYLES[:1]:
                        made = render(
                            catalog, f"v{stream}.0",
                            family=family.name, branch=branch, strategy=strategy.id, style=style,
                        )  # fmt: skip
                        check(catalog, made, branch=branch)
        for style in STYLES:
            # rpmlint takes half a second, so it reads the newest spec of each family and style only.
            made = render(catalog, f"v{family.newest_known}.0", family=family.name, style=style)
            notes |= dict.fromkeys(filter(None, [lint(catalog, made, branch="rawhide")]))
    return catalog, tuple(notes)
