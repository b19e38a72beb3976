"""The steps of one build's life, for tests that need it somewhere in between."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from service.builds.claims import BuildWork, claim_build
from service.builds.submissions import begin_submit, record_submission
from service.domain.reports import BuildRef, SubmissionKey
from service.domain.specs import SpecFile
from service.store.schema import PackageBuild
from service.store.session import Database, database_now

SPEC = SpecFile("cri-o1.32.spec", "text", "0" * 64)


def change(db: Database, build_id: int, **values: Any) -> None:
    with db.transaction() as session:
        row = session.get_one(PackageBuild, build_id)
        for name, value in values.items():
            setattr(row, name, value)


def expire(db: Database, build_id: int) -> None:
    """As if the lease had run out."""
    with db.transaction() as session:
        row = session.get_one(PackageBuild, build_id)
        now = database_now(session)
        row.lease_until = now - timedelta(seconds=1)
        row.due_at = now - timedelta(seconds=1)


def claim(db: Database, build_id: int, max_tries: int = 3) -> BuildWork:
    work = claim_build(db, build_id, lease_seconds=60, max_tries=max_tries)
    assert work is not None
    return work


def submit(db: Database, work: BuildWork, key: str = "b1xabcdef") -> BuildWork:
    started = begin_submit(
        db, work, spec=SPEC, srpm_name="x.src.rpm", srpm_sha256="0" * 64, release_number=1,
        key=SubmissionKey(key), fence={"newest_id": 7}, lease_seconds=60,
    )  # fmt: skip
    assert started is not None
    return started


def record(db: Database, work: BuildWork, external_id: str = "42") -> bool:
    return record_submission(
        db, work, BuildRef("copr", work.target.project, external_id), skipped={}, adopted=False,
        poll_seconds=0, surplus_seconds=0,
    )  # fmt: skip
