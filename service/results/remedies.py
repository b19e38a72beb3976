"""Decide the remedy of a failed build whose cause is known, and add the attempt that it makes. The caller commits.

A remedy never turns %check off and never changes a license: its kinds are another strategy, the same again later,
and a wait for the branch (service/domain/diagnosis.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.builds.claims import restart_held
from service.catalog import Catalog
from service.domain.buildroots import go_is_enough
from service.domain.diagnosis import Cause, Remedy, RemedyKind, RemedyPolicy
from service.domain.planning import BuildTarget, PlannedBuild, plan, superseded_by
from service.domain.states import BuildState, ReleaseState
from service.domain.versions import Version
from service.releases.planning import add_attempt, lock_stream, planned_versions
from service.results.diagnoses import rank_first
from service.store.schema import AppliedRemedy, Buildroot, Diagnosis, PackageBuild
from service.store.transitions import move_build, note_event

BY_ITSELF = "It goes on by itself"
"""Part of the reason of an attempt that waits for a newer Go on its branch, and of no other."""


@dataclass(frozen=True)
class _Wanted:
    """The remedy of a build, with the diagnosis and the rule that name it."""

    remedy: Remedy
    cause: Cause
    diagnosis: Diagnosis


def settle_remedy(session: Session, catalog: Catalog, build: PackageBuild, *, at: datetime) -> str:
    """Decide once whether a failed build's remedy is applied, suggested or left out; return the decision in one line.

    Locks the stream's row and the build's, so that two workers cannot both decide; the table allows one row a build,
    too. The caller commits.
    """
    family = catalog.families.get(build.family)
    if family is None:
        return f"no remedy: the catalogue has no family {build.family} any more"
    lock_stream(session, family, Version.parse(build.version).stream)
    session.refresh(build, with_for_update=True)
    wanted = _wanted(session, catalog.causes, build)
    if isinstance(wanted, str):
        return wanted
    target = catalog.target(build.target)
    refusal = _refusal(session, catalog, build, target, wanted.remedy, at)
    if refusal or target is None:
        return f"no remedy: {refusal}"
    because = f"{wanted.diagnosis.cause} ({wanted.cause.id}, {wanted.diagnosis.chroot})"
    row = AppliedRemedy(
        failed_id=build.id, rule=wanted.cause.id, kind=wanted.remedy.kind.value, policy=target.remedy.value,
        strategy=wanted.remedy.strategy, reason=because, at=at,
    )  # fmt: skip
    if target.remedy is RemedyPolicy.SUGGEST:
        session.add(row)
        session.flush()
        return f"suggested: {in_words(wanted.remedy)}, because {because}"
    attempt = _attempt(session, build, target, wanted.remedy, because, at)
    row.attempt_id = attempt.id
    session.add(row)
    session.flush()
    return f"build {attempt.id} is the remedy: {in_words(wanted.remedy)}"


def in_words(remedy: Remedy) -> str:
    """Return a remedy in words for people."""
    if remedy.kind is RemedyKind.STRATEGY:
        return f"build with strategy {remedy.strategy}"
    if remedy.kind is RemedyKind.LATER:
        return f"build the same again in {remedy.minutes} minutes"
    return "wait until the branch can build it"


def _wanted(session: Session, causes: Sequence[Cause], build: PackageBuild) -> _Wanted | str:
    """The one remedy that all of the build's diagnoses ask for, or why there is none."""
    if build.state != BuildState.FAILED:
        return f"no remedy: the build is {build.state}"
    rows = session.scalars(select(Diagnosis).where(Diagnosis.build_id == build.id)).all()
    if not rows:
        return "no remedy: nothing was diagnosed"
    rules = {cause.id: cause for cause in causes}
    remedies = {rules[row.rule].remedy if row.rule in rules else None for row in rows}
    if len(remedies) > 1:
        return "no remedy: the chroots failed for causes that do not ask for the same one"
    speaker = rank_first(rows, causes)
    remedy = remedies.pop()
    if remedy is None:
        return f"no remedy is known for: {speaker.cause}"
    return _Wanted(remedy, rules[speaker.rule], speaker)


def _refusal(
    session: Session,
    catalog: Catalog,
    build: PackageBuild,
    target: BuildTarget | None,
    remedy: Remedy,
    at: datetime,
) -> str:
    if target is None:
        return f"the catalogue has no target {build.target} any more"
    if target.remedy is RemedyPolicy.OFF:
        return f"target {target.id} allows none (remedy = off)"
    if session.scalar(select(AppliedRemedy.id).where(AppliedRemedy.attempt_id == build.id)) is not None:
        return "this attempt was a remedy itself; a person decides what is tried next"
    if session.scalar(select(AppliedRemedy.id).where(AppliedRemedy.failed_id == build.id)) is not None:
        return "it was decided before"
    later = session.scalar(
        select(PackageBuild.id).where(
            PackageBuild.release_id == build.release_id,
            PackageBuild.target == build.target,
            PackageBuild.attempt > build.attempt,
        )
    )
    if later is not None:
        return f"build {later} is a later attempt"
    return _no_longer_wanted(session, catalog, build, target, at) or _pointless(catalog, build, remedy)


def _no_longer_wanted(
    session: Session, catalog: Catalog, build: PackageBuild, target: BuildTarget, at: datetime
) -> str:
    """Why the catalogue, the branch's life or a newer patch make a further attempt pointless."""
    release, family = build.release, catalog.families[build.family]
    version = Version.parse(build.version)
    if release.state == ReleaseState.WITHDRAWN:
        return f"{release.tag} is withdrawn"
    newer = superseded_by(version, planned_versions(session, family, version.stream))
    if newer is not None:
        return f"{newer.tag} is newer"
    decision = plan(
        version, family=family, targets=[target], branches=catalog.branches, today=at.date(),
        marked_prerelease=release.prerelease,
    )  # fmt: skip
    return "" if decision.builds else decision.reason


def _pointless(catalog: Catalog, build: PackageBuild, remedy: Remedy) -> str:
    if remedy.kind is not RemedyKind.STRATEGY:
        return ""
    if build.strategy == remedy.strategy:
        return f"it was built with strategy {remedy.strategy} already"
    vendored = {name for name in ("wazero", "nri") if build.release.facts.get(name)}
    stream = Version.parse(build.version).stream
    return catalog.strategy_refusal(catalog.families[build.family], stream, remedy.strategy, vendored)


def _attempt(
    session: Session, build: PackageBuild, target: BuildTarget, remedy: Remedy, because: str, at: datetime
) -> PackageBuild:
    strategy = remedy.strategy or build.strategy
    planned = PlannedBuild(build.package, target, strategy)
    attempt = add_attempt(session, build.release, planned, at=at, requested_by=None)
    attempt.note = f"Remedy of build {build.id}: {in_words(remedy)}, because {because}"
    note_event(session, attempt, at=at, kind="remedy", text=attempt.note)
    if remedy.kind is RemedyKind.LATER:
        attempt.due_at = at + timedelta(minutes=remedy.minutes)
        attempt.deadline_at += timedelta(minutes=remedy.minutes)
    elif remedy.kind is RemedyKind.WAIT and not _seen_since(session, build):
        move_build(session, attempt, BuildState.HELD, at=at, reason=_waiting(attempt, because))
    return attempt


def _waiting(attempt: PackageBuild, because: str) -> str:
    by_hand = f"cryopack build resume {attempt.id}"
    needs = _needs(attempt)
    if not needs:
        return f"{because}. When the branch has it: {by_hand}"
    return f"{because}. {BY_ITSELF} when a root log of {attempt.branch} shows Go {needs}; sooner by {by_hand}"


def _needs(build: PackageBuild) -> str:
    """The Go that the release's go.mod asks for; empty where its source was not read."""
    return str(build.release.facts.get("go", ""))


def _seen_since(session: Session, build: PackageBuild) -> bool:
    """Whether a later build on this branch has shown a Go that is new enough, before anybody waited for it."""
    needs = _needs(build)
    rows = session.scalars(
        select(Buildroot.tools)
        .join(PackageBuild, PackageBuild.id == Buildroot.build_id)
        .where(PackageBuild.branch == build.branch, PackageBuild.id > build.id)
    )
    return bool(needs) and any(go_is_enough(tools, needs) for tools in rows)


def let_waiting_go_on(
    session: Session, build: PackageBuild, tools: Mapping[str, str], *, at: datetime
) -> tuple[int, ...]:
    """Restart held attempts that wait for a newer Go on this build's branch, if ``tools`` of its root log show one.

    Returns their ids. An attempt is restarted so only once: if it is held again, it is for another reason, and a person
    decides. The caller commits.
    """
    waiting = session.scalars(
        select(PackageBuild)
        .join(AppliedRemedy, AppliedRemedy.attempt_id == PackageBuild.id)
        .where(
            AppliedRemedy.kind == RemedyKind.WAIT.value,
            PackageBuild.branch == build.branch,
            PackageBuild.state == BuildState.HELD.value,
            PackageBuild.reason.contains(BY_ITSELF),
        )
        .order_by(PackageBuild.id)
        .with_for_update(of=PackageBuild)
    ).all()
    ready = [held for held in waiting if go_is_enough(tools, _needs(held))]
    for held in ready:
        why = f"the root log of build {build.id} shows that {build.branch} has Go {_needs(held)} or newer"
        restart_held(session, held, at=at, reason=why)
    return tuple(held.id for held in ready)
