"""What must hold between the parts of a catalogue, beyond the shape of each file."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable

from service.catalog.diagnoses import check_remedies
from service.catalog.model import Catalog, Packaging, Strategy, Template
from service.catalog.rules import REQUIRABLE, check_workaround
from service.catalog.side_tags import check_side_tag_sets, side_tag_complaint
from service.domain.errors import BadCatalog, BadName
from service.domain.fedora import Chroot
from service.domain.planning import BuildTarget, Family
from service.domain.specs import STYLES
from service.domain.versions import Stream

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,39}", re.ASCII)
# RPM's own alphabet for package names, in lower case as Fedora's naming guideline asks.
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9._+-]{0,79}", re.ASCII)
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}", re.ASCII)
_GO = re.compile(r"\d{1,3}\.\d{1,3}(?:\.\d{1,3})?(?:rc\d{1,2})?", re.ASCII)
_MODULE_VERSION = re.compile(r"v\d{1,6}\.\d{1,6}\.\d{1,6}[0-9A-Za-z.+-]{0,60}", re.ASCII)
_AUTHOR = re.compile(r"[^<>%\\\n]{1,80} <[^<>@\s%\\]{1,80}@[^<>@\s%\\]{1,120}>")
_LICENSE = re.compile(r"[A-Za-z0-9.+() -]{1,400}", re.ASCII)
_REFERENCE = re.compile(r"https://[^\s%\\\"'<>]{1,300}", re.ASCII)
# The reason of facts, not of taste: it falls when somebody has built a package there in mock.
NO_EPEL = (
    "EPEL is refused: %gobuild of EL 9 reads LDFLAGS and BUILDTAGS where our specs set GO_LDFLAGS and "
    "GO_BUILDTAGS, btrfs-progs-devel is missing there, and nobody has built these packages for it in mock"
)


def validate(catalog: Catalog) -> None:
    """Check every cross-reference, range and text of the catalogue. Raises BadCatalog with file and key."""
    for family in catalog.families.values():
        file = f"families/{family.name}/family.toml"
        _check_family(file, family)
        _check_packaging(file, family, catalog.packaging[family.name])
    _no_repeats("families", "repository", [f.repository.lower() for f in catalog.families.values()])
    for family in catalog.families.values():
        unknown = sorted(set(family.strategies) - set(catalog.strategies))
        if unknown:
            file = f"families/{family.name}/family.toml"
            raise BadCatalog(f"{file}: strategies: unknown strategy {unknown[0][:40]!r}")
    check_side_tag_sets(catalog)
    for target in catalog.targets:
        _check_target(catalog, target)
    for strategy in catalog.strategies.values():
        _check_strategy(strategy)
    for row in catalog.workarounds:
        check_workaround(row, catalog.families, catalog.strategies)
    check_remedies(catalog.causes, set(catalog.strategies))


def _check_family(file: str, family: Family) -> None:
    _matches(file, "repository", _REPOSITORY, family.repository)
    _matches(file, "package", _PACKAGE, family.package(family.first_stream))
    if family.prereleases not in {"ignore", "build"}:
        raise BadCatalog(f"{file}: prereleases: must be ignore or build, not {family.prereleases[:40]!r}")
    if not family.streams:
        raise BadCatalog(f"{file}: stream: the family has no [[stream]]")
    for name in family.strategies:
        _matches(file, "strategies", _ID, name)
    for stream, policy in family.streams.items():
        place = f"stream {stream}"
        _matches(file, f"{place}.go", _GO, policy.facts["go"])
        for module in sorted(REQUIRABLE):
            if policy.facts[module]:
                _matches(file, f"{place}.{module}", _MODULE_VERSION, policy.facts[module])
        _matches(file, f"{place}.license", _LICENSE, policy.facts["license"])
    _check_hole(file, family)


def _check_hole(file: str, family: Family) -> None:
    """Every stream from the first to the newest must be there: a hole would refuse releases silently."""
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
    _matches(file, "changelog_author", _AUTHOR, packaging.changelog_author)
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
    """Ranges must follow each other without overlap or hole, from the first stream to an open end."""
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


def _check_strategy(strategy: Strategy) -> None:
    place = f"strategy {strategy.id}"
    _matches("workarounds.toml", f"{place}.id", _ID, strategy.id)
    if strategy.reference:
        _matches("workarounds.toml", f"{place}.reference", _REFERENCE, strategy.reference)
    unknown = sorted(strategy.without - REQUIRABLE)
    if unknown:
        raise BadCatalog(f"workarounds.toml: {place}.without: unknown: {unknown[0][:40]!r}")


def _check_target(catalog: Catalog, target: BuildTarget) -> None:
    def wrong(key: str, complaint: str) -> BadCatalog:
        return BadCatalog(f"targets.toml: target {target.id}.{key}: {complaint}")

    if target.system not in catalog.systems:
        raise wrong("system", f"unknown build system {target.system[:40]!r}")
    strategy = catalog.strategies.get(target.strategy)
    if strategy is None:
        raise wrong("strategy", f"unknown strategy {target.strategy[:40]!r}")
    if strategy.first_stream and (target.first_stream is None or target.first_stream < strategy.first_stream):
        raise wrong("first_stream", f"strategy {strategy.id} works from stream {strategy.first_stream} on")
    unknown = sorted(set(target.families) - set(catalog.families))
    if unknown or not target.families:
        raise wrong("families", f"unknown family {unknown[0][:40]!r}" if unknown else "must name a family")
    if target.style not in STYLES:
        raise wrong("style", f"must be {' or '.join(STYLES)}, not {target.style[:40]!r}")
    if target.style == "dist-git" and target.system == "copr":
        # What %autorelease gives outside dist-git is the NEVRA of the official build, with other content.
        raise wrong("style", "a package that COPR builds from an SRPM needs the style srpm")
    if target.dist_git is not None and target.style != "dist-git":
        raise wrong("dist_git", "what is written to dist-git needs the style dist-git")
    if target.dist_git is not None and target.system == "copr":
        raise wrong("dist_git", "COPR builds from an SRPM, not from a commit")
    complaint = side_tag_complaint(target)
    if complaint:
        raise wrong("side_tag", complaint)
    _no_repeats("targets.toml", f"target {target.id}.chroots", target.chroots)
    for text in target.chroots:
        if text.startswith(("epel-", "rhel-", "centos-")):
            raise wrong("chroots", NO_EPEL)
        try:
            chroot = Chroot.parse(text)
        except BadName as error:
            raise wrong("chroots", str(error)) from error
        if chroot.release != target.branch.chroot_word:
            raise wrong("chroots", f"{text} is not a chroot of branch {target.branch}")


def _matches(file: str, key: str, pattern: re.Pattern[str], text: str) -> None:
    if not pattern.fullmatch(text):
        raise BadCatalog(f"{file}: {key}: {text[:80]!r} does not have the expected form")


def _no_repeats(file: str, key: str, values: Iterable[str]) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise BadCatalog(f"{file}: {key}: {value[:80]!r} is there twice")
        seen.add(value)
