"""Store GitHub's webhook deliveries, and read them later: a release event is planned or withdraws its release."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import and_, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session, undefer

from service.catalog import Catalog
from service.domain.errors import BadPayload, BadTag
from service.domain.planning import Family
from service.domain.states import DeliveryState, ReleaseState
from service.domain.versions import Version, parse_tag
from service.releases.planning import Announcement, announce, find_release, lock_stream, withdraw
from service.store.schema import WebhookDelivery
from service.store.session import Database, database_now
from service.store.transitions import move_delivery

PUBLISHING = frozenset({"published", "released", "prereleased"})
WITHDRAWING = frozenset({"deleted", "unpublished"})
ANNOUNCING = PUBLISHING | {"edited"}
# GitHub is younger than 1970, and nobody publishes after 9000.
FIRST_YEAR, LAST_YEAR = 1970, 9000


@dataclass(frozen=True)
class Incoming:
    """One delivery as it came: ``guid`` is X-GitHub-Delivery, ``payload`` the raw body, ``sender`` the address.

    ``arrived_at`` tells the order of deliveries: they are stored in groups, and within a group in another order.
    """

    guid: str
    event: str
    payload: bytes
    sender: str = ""
    arrived_at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True)
class Accepted:
    """The answer to one delivery: its row and state. ``due`` tells whether a worker should be sent a hint."""

    id: int
    guid: str
    state: str
    duplicate: bool
    due: bool


def accept_deliveries(db: Database, batch: Sequence[Incoming]) -> list[Accepted]:
    """Store a group of deliveries in one transaction and commit it; returns one answer each, in the batch's order.

    A repeated guid is the same delivery: its first row stays. A repeat of an errored one makes it due again.
    """
    first = {incoming.guid: incoming for incoming in reversed(batch)}
    # Sorted, so that two processes that store overlapping groups cannot wait for each other in a circle.
    guids = sorted(first)
    with db.transaction() as session:
        now = database_now(session)
        known = _insert_new(session, [first[guid] for guid in guids], now)
        for guid in guids:
            if guid not in known:
                known[guid] = _repeat(session, guid, now)
    answers: list[Accepted] = []
    for incoming in batch:
        answer = known[incoming.guid]
        answers.append(answer)
        # The second of a guid within one group is a repeat of the first.
        known[incoming.guid] = replace(answer, duplicate=True, due=False)
    return answers


def _insert_new(session: Session, batch: Sequence[Incoming], now: datetime) -> dict[str, Accepted]:
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    rows = session.execute(
        insert(WebhookDelivery)
        .on_conflict_do_nothing(index_elements=["guid"])
        .returning(WebhookDelivery.id, WebhookDelivery.guid),
        [
            {
                "guid": incoming.guid, "event": incoming.event, "action": "", "repository": "", "tag": "",
                "payload": incoming.payload, "sender": incoming.sender, "reason": "",
                "received_at": incoming.arrived_at, "due_at": now, "state": DeliveryState.RECEIVED.value,
            }
            for incoming in batch
        ],
    )  # fmt: skip
    return {guid: Accepted(id_, guid, DeliveryState.RECEIVED.value, False, True) for id_, guid in rows}


def _repeat(session: Session, guid: str, now: datetime) -> Accepted:
    wanted = select(WebhookDelivery).where(WebhookDelivery.guid == guid)
    # A worker that is just processing the first one has locked its row; the whole inbox must not wait for that.
    row = session.scalars(wanted.with_for_update(skip_locked=True)).one_or_none()
    if row is None:
        known = session.scalars(wanted).one()
        return Accepted(known.id, known.guid, known.state, True, False)
    row.repeats += 1
    errored = row.state == DeliveryState.ERRORED
    if errored:
        move_delivery(row, DeliveryState.RECEIVED, at=now, reason="delivered again by GitHub")
    return Accepted(row.id, row.guid, row.state, True, errored)


@dataclass(frozen=True)
class Outcome:
    """The state and reason with which one delivery ends, and the ids of builds that are now due."""

    state: DeliveryState
    reason: str
    builds: tuple[int, ...] = ()


def process_delivery(db: Database, delivery_id: int, token: str, catalog: Catalog) -> Outcome | None:
    """Read one claimed delivery and plan its release, in one transaction, and commit.

    Returns None if the lease was lost. A delivery that we do not act on, or whose content is bad, ends as ignored with
    a reason. An exception means that the database or our own code is at fault: the caller backs the delivery off.
    """
    with db.transaction() as session:
        delivery = _claimed(session, delivery_id, token)
        if delivery is None or delivery.state != DeliveryState.RECEIVED:
            return None
        now = database_now(session)
        outcome = _read_delivery(session, delivery, catalog, now)
        move_delivery(delivery, outcome.state, at=now, reason=outcome.reason)
        return outcome


def _read_delivery(session: Session, delivery: WebhookDelivery, catalog: Catalog, now: datetime) -> Outcome:
    try:
        payload = json.loads(delivery.payload)
    except (ValueError, RecursionError):
        return _ignored("the body is not JSON")
    if not isinstance(payload, dict):
        return _ignored("the body is not a JSON object")
    delivery.action = clean_text(payload.get("action"))[:60]
    delivery.repository = clean_text(read_object(payload.get("repository")).get("full_name"))[:200]
    delivery.tag = clean_text(read_object(payload.get("release")).get("tag_name"))[:200]
    if delivery.event != "release":
        return _ignored(f"event '{delivery.event}' is not one that we act on; only 'release' is")
    try:
        return _release_event(session, delivery, payload, catalog, now)
    except (BadPayload, BadTag) as error:
        return _ignored(str(error))


def _release_event(
    session: Session, delivery: WebhookDelivery, payload: dict[str, Any], catalog: Catalog, now: datetime
) -> Outcome:
    action = delivery.action
    if action not in ANNOUNCING | WITHDRAWING:
        if action == "created":
            return _ignored("action 'created' says that a release was saved; 'published' will follow")
        return _ignored(f"action '{action}' of a release event is not one that we know")
    family = catalog.family_of(delivery.repository)
    if family is None:
        return _ignored(f"repository '{delivery.repository}' belongs to no family of the catalogue")
    release = payload.get("release")
    if not isinstance(release, dict) or not delivery.tag:
        raise BadPayload("the payload has no release with a tag_name")
    version = parse_tag(delivery.tag)
    # Two deliveries of one release queue up here, so that the later one of them is seen by the other.
    lock_stream(session, family, version.stream)
    if release.get("draft") is True and action != "unpublished":
        return _ignored(f"{version.tag} is a draft ({action}); only what is published is built or withdrawn")
    later = _later_deliveries(session, delivery)
    opposite = PUBLISHING if action in WITHDRAWING else WITHDRAWING
    undone = next((word for word, _ in later if word in opposite), "")
    if undone:
        return _ignored(f"{version.tag} was {undone} by a delivery that came after this one")
    if action in WITHDRAWING:
        known = withdraw(
            session,
            family,
            version,
            at=now,
            reason=f"upstream's release {version.tag} was {action} on GitHub",
        )
        if not known:
            return _ignored(f"{version.tag} was {action} before we knew it")
        return Outcome(DeliveryState.PROCESSED, f"{version.tag} is marked as withdrawn; existing builds stay")
    if action == "edited" and _is_withdrawn(session, family, version):
        return _ignored(f"{version.tag} is withdrawn; an edit alone does not bring it back")
    done = announce(
        session,
        catalog,
        family,
        version,
        Announcement(
            origin="webhook",
            prerelease=later[-1][1] if later else release.get("prerelease") is True,
            published_at=read_time(release.get("published_at")),
            html_url=read_address(release.get("html_url")),
            delivery_id=delivery.id,
        ),
        at=now,
    )
    return Outcome(DeliveryState.PROCESSED, done.sentence, done.builds)


def _later_deliveries(session: Session, delivery: WebhookDelivery) -> list[tuple[str, bool]]:
    """Action and pre-release flag of the deliveries about this release that came later but were processed before.

    Deliveries come in order and are not always processed in order: one whose worker was killed waits for its lease.
    Those about a draft say nothing of the release.
    """
    rows = session.scalars(
        select(WebhookDelivery)
        .where(
            WebhookDelivery.event == "release",
            WebhookDelivery.repository == delivery.repository,
            WebhookDelivery.tag == delivery.tag,
            WebhookDelivery.action.in_(ANNOUNCING | WITHDRAWING),
            WebhookDelivery.state != DeliveryState.RECEIVED.value,
            or_(
                WebhookDelivery.received_at > delivery.received_at,
                and_(WebhookDelivery.received_at == delivery.received_at, WebhookDelivery.id > delivery.id),
            ),
        )
        .order_by(WebhookDelivery.received_at, WebhookDelivery.id)
        .options(undefer(WebhookDelivery.payload))
    )
    later = []
    for row in rows:
        told = read_object(read_object(json.loads(row.payload)).get("release"))
        if told.get("draft") is not True or row.action == "unpublished":
            later.append((row.action, told.get("prerelease") is True))
    return later


def _is_withdrawn(session: Session, family: Family, version: Version) -> bool:
    release = find_release(session, family, version)
    return release is not None and release.state == ReleaseState.WITHDRAWN


def back_off_delivery(
    db: Database, delivery_id: int, token: str, reason: str, *, delay: timedelta, max_tries: int
) -> None:
    """Record a failed try of a claimed delivery: due again after ``delay``, or errored after ``max_tries``. Commits.

    Nothing is written if the lease was lost.
    """
    with db.transaction() as session:
        delivery = _claimed(session, delivery_id, token)
        if delivery is None:
            return
        now = database_now(session)
        if delivery.tries >= max_tries:
            move_delivery(
                delivery, DeliveryState.ERRORED, at=now,
                reason=f"gave up after {delivery.tries} tries: {reason}; deliver it again or replay it",
            )  # fmt: skip
            return
        delivery.due_at = now + delay
        delivery.lease_token = None
        delivery.lease_until = None
        delivery.reason = reason


def _ignored(reason: str) -> Outcome:
    return Outcome(DeliveryState.IGNORED, reason)


def _claimed(session: Session, delivery_id: int, token: str) -> WebhookDelivery | None:
    return session.scalars(
        select(WebhookDelivery)
        .where(WebhookDelivery.id == delivery_id, WebhookDelivery.lease_token == token)
        .with_for_update()
    ).one_or_none()


def read_time(value: object) -> datetime | None:
    """Return an RFC 3339 time from GitHub as a datetime in UTC; None for anything else and for impossible years.

    A time at the edge of the calendar has no UTC form, and a delivery must not fail for it.
    """
    if not isinstance(value, str):
        return None
    try:
        told = datetime.fromisoformat(value)
        utc = told.astimezone(UTC) if told.tzinfo else None
    except (ValueError, OverflowError):
        return None
    return utc if utc and FIRST_YEAR <= utc.year <= LAST_YEAR else None


def read_object(value: object) -> dict[str, Any]:
    """Return a JSON object from GitHub, or an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def clean_text(value: object) -> str:
    """Return text from GitHub in a form that every database can store; empty for anything else."""
    # PostgreSQL cannot store NUL, and a lone surrogate cannot be encoded; hostile payloads hold both.
    if not isinstance(value, str):
        return ""
    return value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def read_address(value: object) -> str:
    """Return an http or https address from GitHub, at most 500 characters; empty for anything else."""
    text = clean_text(value)
    return text[:500] if text.startswith(("https://", "http://")) else ""
