"""What crosses the port between the state machine and a build system. Frozen, and in our words."""

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
"""JSON-able facts taken before a submission, by which its traces can be told from older ones."""

_KEY = re.compile(r"[a-z0-9]{4,40}", re.ASCII)


@dataclass(frozen=True)
class SubmissionKey:
    """The name under which one submission can be found again at the other side.

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
        """A new key; its random half keeps a reset database from adopting a foreign build."""
        return cls(f"b{build_id}x{secrets.token_hex(6)}")


@dataclass(frozen=True)
class Srpm:
    """A source RPM on disk. ``upload_name`` is derived from ``name`` by each build system."""

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
    """A build at the other side. ``external_id`` is that side's id as text; ``project`` tells its batch.

    ``chroots`` are those that we want of it, for what somebody else has submitted and nothing there tells.
    """

    system: str
    project: str
    external_id: str
    web_url: str = ""
    chroots: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class Found:
    """What a search for a submission found, the one to keep first; what it found is ours, certain or not.

    ``certain`` says that nothing else of ours is there: every build was seen, and none can come late any more or one
    was found. Not certain and nothing found means: look again later.
    """

    refs: tuple[BuildRef, ...]
    certain: bool


@dataclass(frozen=True)
class ChrootReport:
    """One chroot as the other side tells it. ``reason`` says why it is not running or succeeded."""

    chroot: str
    state: ChrootState
    started_at: datetime | None = None
    ended_at: datetime | None = None
    result_url: str = ""
    log_url: str = ""
    reason: str = ""


@dataclass(frozen=True)
class BuildReport:
    """One build as the other side tells it.

    ``ended`` overrides the roll-up of the chroots where the other side says that nothing more will come
    (``failed`` source step, ``canceled``, ``errored``), or that the build goes on although all of its chroots have
    ended (``running``, as while it is being tagged); ``reason`` then says why, in one line. ``complete`` says that
    there will be no other chroots than these: one of ours that is not among them is gone. ``tagged`` says that a build
    which has succeeded is kept under tags, which tell how far it has been shipped. ``instead`` is another build of the
    same thing, submitted by somebody else, that this one gave way to: it is to be followed from now on. ``nvr`` is what
    the other side calls the build, as soon as it does.
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
    """Why one build of a batch could not be read; ``vanished`` means the other side does not know it.

    ``unread`` means that nobody asked for it: there was no time left in this round.
    """

    reason: str
    vanished: bool = False
    unread: bool = False


@dataclass(frozen=True)
class Tagging:
    """One tag of a build, from when until when; ``until`` None: it still has it."""

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
    """Where a chroot of a build, or its source step (``chroot`` "source"), left its results: addresses or empty."""

    ref: BuildRef
    chroot: str
    result_url: str
    log_url: str
