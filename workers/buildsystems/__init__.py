"""The port to build systems: one Protocol, its errors, and the loader that finds an adapter by name.

An adapter is one module in this package. It offers ``connect(config) -> BuildSystem``; nothing else of it is used.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

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
    """Base of what a build system may raise; ``str(error)`` is one line for people."""


class BuildSystemUnavailable(BuildSystemError):
    """The other side does not answer or asks to wait. Costs no tries, only the deadline.

    ``retry_after`` is in seconds, 0 where the other side named no time.
    """

    def __init__(self, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class SubmissionRefused(BuildSystemError):
    """The other side looked at the submission and said no: the build has failed, there is nothing to look for."""


class NameTaken(SubmissionRefused):
    """The same, but for no fault of the package: somebody else's build has its name."""


class SubmissionUnknown(BuildSystemError):
    """Nobody knows whether the other side has the build: look before submitting again."""


class NeedsPerson(BuildSystemError):
    """Nothing will help but a person (an expired token, missing rights): the build is held."""


class BuildVanished(BuildSystemError):
    """The other side does not know the build any more."""


class ForeignBuild(BuildSystemError):
    """The build is another account's: we may follow it, and not stop it."""


class SideTagVanished(BuildSystemError):
    """The other side does not know the side tag any more."""


@dataclass(frozen=True)
class AdapterConfig:
    """What adapters may need. ``options`` holds the settings of that system only (paths, time-outs in seconds)."""

    state_dir: Path
    options: Mapping[str, object]


class BuildSystem(Protocol):
    """A place that turns sources into RPMs. Every method may raise BuildSystemUnavailable or NeedsPerson."""

    name: str

    def open(self, target: BuildTarget) -> Fence:
        """Make the target ready (safe to repeat) and return facts by which older builds are told apart.

        Raises SubmissionRefused when the target cannot take the build at all, SideTagVanished when the side tag that
        the build was let into is gone.
        """
        ...

    def reopen(self, target: BuildTarget, fence: Fence) -> Fence:
        """The same before a second submission: the new fence still tells the first one's traces from older ones.

        Only after a certain search. The answer is written down before the submission, as the first fence was.
        """
        ...

    def submit(
        self, work: Srpm | ScmCommit, target: BuildTarget, key: SubmissionKey, fence: Fence
    ) -> BuildRef:
        """Hand the work over once. Raises SubmissionRefused, or SubmissionUnknown after any doubt."""
        ...

    def find(self, target: BuildTarget, key: SubmissionKey, fence: Fence) -> Found:
        """Look for earlier submissions under ``key``. ``fence["doubt_seconds"]`` is how long the doubt has lasted.

        Not certain means: look again later, never submit.
        """
        ...

    def poll(self, refs: Sequence[BuildRef]) -> Mapping[BuildRef, BuildReport | PollProblem]:
        """Read many builds of one project at once. One bad build never spoils its neighbours."""
        ...

    def log_addresses(self, place: ResultPlace) -> Mapping[str, Sequence[str]]:
        """Where each log of an ended chroot is: kind (builder, root, backend; source) to addresses, best first.

        Asks nobody: an address may lead to nothing (yet). Raises NeedsPerson where the configuration lacks them.
        """
        ...

    def rpm_addresses(self, place: ResultPlace) -> Sequence[str]:
        """Where the binary RPMs of a succeeded chroot are, without those that only hold debugging data.

        Raises NeedsPerson where the configuration lacks them.
        """
        ...

    def tags(self, refs: Sequence[BuildRef]) -> Mapping[BuildRef, TagReport | PollProblem]:
        """The tags of many succeeded builds at once, present and past. Where there are none, ``over`` says so."""
        ...

    def cancel(self, ref: BuildRef) -> None:
        """Ask the other side to stop the build; one that has ended already is no error.

        Raises BuildVanished, or ForeignBuild for one that somebody else has submitted.
        """
        ...


@runtime_checkable
class KeepsOutput(Protocol):
    """What a build system offers besides that hands out logs through its own protocol.

    Its ``log_addresses`` may then name addresses that are none of the web.
    """

    def read_output(self, address: str, sink: Callable[[bytes], None], *, seconds: float) -> None:
        """Hand a log over piece by piece; what ``sink`` raises passes through.

        Raises BuildVanished where there is no such log, BuildSystemUnavailable where it cannot be read now.
        """
        ...


@runtime_checkable
class SideTagged(Protocol):
    """What a build system offers besides where it has side tags. Every method may raise BuildSystemUnavailable.

    A side tag carries no mark of ours, so a request for one is fenced like a submission: by a session of its own, and
    by the list of what our account had before.
    """

    def side_tag_base(self, target: BuildTarget) -> str:
        """What side tags of a target stand beside, in the build system's own word. Asks nobody; NeedsPerson."""
        ...

    def open_side_tag(self, base_target: str) -> Fence:
        """Get ready to ask for a side tag once; changes nothing. Raises NeedsPerson, SubmissionRefused."""
        ...

    def make_side_tag(self, fence: Fence) -> str:
        """Ask once; the tag's name. Raises SubmissionUnknown after any doubt, NeedsPerson, SubmissionRefused."""
        ...

    def find_side_tags(self, fence: Fence) -> Sequence[tuple[int, str]]:
        """Our side tags (number, name) on the fence's base now; no late request can add one. Raises NeedsPerson."""
        ...

    def look_at_side_tag(self, name: str, fence: Fence) -> TagSeen:
        """Whether it is there, ours, and what it holds."""
        ...

    def missing_in_side_tag(self, name: str, refs: Sequence[BuildRef]) -> str:
        """What the side tag's repository still lacks of these builds, in one line; empty text if nothing.

        Sees to it that such a repository is made. Raises SideTagVanished, NeedsPerson.
        """
        ...

    def remove_side_tag(self, name: str, fence: Fence) -> None:
        """Remove it; the caller has looked before. Raises NeedsPerson."""
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
