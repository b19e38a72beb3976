"""The schema on both databases: migrations up and down, models equal to migrations, constraints."""

from datetime import UTC, datetime

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.exc import IntegrityError

import migrations
from service.store.schema import PackageBuild, UpstreamRelease, WebhookDelivery, metadata
from service.store.session import Database, database_now


def test_models_equal_migrations(database_url: str) -> None:
    engine = create_engine(database_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_migrations_go_down_and_up_again(database_url: str) -> None:
    migrations.downgrade(database_url)
    engine = create_engine(database_url)
    assert set(inspect(engine).get_table_names()) <= {"alembic_version"}
    migrations.upgrade(database_url)
    assert set(metadata.tables) <= set(inspect(engine).get_table_names())
    engine.dispose()


NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def build_row(release_id: int, **changes: object) -> PackageBuild:
    values: dict[str, object] = {
        "release_id": release_id, "target": "f43-copr", "attempt": 1, "family": "cri-o", "stream": "1.32",
        "package": "cri-o1.32", "version": "1.32.1", "sort_key": "x", "branch": "f43", "dist": ".fc43",
        "system": "copr", "project": "packbot/cri-o", "strategy": "default", "created_at": NOW,
        "deadline_at": NOW, "due_at": NOW, "state": "pending",
    }  # fmt: skip
    return PackageBuild(**(values | changes))


@pytest.fixture
def release_id(db: Database) -> int:
    with db.transaction() as session:
        release = UpstreamRelease(
            family="cri-o",
            version="1.32.1",
            sort_key="x",
            stream="1.32",
            tag="v1.32.1",
            first_seen_at=NOW,
            facts={},
        )
        session.add(release)
        session.flush()
        return release.id


@pytest.mark.parametrize(
    ("changes", "constraint"),
    [
        ({"state": "done"}, "state"),
        ({"state": "running"}, "running_has_id"),
        ({"state": "succeeded", "due_at": None}, "ended_has_time"),
        ({"state": "pending", "due_at": None}, "live_is_due"),
        ({"state": "failed", "ended_at": NOW, "due_at": None}, "reason"),
        ({"state": "held", "due_at": None}, "reason"),
        ({"soundness": "fine"}, "soundness"),
        ({"shipped": "pushed", "shipped_at": NOW}, "shipped"),
        ({"shipped": "stable"}, "shipped_has_time"),
        ({"shipped_at": NOW}, "shipped_has_time"),
    ],
)
def test_a_wrong_life_cannot_be_stored(
    db: Database, release_id: int, changes: dict[str, object], constraint: str
) -> None:
    with pytest.raises(IntegrityError, match=constraint), db.transaction() as session:
        session.add(build_row(release_id, **changes))


def test_one_live_attempt_per_cell(db: Database, release_id: int) -> None:
    with db.transaction() as session:
        session.add(build_row(release_id))
    with pytest.raises(IntegrityError), db.transaction() as session:
        session.add(build_row(release_id, attempt=2))
    with db.transaction() as session:
        ended = {"attempt": 2, "state": "failed", "reason": "why", "ended_at": NOW, "due_at": None}
        session.add(build_row(release_id, **ended))


def test_a_guid_is_stored_once(db: Database) -> None:
    def row() -> WebhookDelivery:
        return WebhookDelivery(guid="g", event="release", payload=b"{}", received_at=NOW, due_at=NOW)

    with db.transaction() as session:
        session.add(row())
    with pytest.raises(IntegrityError), db.transaction() as session:
        session.add(row())


def test_times_keep_their_zone_and_sort_as_they_mean(db: Database, release_id: int) -> None:
    with db.reader() as session:
        assert session.get_one(UpstreamRelease, release_id).first_seen_at == NOW
        now = database_now(session)
        assert now.tzinfo is not None and abs((now - datetime.now(UTC)).total_seconds()) < 5


def test_a_reader_cannot_write_on_sqlite(sqlite_url: str) -> None:
    db = Database(sqlite_url)
    with db.reader() as session, pytest.raises(Exception, match=r"readonly|query_only"):
        session.execute(text("DELETE FROM webhook_deliveries"))
    db.dispose()


def test_a_failing_transaction_leaves_nothing(db: Database) -> None:
    def store_and_fail() -> None:
        with db.transaction() as session:
            session.add(WebhookDelivery(guid="g", event="e", payload=b"", received_at=NOW, due_at=NOW))
            session.flush()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        store_and_fail()
    with db.reader() as session:
        assert session.query(WebhookDelivery).count() == 0


def test_text_that_no_database_can_hold_is_kept_readable(db: Database, release_id: int) -> None:
    with db.transaction() as session:
        session.get_one(UpstreamRelease, release_id).mark = "half \ud800 and nothing \x00 here"
    with db.reader() as session:
        assert session.get_one(UpstreamRelease, release_id).mark == "half ? and nothing \ufffd here"
