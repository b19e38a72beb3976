"""Facts about an upstream source archive: its address, its Go and vendored modules, its license. Pure.

Also where these facts differ from the catalogue's, and when a changed license needs a person.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from service.domain.versions import Version

MODULES_LIMIT = 2000
"""Vendored modules that are kept of a source."""
_VERSION = re.compile(r"v\d[A-Za-z0-9.+-]{0,99}", re.ASCII)

COMPARED = ("go", "wazero", "nri", "license")
"""Facts that archive and catalogue both have. ``license`` is compared only where it was computed from the source."""

NOT_COMPUTED = "not computed"
"""What is stored in place of a license where no tool was there to compute it."""

LICENSE_CHANGED = "license changed"
"""How the reason of a build begins that waits for a person because of its license."""


@dataclass(frozen=True)
class SourceFacts:
    """The facts about one upstream source, read from its archive or taken from the catalogue in its place.

    ``origin`` is ``archive`` or ``catalogue``. ``go`` is go.mod's go line; ``wazero`` and ``nri`` are vendored
    versions with their leading v, empty where not vendored. ``sha256``, ``url`` and ``size`` (bytes) are of the
    archive. Facts that the archive does not tell are empty text. ``modules`` are the vendored modules, path to
    version. ``license`` is the expression that was computed from the source, and ``licensed_by`` the tool that did
    it; both are empty where nobody did. ``partial`` says in words which vendored packages the archive lacks
    although its modules.txt names them; empty for a whole one.
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
    """The address and layout of a family's upstream archives; ``{tag}`` and ``{version}`` are replaced.

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
        """Return the address of the archive of ``version``."""
        return self.url.format(tag=version.tag, version=version)

    def source_name(self, version: Version) -> str:
        """Return the file name of the archive of ``version``."""
        return self.source_url(version).rpartition("/")[2]

    def root_folder(self, version: Version) -> str:
        """Return the one folder at the top of the archive of ``version``."""
        return self.root.format(tag=version.tag, version=version)


def vendored_modules(text: str) -> dict[str, str]:
    """Parse vendor/modules.txt: module path to version, for a replaced module the version that replaces it.

    At most MODULES_LIMIT of them, each path cut at 200 characters: an archive must not fill a row.
    """
    found: dict[str, str] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) < 3 or words[0] != "#" or words[2] == "=>" or len(found) >= MODULES_LIMIT:
            continue
        version = words[-1] if "=>" in words and len(words) > 5 else words[2]
        if _VERSION.fullmatch(version):
            found[words[1][:200]] = version
    return found


@dataclass(frozen=True)
class Disagreement:
    """One fact in which source and catalogue differ; empty text where one has none. The source's is used."""

    name: str
    source: str
    catalogue: str


def disagreements(facts: Mapping[str, Any], catalogue: Mapping[str, str]) -> tuple[Disagreement, ...]:
    """List the facts (see COMPARED) in which a release's archive differs from the catalogue.

    ``facts`` are as they are stored with the release; those that are the catalogue's own give an empty tuple.
    """
    if facts.get("origin") != "archive":
        return ()
    found = []
    for name in COMPARED:
        said = computed_license(facts) if name == "license" else str(facts.get(name, ""))
        known = catalogue.get(name, "")
        if said != known and (said or name != "license"):
            found.append(Disagreement(name, said, known))
    return tuple(found)


def computed_license(facts: Mapping[str, Any]) -> str:
    """Return the license expression that was computed from a release's source; empty where none was."""
    text = str(facts.get("license", ""))
    return "" if text == NOT_COMPUTED else text


def license_holds(facts: Mapping[str, Any]) -> bool:
    """Whether a release has a computed license that waits for no person, or that a person accepted."""
    settled = not facts.get("license_waits") or facts.get("license_accepted_by")
    return bool(computed_license(facts) and settled)


def license_question(facts: Mapping[str, Any], before: str, *, same: bool) -> str:
    """Return why a release waits for a person: its computed license is not the stream's last one; empty if not.

    ``before`` is the last expression that holds for the stream; ``same`` says whether both mean the same.
    """
    expression = computed_license(facts)
    if not expression or not before or same or facts.get("license_accepted_by"):
        return ""
    return (
        f"{LICENSE_CHANGED} from {before} to {expression} (computed by {facts.get('licensed_by', 'somebody')}): "
        "look at what upstream vendors now; resuming one build accepts it for the whole release"
    )
