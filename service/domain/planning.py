"""Plans the builds of an upstream release: which package on which targets, and why not on the others. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

from service.domain.diagnosis import RemedyPolicy
from service.domain.distgit import DistGitPolicy
from service.domain.fedora import Branch
from service.domain.shipping import StageTags
from service.domain.side_tags import SideTagPolicy
from service.domain.states import ReleaseState
from service.domain.versions import Stream, Version


@dataclass(frozen=True)
class StreamPolicy:
    """The catalogue's decision about one stream: whether it is built, until when, and its facts.

    ``facts`` are what the source archive would tell (``go``, ``wazero``, ``nri``): used only where no archive
    is at hand, and then said so. ``confirmed`` is False for a stream that no person has looked at yet.
    """

    stream: Stream
    build: bool
    eol: date | None = None
    confirmed: bool = True
    facts: Mapping[str, str] = field(default_factory=dict)

    def is_eol(self, today: date) -> bool:
        return self.eol is not None and self.eol <= today


@dataclass(frozen=True)
class Family:
    """One upstream project whose minors become versioned packages.

    ``prereleases`` is ``ignore`` or ``build``. ``name_pattern`` makes the package name, as ``cri-o{stream}``.
    ``strategies`` are those that the family can have, the one it falls back to first; empty means every one.
    ``decided`` are streams newer than all of ``streams`` that a maintainer has decided about by hand.
    """

    name: str
    repository: str
    name_pattern: str
    first_stream: Stream
    prereleases: str
    streams: Mapping[Stream, StreamPolicy]
    build_unknown: bool = True
    decided: Mapping[Stream, StreamPolicy] = field(default_factory=dict)
    strategies: tuple[str, ...] = ()

    def strategy(self, wanted: str) -> str:
        """Return ``wanted`` (a target's strategy) if this family can have it, else the family's first one."""
        return wanted if not self.strategies or wanted in self.strategies else self.strategies[0]

    def package(self, stream: Stream) -> str:
        """Return the name of the stream's package, such as ``cri-o1.32``."""
        return self.name_pattern.format(stream=stream)

    @property
    def newest_known(self) -> Stream:
        return max(self.streams)

    def policy(self, stream: Stream) -> StreamPolicy | None:
        """Return the stream's policy; None where the family has no such stream.

        A minor newer than all known ones inherits the facts of the newest and is marked as not confirmed.
        """
        if stream in self.streams:
            return self.streams[stream]
        if stream in self.decided:
            return self.decided[stream]
        newest = self.newest_known
        if stream.major == newest.major and stream > newest:
            inherited = self.streams[newest].facts
            return StreamPolicy(stream, build=self.build_unknown, confirmed=False, facts=inherited)
        return None

    def with_policy(self, policy: StreamPolicy) -> Family:
        """Return the family with another policy for one stream, known or newer than all known ones."""
        if policy.stream in self.streams:
            return replace(self, streams={**self.streams, policy.stream: policy})
        return replace(self, decided={**self.decided, policy.stream: policy})

    def with_prereleases(self) -> Family:
        """Return the family as if it built pre-releases, for a release that a maintainer asks for by hand."""
        return replace(self, prereleases="build")


@dataclass(frozen=True)
class BranchPolicy:
    """A Fedora branch with its end of life, if that is known."""

    branch: Branch
    eol: date | None = None

    def is_eol(self, today: date) -> bool:
        return self.eol is not None and self.eol <= today


@dataclass(frozen=True)
class BuildTarget:
    """One build target, branch × build system × project, with everything that steers its builds.

    ``project`` names the batch in which builds are polled together: COPR's ``owner/project``, a Koji profile.
    ``dist_git`` says where packages lie that are built from a commit there; None: from an SRPM.
    ``options`` is what only the build system's adapter reads. The range of streams is inclusive; None is open.
    ``style`` is how the release and the changelog of a spec are written: ``srpm`` or ``dist-git``.
    ``remedy`` says whether a diagnosed failure is met by a further attempt, by a suggestion, or not at all.
    ``require_sound``: a build that succeeds and is degraded says on its face that it must not be shipped.
    ``side_tag`` is the set that the target builds in side tags; None: each build by itself.
    ``stages`` are the tags that tell how far a build has been shipped; None: Fedora's own.
    """

    id: str
    branch: Branch
    system: str
    project: str
    chroots: tuple[str, ...]
    families: tuple[str, ...] = ()
    strategy: str = "default"
    style: str = "srpm"
    first_stream: Stream | None = None
    last_stream: Stream | None = None
    enabled: bool = True
    deadline: timedelta = timedelta(hours=24)
    remedy: RemedyPolicy = RemedyPolicy.SUGGEST
    require_sound: bool = False
    options: Mapping[str, object] = field(default_factory=dict)
    dist_git: DistGitPolicy | None = None
    side_tag: SideTagPolicy | None = None
    stages: StageTags | None = None

    def takes(self, stream: Stream) -> bool:
        """Whether the target's range of streams holds ``stream``."""
        above = self.first_stream is None or stream >= self.first_stream
        return above and (self.last_stream is None or stream <= self.last_stream)


@dataclass(frozen=True)
class PlannedBuild:
    """One build that the plan wants: package, target and strategy."""

    package: str
    target: BuildTarget
    strategy: str


@dataclass(frozen=True)
class NotPlanned:
    """One target on which the plan builds nothing, and why."""

    package: str
    target_id: str
    branch: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """The decision about one release: PLANNED with its builds, or UNSUPPORTED with a reason."""

    state: ReleaseState
    reason: str
    builds: tuple[PlannedBuild, ...] = ()
    skipped: tuple[NotPlanned, ...] = ()


def refusal(version: Version, family: Family, today: date, *, marked_prerelease: bool = False) -> str:
    """Return why the family builds nothing for ``version``; empty text if it does.

    ``marked_prerelease`` is GitHub's own flag, which may be set on a tag that does not look like one.
    """
    stream = version.stream
    if (version.is_prerelease or marked_prerelease) and family.prereleases != "build":
        return f"{version.tag} is a pre-release; {family.name} builds releases only (prereleases = ignore)"
    policy = family.policy(stream)
    if stream < family.first_stream:
        return f"{family.name} starts with stream {family.first_stream}; {stream} is older"
    if policy is None:
        file = f"families/{family.name}/family.toml"
        return f"the catalogue has no stream {stream} of {family.name}; add it to {file}"
    if not policy.build:
        ended = f", end of life since {policy.eol}" if policy.is_eol(today) else ""
        return f"stream {stream} is not built (build = false in the catalogue{ended})"
    return ""


def plan(
    version: Version,
    *,
    family: Family,
    targets: Iterable[BuildTarget],
    branches: Mapping[str, BranchPolicy],
    today: date,
    marked_prerelease: bool = False,
) -> Plan:
    """Decide which builds ``version`` should have; the same inputs give the same plan.

    ``branches`` are the catalogue's, by name. ``marked_prerelease`` is GitHub's own flag.
    """
    why_not = refusal(version, family, today, marked_prerelease=marked_prerelease)
    if why_not:
        return Plan(ReleaseState.UNSUPPORTED, why_not)
    package = family.package(version.stream)
    builds: list[PlannedBuild] = []
    skipped: list[NotPlanned] = []
    for target in targets:
        if family.name not in target.families:
            continue
        reason = target_refusal(version.stream, target, branches.get(target.branch.name), today)
        if reason:
            skipped.append(NotPlanned(package, target.id, target.branch.name, reason))
        else:
            builds.append(PlannedBuild(package, target, family.strategy(target.strategy)))
    if not builds:
        why = skipped[0].reason if skipped else f"no build target takes the family {family.name}"
        return Plan(ReleaseState.UNSUPPORTED, f"no target builds it: {why}", (), tuple(skipped))
    return Plan(ReleaseState.PLANNED, "", tuple(builds), tuple(skipped))


def target_refusal(stream: Stream, target: BuildTarget, branch: BranchPolicy | None, today: date) -> str:
    """Return why ``target`` builds nothing of ``stream`` now; empty text if it does.

    ``branch`` is None where the catalogue does not list the target's branch.
    """
    if not target.enabled:
        return f"target {target.id} is switched off"
    if branch is None:
        return f"branch {target.branch} is not in the catalogue's list of branches"
    if branch.is_eol(today):
        return f"branch {target.branch} is end of life since {branch.eol}: no new builds"
    if not target.takes(stream):
        return f"branch {target.branch} does not take stream {stream} ({range_text(target)})"
    return ""


def range_text(target: BuildTarget) -> str:
    """Return the target's range of streams for people, such as ``from 1.32 up to 1.35``."""
    first = f"from {target.first_stream}" if target.first_stream else ""
    last = f"up to {target.last_stream}" if target.last_stream else ""
    return " ".join(part for part in (first, last) if part) or "all streams"


def superseded_by(version: Version, others: Iterable[Version]) -> Version | None:
    """Return the newest version of the same stream that is newer than ``version``; None if there is none."""
    newer = [other for other in others if other.stream == version.stream and other > version]
    return max(newer, default=None)
