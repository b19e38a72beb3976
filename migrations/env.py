"""Alembic's entry point: runs the migrations in one transaction, on PostgreSQL under an advisory lock."""

from __future__ import annotations

from pathlib import Path

from alembic import context
from sqlalchemy import create_engine, make_url, text

from service.store.schema import metadata

# Any number that no other program uses for this database; it serialises parallel migrations.
LOCK = 0x6372796F


def run() -> None:
    """Run the migrations that the command asked for."""
    url = context.config.get_main_option("sqlalchemy.url") or ""
    parsed = make_url(url)
    sqlite = parsed.get_backend_name() == "sqlite"
    if sqlite and parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url)
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=metadata, render_as_batch=sqlite)
        with context.begin_transaction():
            if not sqlite:
                connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
            context.run_migrations()
    engine.dispose()


run()
