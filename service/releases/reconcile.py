"""Plan known releases again, against the catalogue and upstream's list, so that a lost webhook costs minutes."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.catalog import Catalog
from service.domain.errors import BadTag
from service.domain.planning import Family
from service.domain.states import DeliveryState, ReleaseState
from service.domain.versions import Version, parse_tag
from service.releases.intake import WITHDRAWING
from service.releases.planning import (
    Announcement,
    announce,
    find_release,
    lock_stream,
    note_commit,
    plan_release,
    withdraw,
)
from service.store.schema import UpstreamRelease, WebhookDelivery
from service.store.session import Database, database_now

# GitHub's list may lag behind its own webhook; a release younger than this is not taken for deleted.
NOT_LISTED = "is not in upstream's list any more"
LIST_LAG = timedelta(minutes=30)
# How many unlisted releases one reconciliation asks upstream for.
LOOK_UPS = 20


@dataclass(frozen=True)
class ListedRelease:
    """One release of upstream's list of releases."""

    tag: str
    prerelease: bool = False
    draft: bool = False
    published_at: datetime | None = None
    html_url: str = ""


@dataclass(frozen=True)
class UpstreamList:
    """Upstream's list of releases. ``complete`` is True only if every page was read; ``commits`` maps tags to commits.

    ``gone`` are tags that are not listed and for which upstream answered, asked for each alone, that it has no such
    release: rows move between the pages of a list that changes while it is read, so that a gap proves nothing.
    """

    releases: Sequence[ListedRelease]
    commits: Mapping[str, str]
    complete: bool
    gone: frozenset[str] = frozenset()


@dataclass
class Reconciled:
    """What one reconciliation did: ids of builds that are now due, a sentence for each, and what it could not do."""

    problems: list[str] = field(default_factory=list)
    builds: list[int] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)


def reconcile_family(
    db: Database, catalog: Catalog, family: Family, upstream: UpstreamList | None
) -> Reconciled:
    """Plan the releases of one family that upstream lists, then those that we know beside them, newest first.

    ``upstream`` None means that the list could not be read: then only the known releases are planned again. Each
    release is a transaction of its own, which commits, so that a webhook never waits for a whole list.
    """
    done = Reconciled()
    listed = _readable(upstream)
    for version in sorted(listed, reverse=True):
        entry = listed[version]
        with db.transaction() as session:
            told = Announcement(
                origin="list",
                prerelease=entry.prerelease,
                published_at=entry.published_at,
                html_url=entry.html_url,
                commit=upstream.commits.get(entry.tag, "") if upstream else "",
            )
            now = database_now(session)
            lock_stream(session, family, version.stream)
            if _withdrawn_lately(session, family, version, now):
                continue
            result = announce(session, catalog, family, version, told, at=now)
            done.builds.extend(result.builds)
            if result.builds:
                done.sentences.append(result.sentence)
    for version in sorted(_known(db, family), reverse=True):
        if version in listed:
            continue
        with db.transaction() as session:
            now = database_now(session)
            lock_stream(session, family, version.stream)
            release = find_release(session, family, version)
            if release is None:
                raise LookupError(f"release {version} of {family.name} is gone")
            if upstream and version.tag in upstream.commits:
                note_commit(release, upstream.commits[version.tag])
            if upstream and version.tag in upstream.gone and _may_be_gone(release, now):
                withdraw(session, family, version, at=now, reason=f"{version.tag} {NOT_LISTED}")
                done.sentences.append(f"{version.tag} is marked as withdrawn")
                continue
            result = plan_release(session, catalog, family, release, at=now)
            done.builds.extend(result.builds)
            if result.builds:
                done.sentences.append(result.sentence)
    return done


def _readable(upstream: UpstreamList | None) -> dict[Version, ListedRelease]:
    found: dict[Version, ListedRelease] = {}
    for entry in upstream.releases if upstream else ():
        try:
            version = parse_tag(entry.tag)
        except BadTag:
            continue
        if not entry.draft:
            found[version] = entry
    return found


def _known(db: Database, family: Family) -> list[Version]:
    with db.reader() as session:
        texts = session.scalars(select(UpstreamRelease.version).where(UpstreamRelease.family == family.name))
        return [Version.parse(text) for text in texts]


def unlisted_tags(db: Database, family: Family, upstream: UpstreamList) -> list[str]:
    """Return tags of known releases that a complete list does not hold, for the caller to ask for one by one.

    At most LOOK_UPS of them, drawn at random, so that none is always left out. An incomplete list gives none.
    """
    if not upstream.complete:
        return []
    listed = {version.tag for version in _readable(upstream)}
    with db.reader() as session:
        now = database_now(session)
        rows = session.scalars(select(UpstreamRelease).where(UpstreamRelease.family == family.name))
        missing = [row.tag for row in rows if row.tag not in listed and _may_be_gone(row, now)]
    return random.sample(missing, min(len(missing), LOOK_UPS))


def _withdrawn_lately(session: Session, family: Family, version: Version, now: datetime) -> bool:
    """Whether a webhook withdrew the release so recently that the list may not show it yet.

    A release that is still listed much later was published again, and that webhook was lost.
    """
    release = find_release(session, family, version)
    if release is None or release.state != ReleaseState.WITHDRAWN:
        return False
    said_at = session.scalar(
        select(func.max(WebhookDelivery.ended_at)).where(
            WebhookDelivery.event == "release",
            func.lower(WebhookDelivery.repository) == family.repository.lower(),
            WebhookDelivery.tag == release.tag,
            WebhookDelivery.action.in_(WITHDRAWING),
            WebhookDelivery.state == DeliveryState.PROCESSED.value,
        )
    )
    return said_at is not None and now - said_at <= LIST_LAG


def _may_be_gone(release: UpstreamRelease, now: datetime) -> bool:
    """Not a young release, which the list may not hold yet, nor a bare tag that a maintainer announced by hand."""
    return (
        release.state != ReleaseState.WITHDRAWN
        and release.origin != "maintainer"
        and now - release.first_seen_at > LIST_LAG
    )
