"""What is asked of the spec generator and what it gives back. Types only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from service.domain.versions import Version

STYLES = ("srpm", "dist-git")


@dataclass(frozen=True)
class SourceFacts:
    """What one upstream source says of itself, or what the catalogue says in its place.

    ``origin`` is ``archive`` or ``catalogue``. ``go`` is go.mod's go line; ``wazero`` and ``nri`` are vendored
    versions with their leading v, empty where not vendored. ``sha256`` and ``url`` are of the archive. Facts
    that the archive does not tell are empty text. ``modules`` are the vendored modules, path to version.
    ``license`` is the expression that was computed from the
    source, and ``licensed_by`` the tool that did it; both are empty where nobody did. ``partial`` says in words
    which vendored packages the archive lacks although its modules.txt names them; empty for a whole one.
    """

    origin: str
    go: str
    wazero: str = ""
    nri: str = ""
    commit: str = ""
    sha256: str = ""
    url: str = ""
    size: int = 0
    modules: Mapping[str, str] = field(default_factory=dict, hash=False)
    license: str = ""
    licensed_by: str = ""
    partial: str = ""


@dataclass(frozen=True)
class SourceLayout:
    """Where a family's upstream archive is and what it must look like; ``{tag}`` and ``{version}`` are replaced.

    ``module`` is go.mod's module path, ``former_modules`` are those of older tags. ``version_file`` is below the
    root folder and holds a line that ``version_pattern`` (a regular expression with one group) matches; both are
    empty where upstream has no such file.
    """

    url: str
    root: str
    module: str
    version_file: str = ""
    version_pattern: str = ""
    former_modules: tuple[str, ...] = ()

    def source_url(self, version: Version) -> str:
        """The address of the archive of ``version``."""
        return self.url.format(tag=version.tag, version=version)

    def source_name(self, version: Version) -> str:
        """The file name of the archive of ``version``."""
        return self.source_url(version).rpartition("/")[2]

    def root_folder(self, version: Version) -> str:
        """The one folder at the top of the archive of ``version``."""
        return self.root.format(tag=version.tag, version=version)


@dataclass(frozen=True)
class ChangelogEntry:
    """One ``%changelog`` entry. ``evr`` is version-release without the dist tag."""

    day: date
    evr: str
    text: str


@dataclass(frozen=True)
class SpecRequest:
    """Everything that a spec's text depends on, so that the same request gives the same bytes.

    ``style`` is ``srpm`` or ``dist-git``. In the first, ``release_number`` is the n of Release ``0.<n>%{?dist}``,
    and ``changelog`` is newest first and includes this build's entry. In the second, rpmautospec makes both from
    the history of dist-git, and neither is used.
    """

    family: str
    package: str
    version: Version
    branch: str
    strategy: str
    facts: SourceFacts
    release_number: int
    released_on: date
    changelog: tuple[ChangelogEntry, ...] = ()
    style: str = "srpm"


@dataclass(frozen=True)
class SpecFile:
    """A rendered spec. ``workarounds`` are the ids of the rows that apply, in the order of the table.

    ``release`` is the R without the dist tag: ``0.1``, or in the dist-git style the 1 that rpmautospec begins
    with. ``source_url`` is what ``Source0`` must expand to. ``files`` are the small sources that travel beside
    the archive, and ``dist_git_files`` those that lie beside the spec in dist-git only: name to text.
    """

    name: str
    text: str
    sha256: str
    workarounds: tuple[str, ...] = field(default=())
    package: str = ""
    version: str = ""
    release: str = ""
    source_url: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    dist_git_files: Mapping[str, str] = field(default_factory=dict)

    @property
    def source_name(self) -> str:
        """The file name of the upstream archive, as ``Source0`` names it."""
        return self.source_url.rpartition("/")[2]
