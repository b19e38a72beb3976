"""The catalogue: families, streams, branches, targets, strategies and workarounds as data.

The data lie beside this file; a directory of the same shape (the setting CATALOG_DIR) replaces them whole.
"""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Mapping
from dataclasses import replace
from importlib.resources.abc import Traversable
from pathlib import Path

from service.catalog.checks import validate
from service.catalog.diagnoses import read_causes
from service.catalog.lines import located
from service.catalog.model import (
    Catalog,
    Packaging,
    Strategy,
    StreamRange,
    Template,
    ToolchainFact,
    Workaround,
)
from service.catalog.rules import read_toolchain, read_workarounds
from service.catalog.tables import Table
from service.catalog.targets import read_branches, read_side_tag_sets, read_target
from service.domain.errors import BadCatalog
from service.domain.planning import Family, StreamPolicy
from service.domain.sources import SourceLayout
from service.domain.specs import STYLES
from service.domain.versions import Stream

__all__ = [
    "Catalog",
    "Packaging",
    "Strategy",
    "StreamRange",
    "Template",
    "ToolchainFact",
    "Workaround",
    "load",
    "validate",
]

# COPR's owners: a user's name, or a group's with its @.
_OWNER = re.compile(r"@?[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", re.ASCII)
# Names of Koji's profiles are section names of its configuration.
_PROFILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,59}", re.ASCII)
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)


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
    root = importlib.resources.files(__name__) if directory is None else directory
    try:
        accounts = {
            "owner": copr_owner, "profile": koji_profile, "distgit": distgit_url.rstrip("/"),
            "distgit_push": (distgit_push_url or distgit_url).rstrip("/"),
        }  # fmt: skip
        return _load(root, accounts)
    except BadCatalog as error:
        raise BadCatalog(located(str(error), root)) from error


def _load(root: Traversable, accounts: Mapping[str, str]) -> Catalog:
    families: dict[str, Family] = {}
    packaging: dict[str, Packaging] = {}
    for name in _family_names(root):
        families[name], packaging[name] = _read_family(root.joinpath("families", name), name)
    targets = Table.parse("targets.toml", _read(root.joinpath("targets.toml"), "targets.toml"))
    systems = targets.texts("systems")
    branches = read_branches(targets)
    rows = Table.parse("workarounds.toml", _read(root.joinpath("workarounds.toml"), "workarounds.toml"))
    toolchain = read_toolchain(rows, branches)
    logs = Table.parse("diagnoses.toml", _read(root.joinpath("diagnoses.toml"), "diagnoses.toml"))
    sets = read_side_tag_sets(targets)
    found = [read_target(row, branches, accounts, sets) for row in targets.rows("target")]
    catalog = Catalog(
        families=families,
        packaging=packaging,
        branches=branches,
        targets=tuple(target for target, _ in found),
        strategies=_read_strategies(rows),
        toolchain=toolchain,
        workarounds=read_workarounds(rows, branches, toolchain),
        systems=systems,
        causes=read_causes(logs),
        side_tag_sets=sets,
    )
    targets.done()
    rows.done()
    validate(catalog)
    return replace(catalog, targets=tuple(target for target, has_account in found if has_account))


def _family_names(root: Traversable) -> list[str]:
    folder = root.joinpath("families")
    if not folder.is_dir():
        raise BadCatalog("families: the catalogue has no such folder")
    names = sorted(child.name for child in folder.iterdir() if child.is_dir() and child.name[0] not in "._")
    if not names:
        raise BadCatalog("families: the catalogue has no family")
    return names


def _read(file: Traversable, name: str) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadCatalog(f"{name}: is not UTF-8 text") from error
    except OSError as error:
        raise BadCatalog(f"{name}: cannot be read ({error.strerror or type(error).__name__})") from error


def _read_family(folder: Traversable, name: str) -> tuple[Family, Packaging]:
    file = f"families/{name}/family.toml"
    table = Table.parse(file, _read(folder.joinpath("family.toml"), file))
    if table.text("name") != name:
        raise table.wrong("name", f"must be the folder's name, {name}")
    streams: dict[Stream, StreamPolicy] = {}
    for row in table.rows("stream"):
        policy = _read_stream(row)
        if policy.stream in streams:
            raise row.wrong("stream", f"{policy.stream} is there twice")
        streams[policy.stream] = policy
    family = Family(
        name=name,
        repository=table.text("repository"),
        name_pattern=table.pattern("package", {"stream"}, needed={"stream"}),
        first_stream=table.stream("first_stream"),
        prereleases=table.text("prereleases"),
        streams=streams,
        build_unknown=table.flag("build_unknown", True),
        strategies=table.texts("strategies", ()),
    )
    source = table.table("source")
    layout = SourceLayout(
        url=source.pattern("url", {"tag", "version"}, needed=set()),
        root=source.pattern("root", {"tag", "version"}, needed=set()),
        module=source.text("module"),
        version_file=source.text("version_file", ""),
        version_pattern=_regex(source, "version_pattern"),
        former_modules=source.texts("former_modules", ()),
    )
    source.done()
    files: dict[str, dict[str, str]] = {style: {} for style in STYLES}
    for row in table.rows("file"):
        style, small, text = _read_small_source(row, folder, name)
        files[style][small] = text
    packaging = Packaging(
        layout=layout,
        templates=tuple(_read_template(row, folder, name) for row in table.rows("template")),
        changelog_author=table.text("changelog_author"),
        files=files["srpm"],
        dist_git_files=files["dist-git"],
    )
    table.done()
    return family, packaging


def _read_stream(row: Table) -> StreamPolicy:
    facts = {key: row.text(key, "") for key in ("go", "wazero", "nri", "license")}
    policy = StreamPolicy(
        row.stream("stream"),
        build=row.flag("build"),
        eol=row.day("eol"),
        confirmed=row.flag("confirmed", True),
        facts=facts,
    )
    row.done()
    return policy


def _read_template(row: Table, folder: Traversable, family: str) -> Template:
    name = _file_name(row, "file")
    template = Template(name, row.streams(), _read(folder.joinpath(name), f"families/{family}/{name}"))
    row.done()
    return template


def _read_small_source(row: Table, folder: Traversable, family: str) -> tuple[str, str, str]:
    """A small file's style, the name that it gets, and its text. It is read from ``file``, else from its name."""
    name = row.pattern("name", {"package"}, needed=set())
    if not _FILE_NAME.fullmatch(name.replace("{package}", "x")):
        raise row.wrong("name", f"{name[:60]!r} is not a plain file name")
    file = _file_name(row, "file") if row.has("file") else name
    style = row.text("style", "srpm")
    if style not in STYLES:
        raise row.wrong("style", f"must be {' or '.join(STYLES)}, not {style[:40]!r}")
    row.done()
    return style, name, _read(folder.joinpath(file), f"families/{family}/{file}")


def _file_name(table: Table, key: str) -> str:
    name = table.text(key)
    if not _FILE_NAME.fullmatch(name):
        raise table.wrong(key, f"{name[:60]!r} is not a plain file name")
    return name


def _regex(table: Table, key: str) -> str:
    text = table.text(key, "")
    try:
        groups = re.compile(text).groups
    except re.error as error:
        raise table.wrong(key, f"is not a regular expression ({error})") from error
    if text and groups != 1:
        raise table.wrong(key, "must have exactly one group: the version")
    return text


def _read_strategies(rows: Table) -> Mapping[str, Strategy]:
    strategies: dict[str, Strategy] = {}
    for row in rows.rows("strategy"):
        strategy = Strategy(
            id=row.text("id"),
            why=row.text("why"),
            guards=row.flag("guards"),
            first_stream=row.optional_stream("first_stream"),
            without=frozenset(row.texts("without", ())),
            reference=row.text("reference", ""),
        )
        if strategy.id in strategies:
            raise row.wrong("id", f"'{strategy.id}' is there twice")
        strategies[strategy.id] = strategy
        row.done()
    return strategies
