"""Reads and checks ``families/NAME/family.toml``: one upstream project, its streams, and how it becomes a package."""

from __future__ import annotations

import itertools
import re
from collections.abc import Container
from importlib.resources.abc import Traversable

from service.catalog.model import Packaging, Template
from service.catalog.tables import ID, Table, check_form, read_text
from service.catalog.workarounds import REQUIRABLE
from service.domain.errors import BadCatalog
from service.domain.planning import Family, StreamPolicy
from service.domain.sources import SourceLayout
from service.domain.specs import STYLES
from service.domain.versions import Stream

# RPM's own alphabet for package names, in lower case as Fedora's naming guideline asks.
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9._+-]{0,79}", re.ASCII)
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}", re.ASCII)
_GO = re.compile(r"\d{1,3}\.\d{1,3}(?:\.\d{1,3})?(?:rc\d{1,2})?", re.ASCII)
_MODULE_VERSION = re.compile(r"v\d{1,6}\.\d{1,6}\.\d{1,6}[0-9A-Za-z.+-]{0,60}", re.ASCII)
_AUTHOR = re.compile(r"[^<>%\\\n]{1,80} <[^<>@\s%\\]{1,80}@[^<>@\s%\\]{1,120}>")
_LICENSE = re.compile(r"[A-Za-z0-9.+() -]{1,400}", re.ASCII)
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)


def read_family(root: Traversable, name: str) -> tuple[Family, Packaging]:
    """Read the family in ``families/NAME`` of the catalogue in ``root``, with its templates and small sources.

    Raises BadCatalog.
    """
    folder = f"families/{name}"
    table = Table.read(root, f"{folder}/family.toml")
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
        style, small, text = _read_small_source(row, root, folder)
        files[style][small] = text
    packaging = Packaging(
        layout=layout,
        templates=tuple(_read_template(row, root, folder) for row in table.rows("template")),
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


def _read_template(row: Table, root: Traversable, folder: str) -> Template:
    name = _file_name(row, "file")
    template = Template(name, row.streams(), read_text(root, f"{folder}/{name}"))
    row.done()
    return template


def _read_small_source(row: Table, root: Traversable, folder: str) -> tuple[str, str, str]:
    """Return the style that a ``[[file]]`` is for, its name in the package, and its text, which ``file`` names."""
    name = row.pattern("name", {"package"}, needed=set())
    if not _FILE_NAME.fullmatch(name.replace("{package}", "x")):
        raise row.wrong("name", f"{name[:60]!r} is not a plain file name")
    file = _file_name(row, "file") if row.has("file") else name
    style = row.text("style", "srpm")
    if style not in STYLES:
        raise row.wrong("style", f"must be {' or '.join(STYLES)}, not {style[:40]!r}")
    row.done()
    return style, name, read_text(root, f"{folder}/{file}")


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


def check_family(family: Family, packaging: Packaging, strategies: Container[str]) -> None:
    """Check the ranges and texts of a family, and that its strategies are in ``strategies``. Raises BadCatalog."""
    file = f"families/{family.name}/family.toml"
    check_form(file, "repository", _REPOSITORY, family.repository)
    check_form(file, "package", _PACKAGE, family.package(family.first_stream))
    if family.prereleases not in {"ignore", "build"}:
        raise BadCatalog(f"{file}: prereleases: must be ignore or build, not {family.prereleases[:40]!r}")
    if not family.streams:
        raise BadCatalog(f"{file}: stream: the family has no [[stream]]")
    for name in family.strategies:
        check_form(file, "strategies", ID, name)
        if name not in strategies:
            raise BadCatalog(f"{file}: strategies: unknown strategy {name[:40]!r}")
    for stream, policy in family.streams.items():
        place = f"stream {stream}"
        check_form(file, f"{place}.go", _GO, policy.facts["go"])
        for module in sorted(REQUIRABLE):
            if policy.facts[module]:
                check_form(file, f"{place}.{module}", _MODULE_VERSION, policy.facts[module])
        check_form(file, f"{place}.license", _LICENSE, policy.facts["license"])
    _check_streams(file, family)
    _check_packaging(file, family, packaging)


def _check_streams(file: str, family: Family) -> None:
    """Check that every stream from the first to the newest is there: a hole would refuse releases silently."""
    newest = family.newest_known
    if family.first_stream not in family.streams:
        raise BadCatalog(f"{file}: first_stream: there is no [[stream]] {family.first_stream}")
    older = [stream for stream in family.streams if stream < family.first_stream]
    if older:
        raise BadCatalog(f"{file}: stream: {min(older)} is older than first_stream {family.first_stream}")
    for stream in sorted(family.streams):
        following = Stream(stream.major, stream.minor + 1)
        same_major = [other for other in family.streams if other.major == stream.major]
        if stream != newest and stream != max(same_major) and following not in family.streams:
            raise BadCatalog(f"{file}: stream: there is a hole after {stream}, {following} is missing")


def _check_packaging(file: str, family: Family, packaging: Packaging) -> None:
    check_form(file, "changelog_author", _AUTHOR, packaging.changelog_author)
    layout = packaging.layout
    if not layout.url.startswith("https://") or not _plain(layout.url):
        raise BadCatalog(f"{file}: source.url: must be an https address without spaces or %")
    if not _plain(layout.root) or "/" in layout.root:
        raise BadCatalog(f"{file}: source.root: must be one folder's name")
    if not all(map(_plain, (layout.module, *layout.former_modules, layout.version_file))):
        raise BadCatalog(f"{file}: source: module and version_file must hold no spaces and no %")
    if bool(layout.version_file) != bool(layout.version_pattern):
        raise BadCatalog(f"{file}: source: version_file and version_pattern need each other")
    _check_templates(file, family, packaging.templates)


def _plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and not set(text) & set(" %\\\"'<>$`")


def _check_templates(file: str, family: Family, templates: tuple[Template, ...]) -> None:
    """Check that the ranges of the templates follow each other without overlap or hole, up to an open end."""
    if not templates:
        raise BadCatalog(f"{file}: template: the family has no [[template]]")
    for one, other in itertools.combinations(templates, 2):
        if one.streams.meets(other.streams):
            raise BadCatalog(f"{file}: template: the ranges of {one.file} and {other.file} overlap")
    if all(template.streams.last is not None for template in templates):
        raise BadCatalog(f"{file}: template: the newest range must be open (no last_stream)")
    needed = set(family.streams)
    for template in templates:
        if template.streams.last is not None:
            needed.add(Stream(template.streams.last.major, template.streams.last.minor + 1))
    for stream in sorted(needed):
        if not any(stream in template.streams for template in templates):
            raise BadCatalog(f"{file}: template: no range holds stream {stream}")
