"""Loads the catalogue from its files, and checks what one of them says about another."""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Mapping
from dataclasses import replace
from importlib.resources.abc import Traversable
from pathlib import Path

from service.catalog.diagnoses import check_remedies, read_causes
from service.catalog.family import check_family, read_family
from service.catalog.model import Catalog, Packaging
from service.catalog.tables import Table, located
from service.catalog.targets import check_targets, read_branches, read_side_tag_sets, read_targets
from service.catalog.workarounds import (
    check_strategy,
    check_workaround,
    read_strategies,
    read_toolchain,
    read_workarounds,
)
from service.domain.errors import BadCatalog
from service.domain.planning import Family

# The name of a COPR user, or of a group with its @.
_OWNER = re.compile(r"@?[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", re.ASCII)
# A Koji profile is a section of Koji's configuration.
_PROFILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,59}", re.ASCII)


def load(
    directory: Path | None,
    *,
    copr_owner: str,
    koji_profile: str = "",
    distgit_url: str = "",
    distgit_push_url: str = "",
) -> Catalog:
    """Read and validate the catalogue in ``directory``, or the built-in one where it is None.

    ``copr_owner`` and ``koji_profile`` replace ``{owner}`` and ``{profile}`` in the targets' projects,
    ``distgit_url`` and ``distgit_push_url`` (by default the same) ``{distgit}`` and ``{distgit_push}`` in their
    addresses. Targets that name what is not set are checked, and left out. Raises BadCatalog, which names file, line
    and key.
    """
    if not _OWNER.fullmatch(copr_owner):
        raise BadCatalog(f"COPR_OWNER: {copr_owner[:60]!r} is not a COPR user or @group")
    if koji_profile and not _PROFILE.fullmatch(koji_profile):
        raise BadCatalog(f"KOJI_PROFILE: {koji_profile[:60]!r} is not the name of a Koji profile")
    root = importlib.resources.files("service.catalog") if directory is None else directory
    accounts = {
        "owner": copr_owner, "profile": koji_profile, "distgit": distgit_url.rstrip("/"),
        "distgit_push": (distgit_push_url or distgit_url).rstrip("/"),
    }  # fmt: skip
    try:
        return _load(root, accounts)
    except BadCatalog as error:
        raise BadCatalog(located(str(error), root)) from error


def validate(catalog: Catalog) -> None:
    """Check every cross-reference, range and text of the catalogue. Raises BadCatalog with file and key."""
    repositories: set[str] = set()
    for family in catalog.families.values():
        check_family(family, catalog.packaging[family.name], catalog.strategies)
        repository = family.repository.lower()
        if repository in repositories:
            raise BadCatalog(f"families: repository: {repository[:80]!r} is there twice")
        repositories.add(repository)
    check_targets(catalog)
    for strategy in catalog.strategies.values():
        check_strategy(strategy)
    for row in catalog.workarounds:
        check_workaround(row, catalog.families, catalog.strategies)
    check_remedies(catalog.causes, set(catalog.strategies))


def _load(root: Traversable, accounts: Mapping[str, str]) -> Catalog:
    families: dict[str, Family] = {}
    packaging: dict[str, Packaging] = {}
    for name in _family_names(root):
        families[name], packaging[name] = read_family(root, name)
    targets = Table.read(root, "targets.toml")
    systems = targets.texts("systems")
    branches = read_branches(targets)
    rows = Table.read(root, "workarounds.toml")
    toolchain = read_toolchain(rows, branches)
    logs = Table.read(root, "diagnoses.toml")
    sets = read_side_tag_sets(targets)
    found, without_account = read_targets(targets, branches, accounts, sets)
    catalog = Catalog(
        families=families,
        packaging=packaging,
        branches=branches,
        targets=tuple(found),
        strategies=read_strategies(rows),
        toolchain=toolchain,
        workarounds=read_workarounds(rows, branches, toolchain),
        systems=systems,
        causes=read_causes(logs),
        side_tag_sets=sets,
    )
    targets.done()
    rows.done()
    validate(catalog)
    return replace(catalog, targets=tuple(target for target in found if target.id not in without_account))


def _family_names(root: Traversable) -> list[str]:
    folder = root.joinpath("families")
    if not folder.is_dir():
        raise BadCatalog("families: the catalogue has no such folder")
    names = sorted(child.name for child in folder.iterdir() if child.is_dir() and child.name[0] not in "._")
    if not names:
        raise BadCatalog("families: the catalogue has no family")
    return names
