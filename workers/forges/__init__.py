"""The port to a forge: the Protocol for forks and pull requests of dist-git, its errors, and its loader.

Every error's text is one line that a maintainer can act on, and holds no secret.
"""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass, field
from typing import Protocol

from service.domain.distgit import ForgePolicy, PullRequest

# The Forgejo client reads any .env above it into the environment when it is imported. Ours holds secrets, which
# every child process would then be given.
os.environ.setdefault("PYTHON_DOTENV_DISABLED", "1")


class ForgeError(Exception):
    """Base of the errors that a forge raises."""


class ForgeUnavailable(ForgeError):
    """The forge gave no usable answer: what was asked may have been done. Try again later."""


class ForgeRefused(ForgeError):
    """The forge refuses, and will refuse again: a token that has expired, a right that is missing."""


class ForgeMissing(ForgeError):
    """The forge has no such repository or pull request."""


@dataclass(frozen=True)
class ForgeConfig:
    """A forge, our token there, and how long one silence may last (seconds)."""

    policy: ForgePolicy
    namespace: str
    token: str = field(repr=False)
    seconds: float


@dataclass(frozen=True)
class Proposal:
    """A pull request to open, from ``branch`` of our fork to ``target`` of the package's repository."""

    branch: str
    target: str
    title: str
    text: str


class Forge(Protocol):
    """A forge. Every method may raise ForgeUnavailable, ForgeRefused or ForgeMissing."""

    def user(self) -> str:
        """Return the name of the user whose token it is."""
        ...

    def fork(self, package: str) -> None:
        """Create the user's fork of the package's repository unless it exists."""
        ...

    def find(self, package: str, branch: str) -> tuple[PullRequest, ...]:
        """Return the pull requests from a branch of our fork in any state, the lowest number first."""
        ...

    def open(self, package: str, proposal: Proposal) -> PullRequest:
        """Open a pull request, sending the request once. After ForgeUnavailable it may be there."""
        ...

    def get(self, package: str, number: int) -> PullRequest:
        """Return one pull request."""
        ...

    def comment(self, package: str, number: int, text: str) -> None:
        """Comment on a pull request, unless we have written exactly that already."""
        ...

    def close(self, package: str, number: int) -> None:
        """Close a pull request without a merge; one that is not open any more is no error."""
        ...


def connect(config: ForgeConfig) -> Forge:
    """Return the forge of a configuration. Raises ForgeRefused without a token, or without the client library.

    The library takes most of a second and 60 MB to load, so that only a process that proposes something does.
    """
    if not config.token:
        raise ForgeRefused(f"there is no token for {config.policy.url}: set CRYOPACK_FORGE_TOKEN")
    try:
        module = importlib.import_module(f"{__name__}.through_ogr")
    except ModuleNotFoundError as error:
        raise ForgeRefused(f"pull requests need the Python package {error.name}") from error
    forge: Forge = module.connect(config)
    return forge
