"""Deliveries for tests: GitHub-shaped release payloads, stored and processed as a worker does it."""

from __future__ import annotations

import json
import uuid
from typing import Any

from sqlalchemy import select

from service.builds.claims import claim_delivery
from service.catalog import Catalog
from service.releases.intake import Incoming, Outcome, accept_deliveries, process_delivery
from service.store.schema import PackageBuild, UpstreamRelease
from service.store.session import Database


def payload(tag: str, action: str = "published", **changes: Any) -> bytes:
    """A ``release`` event's body; ``changes`` go into its release object."""
    release = {
        "tag_name": tag, "draft": False, "prerelease": False, "published_at": "2026-11-20T10:00:00Z",
        "html_url": f"https://github.com/cri-o/cri-o/releases/tag/{tag}", "target_commitish": "main",
    }  # fmt: skip
    body = {"action": action, "release": release | changes, "repository": {"full_name": "cri-o/cri-o"}}
    return json.dumps(body).encode()


def deliver(
    db: Database, catalog: Catalog, body: bytes, *, event: str = "release", guid: str | None = None
) -> Outcome | None:
    """Accept and process one delivery; None where it was a repeat with nothing to do."""
    incoming = Incoming(guid or str(uuid.uuid4()), event, body)
    (accepted,) = accept_deliveries(db, [incoming])
    token = claim_delivery(db, accepted.id, lease_seconds=60, max_tries=3)
    return process_delivery(db, accepted.id, token, catalog) if token else None


def matrix(db: Database) -> dict[tuple[str, str], tuple[str, str]]:
    """(package, branch) to (version, state) of the newest version's latest attempt."""
    cells: dict[tuple[str, str], tuple[str, str]] = {}
    with db.reader() as session:
        rows = session.scalars(select(PackageBuild).order_by(PackageBuild.sort_key, PackageBuild.attempt))
        for row in rows:
            cells[row.package, row.branch] = (row.version, row.state)
    return cells


def builds(db: Database, version: str) -> list[PackageBuild]:
    """The builds of a version, oldest first, detached."""
    with db.reader() as session:
        rows = session.scalars(
            select(PackageBuild).where(PackageBuild.version == version).order_by(PackageBuild.id)
        ).all()
        session.expunge_all()
        return list(rows)


def release(db: Database, version: str) -> UpstreamRelease | None:
    """The release's row, detached."""
    with db.reader() as session:
        row = session.scalars(select(UpstreamRelease).where(UpstreamRelease.version == version)).one_or_none()
        session.expunge_all()
        return row
