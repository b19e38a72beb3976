"""The types that adapters of build systems take and return: submissions, build reports, tags, result addresses."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from service.domain.errors import BadName
from service.domain.states import ChrootState

Fence = Mapping[str, object]
"""JSON-able facts taken before a submission, by which its builds can be told from older ones."""

_KEY = re.compile(r"[a-z0-9]{4,40}", re.ASCII)


@dataclass(frozen=True)
class SubmissionKey:
    """The random text under which a submission can be found again at the build system. Raises BadName.

    It holds only lower-case letters and digits, so that no server's cleaning of file names changes it.
    """

    text: str

    def __post_init__(self) -> None:
        if not _KEY.fullmatch(self.text):
            raise BadName(f"'{self.text[:60]}' is not a submission key")

    def __str__(self) -> str:
        return self.text

    @classmethod
    def fresh(cls, build_id: int) -> SubmissionKey:
        """Make a new key; its random half keeps a reset database from adopting a foreign build."""
        return cls(f"b{build_id}x{secrets.token_hex(6)}")


@dataclass(frozen=True)
class Srpm:
    """A source RPM on disk: ``size`` is in bytes, ``name`` the file name from which each build system makes its own."""

    path: Path
    name: str
    sha256: str
    size: int


@dataclass(frozen=True)
class ScmCommit:
    """A commit of a dist-git repository, for build systems that build from one.

    ``nvr`` is what the build will be called, if that is known before: a build system may have it already.
    """

    url: str
    commit: str
    nvr: str = ""


@dataclass(frozen=True)
class BuildRef:
    """A build at a build system. ``external_id`` is its id there as text; ``project`` is what it is polled with.

    ``chroots`` are those that we want of it: the build system does not tell where somebody else has submitted it.
    """

    system: str
    project: str
    external_id: str
    web_url: str = ""
    chroots: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class Found:
    """The result of a search for a submission: builds of ours, the one to keep first.

    ``certain`` says that nothing else of ours is there: every build was seen, and none can come late any more or one
    was found. Not certain and nothing found means: look again later.
    """

    refs: tuple[BuildRef, ...]
    certain: bool


@dataclass(frozen=True)
class ChrootReport:
    """The state of one chroot at the build system. ``reason`` says why it is not running or succeeded."""

    chroot: str
    state: ChrootState
    started_at: datetime | None = None
    ended_at: datetime | None = None
    result_url: str = ""
    log_url: str = ""
    reason: str = ""


@dataclass(frozen=True)
class BuildReport:
    """The state of one build at the build system.

    ``ended`` overrides the roll-up of the chroots where the build system says that nothing more will come
    (``failed`` source step, ``canceled``, ``errored``), or that the build goes on although all of its chroots have
    ended (``running``, as while it is being tagged); ``reason`` then says why, in one line. ``complete`` says that
    there will be no other chroots than these: one of ours that is not among them is gone. ``tagged`` says that a build
    which has succeeded is kept under tags, which tell how far it has been shipped. ``instead`` is another build of the
    same thing, submitted by somebody else, that this one gave way to: it is to be followed from now on. ``nvr`` is the
    build's name there, as soon as it has one.
    """

    ref: BuildRef
    chroots: tuple[ChrootReport, ...] = ()
    ended: str = ""
    reason: str = ""
    vendor_state: str = ""
    source_log_url: str = ""
    complete: bool = False
    tagged: bool = False
    instead: BuildRef | None = None
    nvr: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PollProblem:
    """Why one build could not be read in a poll. ``vanished``: the build system does not know it.

    ``unread``: it was not asked for, because no time was left in this round.
    """

    reason: str
    vanished: bool = False
    unread: bool = False


@dataclass(frozen=True)
class Tagging:
    """One tag of a build and the time for which it had it; ``until`` None: it still has it."""

    tag: str
    since: datetime
    until: datetime | None = None


@dataclass(frozen=True)
class TagReport:
    """The tags that a build has and had, in no order. ``over`` says why none will come any more; usually empty."""

    ref: BuildRef
    nvr: str = ""
    taggings: tuple[Tagging, ...] = ()
    over: str = ""


@dataclass(frozen=True)
class ResultPlace:
    """The addresses of the results of one chroot, or of the source step (``chroot`` "source"); empty where unknown."""

    ref: BuildRef
    chroot: str
    result_url: str
    log_url: str
