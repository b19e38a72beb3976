"""The port to build systems: the Protocol of an adapter, its errors, what adapters share, and their loader.

An adapter is a folder of this package with a module ``adapter``. It offers ``connect(config) -> BuildSystem``; nothing
else of it is used.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from service.domain.planning import BuildTarget
from service.domain.reports import (
    BuildRef,
    BuildReport,
    Fence,
    Found,
    PollProblem,
    ResultPlace,
    ScmCommit,
    Srpm,
    SubmissionKey,
    TagReport,
)
from service.domain.side_tags import TagSeen


class BuildSystemError(Exception):
    """Base of the errors that a build system's adapter raises; ``str(error)`` is one line for people."""


class BuildSystemUnavailable(BuildSystemError):
    """The build system does not answer or asks to wait. Costs no tries, only the deadline.

    ``retry_after`` is in seconds, 0 where the build system named no time.
    """

    def __init__(self, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class SubmissionRefused(BuildSystemError):
    """The build system refused the submission: the build has failed, there is nothing to look for."""


class NameTaken(SubmissionRefused):
    """The build system refused the submission because somebody else's build has its name-version-release."""


class SubmissionUnknown(BuildSystemError):
    """It is not known whether the build system has the build: search for it before submitting again."""


class NeedsPerson(BuildSystemError):
    """Only a person can help (an expired token, missing rights): the build is held."""


class BuildVanished(BuildSystemError):
    """The build system does not know the build any more."""


class ForeignBuild(BuildSystemError):
    """The build is another account's: we may follow it, but not cancel it."""


class SideTagVanished(BuildSystemError):
    """The build system does not know the side tag any more."""


@dataclass(frozen=True)
class AdapterConfig:
    """The input of an adapter. ``options`` holds the settings of that system only (paths, time-outs in seconds)."""

    state_dir: Path
    options: Mapping[str, object]


def read_options(system: str, settings: type[Any], options: Mapping[str, object]) -> dict[str, Any]:
    """Return the options of an adapter as arguments for its settings, a dataclass of which every field has a default.

    The default tells what an option must be: more than 0 seconds for a float, a text for a text, else a path, which
    may be None where the default is. Raises BuildSystemError, which names the option and the known ones; ``system`` is
    the name of the build system in that text.
    """
    defaults = {one.name: one.default for one in fields(settings)}
    values: dict[str, Any] = {}
    for key, value in options.items():
        if key not in defaults:
            raise BuildSystemError(f"{system} has no option '{key}'; there are: {', '.join(defaults)}")
        values[key] = _checked_option(system, key, value, defaults[key])
    return values


def _checked_option(system: str, key: str, value: object, default: object) -> object:
    if isinstance(default, float):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise BuildSystemError(f"{system}'s option '{key}' must be a number of seconds")
        if not 0 < value < math.inf:
            raise BuildSystemError(f"{system}'s option '{key}' must be more than 0 seconds")
        return float(value)
    if isinstance(default, str):
        if not isinstance(value, str):
            raise BuildSystemError(f"{system}'s option '{key}' must be a text")
        return value
    if value is None and default is None:
        return None
    if not isinstance(value, (str, Path)) or not str(value):
        raise BuildSystemError(f"{system}'s option '{key}' must be a path")
    return Path(value).expanduser()


def timestamp(value: object) -> datetime | None:
    """Return a build system's time, in seconds since 1970, as a datetime in UTC; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 2**40:
        return None
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        return None


@dataclass(frozen=True)
class Health:
    """Whether a build system answers and knows us, at one moment; ``text`` is the account's name or the trouble."""

    ok: bool
    at: datetime
    text: str


class BuildSystem(Protocol):
    """A place that turns sources into RPMs. Every method may raise BuildSystemUnavailable or NeedsPerson."""

    name: str

    def open(self, target: BuildTarget) -> Fence:
        """Make the target ready (safe to repeat) and return the fence: facts by which older builds are told apart.

        Raises SubmissionRefused when the target cannot take the build at all, SideTagVanished when the side tag that
        the build was let into is gone.
        """
        ...

    def reopen(self, target: BuildTarget, fence: Fence) -> Fence:
        """Return a fence for a second submission, by which the first one's builds are still told from older ones.

        Called only after a certain search. The caller commits it before the submission, as the first fence was.
        """
        ...

    def submit(
        self, work: Srpm | ScmCommit, target: BuildTarget, key: SubmissionKey, fence: Fence
    ) -> BuildRef:
        """Submit the work once. Raises SubmissionRefused, or SubmissionUnknown after any doubt."""
        ...

    def find(self, target: BuildTarget, key: SubmissionKey, fence: Fence) -> Found:
        """Search for earlier submissions under ``key``. ``fence["doubt_seconds"]`` is how long the doubt has lasted.

        Where the answer is not certain, the caller searches again later and never submits.
        """
        ...

    def poll(self, refs: Sequence[BuildRef]) -> Mapping[BuildRef, BuildReport | PollProblem]:
        """Read the state of many builds of one project at once. One bad build never spoils its neighbours."""
        ...

    def log_addresses(self, place: ResultPlace) -> Mapping[str, Sequence[str]]:
        """Return the addresses of each log of an ended chroot by kind (builder, root, backend; source), best first.

        Asks nobody: an address may lead to nothing (yet). Raises NeedsPerson where the configuration lacks them.
        """
        ...

    def rpm_addresses(self, place: ResultPlace) -> Sequence[str]:
        """Return the addresses of the binary RPMs of a succeeded chroot, without those that hold debugging data only.

        Raises NeedsPerson where the configuration lacks them.
        """
        ...

    def tags(self, refs: Sequence[BuildRef]) -> Mapping[BuildRef, TagReport | PollProblem]:
        """Read the tags of many succeeded builds at once, present and past. Where there are none, ``over`` says so."""
        ...

    def cancel(self, ref: BuildRef) -> None:
        """Cancel the build; one that has ended already is no error.

        Raises BuildVanished, or ForeignBuild for one that somebody else has submitted.
        """
        ...


@runtime_checkable
class KeepsOutput(Protocol):
    """The extra of a build system that hands out logs through its own API.

    Its ``log_addresses`` may then name addresses that are not of the web.
    """

    def read_output(self, address: str, sink: Callable[[bytes], None], *, seconds: float) -> None:
        """Read a log and pass it to ``sink`` piece by piece; what ``sink`` raises passes through.

        Raises BuildVanished where there is no such log, BuildSystemUnavailable where it cannot be read now.
        """
        ...


@runtime_checkable
class SideTagged(Protocol):
    """The extra of a build system that has side tags. Every method may raise BuildSystemUnavailable.

    A side tag carries no mark of ours, so a request for one is fenced like a submission: by a session of its own, and
    by the list of what our account had before.
    """

    def side_tag_base(self, target: BuildTarget) -> str:
        """Return what a target's side tags stand beside, in the build system's words. Asks nobody; NeedsPerson."""
        ...

    def open_side_tag(self, base_target: str) -> Fence:
        """Return the fence of a request for a side tag; changes nothing. Raises NeedsPerson, SubmissionRefused."""
        ...

    def make_side_tag(self, fence: Fence) -> str:
        """Make a side tag and return its name; the request is sent once.

        Raises SubmissionUnknown after any doubt, NeedsPerson, SubmissionRefused.
        """
        ...

    def find_side_tags(self, fence: Fence) -> Sequence[tuple[int, str]]:
        """Return our side tags (number, name) beside the fence's base, after which no late request can add one.

        Raises NeedsPerson.
        """
        ...

    def look_at_side_tag(self, name: str, fence: Fence) -> TagSeen:
        """Return whether the side tag is there, whether it is ours, and what it holds."""
        ...

    def missing_in_side_tag(self, name: str, refs: Sequence[BuildRef]) -> str:
        """Return what the side tag's repository still lacks of these builds, in one line; empty text if nothing.

        Requests such a repository where it has to be. Raises SideTagVanished, NeedsPerson.
        """
        ...

    def remove_side_tag(self, name: str, fence: Fence) -> None:
        """Remove the side tag; the caller has looked at it before. Raises NeedsPerson."""
        ...


def connect(name: str, config: AdapterConfig) -> BuildSystem:
    """Load the adapter ``workers.buildsystems.<name>.adapter``. Raises BuildSystemError if there is none."""
    if not name.isidentifier() or name.startswith("_"):
        raise BuildSystemError(f"'{name}' is not the name of a build system")
    module_name = f"{__name__}.{name}.adapter"
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name in (module_name, module_name.rpartition(".")[0]):
            raise BuildSystemError(f"there is no build system called {name}") from None
        raise BuildSystemError(f"build system {name} needs the Python package {error.name}") from error
    if not hasattr(module, "connect"):
        raise BuildSystemError(f"there is no build system called {name}")
    system: BuildSystem = module.connect(config)
    return system
