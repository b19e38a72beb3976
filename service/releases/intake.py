"""From a webhook's bytes to planned builds: store first, understand later."""

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
from service.domain.states import DeliveryState, ReleaseState
from service.domain.versions import parse_tag
from service.releases.announce import Announcement, announce, lock_stream
from service.releases.payloads import clean_text, read_address, read_object, read_time
from service.releases.withdrawals import withdraw
from service.store.schema import UpstreamRelease, WebhookDelivery
from service.store.session import Database, database_now
from service.store.transitions import move_delivery

PUBLISHING = frozenset({"published", "released", "prereleased"})
WITHDRAWING = frozenset({"deleted", "unpublished"})
ANNOUNCING = PUBLISHING | {"edited"}


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
    """What the inbox says of one delivery; ``due`` tells whether a hint is worth sending."""

    id: int
    guid: str
    state: str
    duplicate: bool
    due: bool


def accept_deliveries(db: Database, batch: Sequence[Incoming]) -> list[Accepted]:
    """Store a group of deliveries in one transaction, which this function commits; answers in the batch's order.

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
    # Who is just understanding the first one holds its row; a repeat must not make the whole inbox wait for that.
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
    """What processing one delivery came to. ``builds`` are ids of builds that are now due."""

    state: DeliveryState
    reason: str
    builds: tuple[int, ...] = ()


def process_delivery(db: Database, delivery_id: int, token: str, catalog: Catalog) -> Outcome | None:
    """Understand one claimed delivery and plan what follows, in one transaction that this function commits.

    Returns None where the claim is not ours any more. Bad content ends as ignored, with its reason; an exception
    from here means that the database or we ourselves are at fault, and the caller backs the delivery off.
    """
    with db.transaction() as session:
        delivery = session.scalars(
            select(WebhookDelivery)
            .where(WebhookDelivery.id == delivery_id, WebhookDelivery.lease_token == token)
            .with_for_update()
        ).one_or_none()
        if delivery is None or delivery.state != DeliveryState.RECEIVED:
            return None
        now = database_now(session)
        outcome = _understand(session, delivery, catalog, now)
        move_delivery(delivery, outcome.state, at=now, reason=outcome.reason)
        return outcome


def _understand(session: Session, delivery: WebhookDelivery, catalog: Catalog, now: datetime) -> Outcome:
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
            family.name,
            version,
            at=now,
            reason=f"upstream's release {version.tag} was {action} on GitHub",
        )
        if not known:
            return _ignored(f"{version.tag} was {action} before we knew it")
        return Outcome(DeliveryState.PROCESSED, f"{version.tag} is marked as withdrawn; existing builds stay")
    if action == "edited" and _is_withdrawn(session, family.name, str(version)):
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
    """Action and pre-release flag of deliveries about the release that came later and were understood before.

    Deliveries come in order and are not always understood in order: one whose worker was killed waits for its lease.
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


def _is_withdrawn(session: Session, family: str, version: str) -> bool:
    state = session.scalar(
        select(UpstreamRelease.state).where(
            UpstreamRelease.family == family, UpstreamRelease.version == version
        )
    )
    return state == ReleaseState.WITHDRAWN


def back_off_delivery(
    db: Database, delivery_id: int, token: str, reason: str, *, delay: timedelta, max_tries: int
) -> None:
    """Record a failed try of a claimed delivery: due again later, or errored after ``max_tries``. Commits."""
    with db.transaction() as session:
        delivery = session.scalars(
            select(WebhookDelivery)
            .where(WebhookDelivery.id == delivery_id, WebhookDelivery.lease_token == token)
            .with_for_update()
        ).one_or_none()
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
