"""The request that the spec generator takes and the spec file that it returns. Types only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from service.domain.sources import SourceFacts
from service.domain.versions import Version

STYLES = ("srpm", "dist-git")


@dataclass(frozen=True)
class ChangelogEntry:
    """One ``%changelog`` entry. ``evr`` is version-release without the dist tag."""

    day: date
    evr: str
    text: str


@dataclass(frozen=True)
class SpecRequest:
    """Everything that a spec's text depends on: the same request gives the same bytes.

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
