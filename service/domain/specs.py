"""What is asked of the spec generator and what it gives back. Types only."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

from service.domain.versions import Version


@dataclass(frozen=True)
class SourceFacts:
    """What one upstream source says of itself, or what the catalogue says in its place.

    ``origin`` is ``archive`` or ``catalogue``. ``go`` is go.mod's go line; ``wazero`` and ``nri`` are vendored versions
    with their leading v, empty where not vendored. ``sha256`` and ``url`` are of the archive. Facts that the archive
    does not tell are empty text.
    """

    origin: str
    go: str
    wazero: str = ""
    nri: str = ""
    commit: str = ""
    sha256: str = ""
    url: str = ""
    size: int = 0


@dataclass(frozen=True)
class ChangelogEntry:
    """One ``%changelog`` entry. ``evr`` is version-release without the dist tag."""

    day: date
    evr: str
    text: str


@dataclass(frozen=True)
class SpecRequest:
    """Everything that a spec's text depends on, so that the same request gives the same bytes.

    ``release_number`` is the n of Release ``0.<n>%{?dist}``. ``changelog`` is newest first and includes this build's entry.
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


@dataclass(frozen=True)
class SpecFile:
    """A rendered spec. ``workarounds`` are the ids of the rows that apply, in the order of the table."""

    name: str
    text: str
    sha256: str
    workarounds: tuple[str, ...] = field(default=())
