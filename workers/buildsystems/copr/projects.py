"""Creates a COPR project and adds the chroots that it lacks; safe to repeat, and from many workers at once."""

from __future__ import annotations

import fcntl
import hashlib
import random
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from workers.buildsystems import BuildSystemUnavailable, NeedsPerson, SubmissionRefused
from workers.buildsystems.copr.client import BAD_TOKEN, CoprClient, CoprTrouble, Kind
from workers.buildsystems.copr.settings import TargetSettings

ROUNDS = 5
LOCK_PAUSE = 0.05


def prepare_project(client: CoprClient, target: TargetSettings, chroots: Sequence[str], locks: Path) -> None:
    """Create the project if it is missing and add the chroots that it lacks; none is ever removed.

    A project that is ready costs one read, so that a builder without the right to edit it can use it. COPR
    answers parallel edits with "the last one wins" and now and then a bare 500: what counts is what is read
    back. Raises SubmissionRefused, NeedsPerson, BuildSystemUnavailable.
    """
    project = f"{target.owner}/{target.project}"
    have = _chroots_of(client, target)
    if have is not None and have.issuperset(chroots):
        return
    trouble = ""
    with _locked(locks, project, client):
        for attempt in range(ROUNDS):
            have = _chroots_of(client, target)
            if have is not None and have.issuperset(chroots):
                return
            if attempt:
                time.sleep(min(random.uniform(0.05, 0.15) * 2**attempt, max(client.seconds_left, 0)))
            try:
                _change(client, target, have, chroots)
            except CoprTrouble as error:
                trouble = f": {error}"
                if not _may_have_changed(error):
                    raise _port_error(error, project, chroots) from None
    raise BuildSystemUnavailable(f"project {project} still lacks chroots after {ROUNDS} rounds{trouble}")


def _change(
    client: CoprClient, target: TargetSettings, have: frozenset[str] | None, chroots: Sequence[str]
) -> None:
    if have is None:
        client.add_project(target.owner, target.project, chroots, target.creation)
        return
    # One deactivated chroot in the list refuses the whole request; COPR keeps such a one without being told.
    kept = have & client.active_chroots()
    client.set_chroots(target.owner, target.project, sorted(kept.union(chroots)))


def _may_have_changed(error: CoprTrouble) -> bool:
    """Return whether the project may have changed all the same, or between our read and our write.

    409 means that our list lacks a chroot which somebody added meanwhile: reading again brings it in.
    """
    return error.kind in {Kind.UNCLEAR, Kind.CONFLICT} or "already ha" in str(error)


def _port_error(error: CoprTrouble, project: str, chroots: Sequence[str]) -> Exception:
    if error.kind is Kind.NOT_SENT:
        return BuildSystemUnavailable(str(error), error.retry_after)
    if error.kind is Kind.REFUSED:
        return SubmissionRefused(f"COPR refuses to set project {project} up: {error}")
    if error.kind is Kind.FORBIDDEN:
        return NeedsPerson(
            f"COPR denies it: project {project} needs the chroots {', '.join(chroots)}, "
            f"and this account may not add them ({error})"
        )
    if error.kind is Kind.LOGIN:
        return NeedsPerson(BAD_TOKEN)
    return NeedsPerson(f"project {project} cannot be set up: {error}")


def _chroots_of(client: CoprClient, target: TargetSettings) -> frozenset[str] | None:
    """Return the project's chroots, or None where there is no such project."""
    try:
        chroots = client.project(target.owner, target.project).get("chroot_repos")
    except CoprTrouble as error:
        if error.kind is Kind.MISSING:
            return None
        raise
    if not isinstance(chroots, dict):
        raise CoprTrouble(Kind.UNCLEAR, "COPR's answer about the project has an unknown form")
    return frozenset(chroots)


@contextmanager
def _locked(locks: Path, project: str, client: CoprClient) -> Iterator[None]:
    """Hold the lock under which one worker of this machine changes the project. Raises BuildSystemUnavailable."""
    locks.mkdir(parents=True, exist_ok=True)
    # Different projects may read alike once their signs are cleaned, so the name carries a digest.
    digest = hashlib.sha256(project.encode()).hexdigest()[:12]
    name = re.sub(r"[^A-Za-z0-9.-]", "_", project)[:80]
    with (locks / f"copr-{name}-{digest}").open("w") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if client.seconds_left <= LOCK_PAUSE:
                    raise BuildSystemUnavailable(
                        f"another worker has been setting project {project} up for too long"
                    ) from None
                time.sleep(LOCK_PAUSE)
        yield
