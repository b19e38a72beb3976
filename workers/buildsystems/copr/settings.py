"""Checks COPR's options: ``AdapterConfig.options`` for the server, ``BuildTarget.options`` for one target.

Unknown keys are refused, because COPR itself drops them in silence and a misspelt one would never be noticed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from service.domain.planning import BuildTarget
from workers.buildsystems import NeedsPerson, read_options

MAX_BUILD_SECONDS = 108000
DESCRIPTION = (
    "Versioned CRI-O packages. Each release is built by cryopack as soon as upstream publishes it; "
    "one stream at a time can be installed."
)

_PROJECT = re.compile(r"(@?[A-Za-z0-9][A-Za-z0-9_.-]*)/([A-Za-z0-9_.-]+)", re.ASCII)


@dataclass(frozen=True)
class CoprSettings:
    """The options of the adapter; all but the first are seconds.

    ``connect_timeout`` and ``read_timeout`` bound one connection and one silence. ``setup_timeout`` bounds open and
    find, ``poll_timeout`` poll and cancel, ``upload_timeout`` submit, each as a whole. ``request_timeout`` is how long
    after the first doubt COPR may still commit a lost upload; until then no search is certain.
    """

    config_file: Path = Path("~/.config/copr")
    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    setup_timeout: float = 120.0
    poll_timeout: float = 60.0
    upload_timeout: float = 300.0
    request_timeout: float = 70.0

    @classmethod
    def read(cls, options: Mapping[str, object]) -> CoprSettings:
        """Check the options, return the settings. Raises BuildSystemError, which names the key and the known ones."""
        values = read_options("COPR", cls, options)
        settings = cls(**values)
        doubt = values.get("request_timeout", settings.connect_timeout + settings.read_timeout)
        return cls(**{**values, "config_file": settings.config_file.expanduser(), "request_timeout": doubt})


def _text(value: object) -> bool:
    return isinstance(value, str)


def _flag(value: object) -> bool:
    return isinstance(value, bool)


def _seconds(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_BUILD_SECONDS


def _texts(value: object) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(one, str) for one in value)


# Sent with each build.
BUILD_OPTIONS: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "timeout": (_seconds, f"seconds up to {MAX_BUILD_SECONDS}"),
    "enable_net": (_flag, "true or false"),
    "background": (_flag, "true or false"),
    "bootstrap": (_text, "a text"),
    "isolation": (_text, "a text"),
}
# Used only when the project is created: an existing project's settings belong to its maintainers.
PROJECT_OPTIONS: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "description": (_text, "a text"),
    "instructions": (_text, "a text"),
    "homepage": (_text, "a text"),
    "contact": (_text, "a text"),
    "additional_repos": (_texts, "a list of texts"),
    "unlisted_on_hp": (_flag, "true or false"),
}


@dataclass(frozen=True)
class TargetSettings:
    """The checked options of one target. ``owner`` may be ``@group``; ``dirname`` is a directory of the project."""

    owner: str
    project: str
    dirname: str | None
    build: Mapping[str, object]
    creation: Mapping[str, object]

    @classmethod
    def read(cls, target: BuildTarget) -> TargetSettings:
        """Check project and options of a target. Raises NeedsPerson: only a change of the catalogue helps."""
        owner, project = split_project(target.project)
        build: dict[str, object] = {}
        creation: dict[str, object] = {"description": DESCRIPTION}
        dirname: str | None = None
        for key, value in target.options.items():
            if key == "project_dirname":
                dirname = _dirname(target, project, value)
                continue
            table = BUILD_OPTIONS if key in BUILD_OPTIONS else PROJECT_OPTIONS
            if key not in table:
                known = ", ".join(sorted([*BUILD_OPTIONS, *PROJECT_OPTIONS, "project_dirname"]))
                raise NeedsPerson(f"target {target.id}: COPR has no option '{key}'; there are: {known}")
            fits, form = table[key]
            if not fits(value):
                raise NeedsPerson(f"target {target.id}: option '{key}' must be {form}")
            (build if table is BUILD_OPTIONS else creation)[key] = value
        own = f"copr://{owner}/{project}"
        repos = creation.get("additional_repos")
        if isinstance(repos, (list, tuple)):
            # COPR refuses a project's own repository at its creation, and every build sees that one anyway.
            creation["additional_repos"] = [repo for repo in repos if repo != own]
        return cls(owner, project, dirname, build, creation)


def split_project(project: str) -> tuple[str, str]:
    """Split ``owner/name`` into owner and name. Raises NeedsPerson."""
    match = _PROJECT.fullmatch(project)
    if not match:
        raise NeedsPerson(f"'{project[:80]}' is not a COPR project such as owner/name or @group/name")
    return match[1], match[2]


def _dirname(target: BuildTarget, project: str, value: object) -> str:
    form = rf"{re.escape(project)}:(pr:[0-9]+|custom:[A-Za-z0-9-]+)"
    if not isinstance(value, str) or not re.fullmatch(form, value, re.ASCII):
        raise NeedsPerson(
            f"target {target.id}: option 'project_dirname' must be {project}:pr:<number> "
            f"or {project}:custom:<suffix>"
        )
    return value
