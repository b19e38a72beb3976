"""Alembic migrations, and the two ways to run them from code."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config


def _config(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    # A percent sign in a password would otherwise be read as interpolation.
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the database at ``url`` up to ``revision``; creates what is missing, safe to repeat."""
    command.upgrade(_config(url), revision)


def downgrade(url: str, revision: str = "base") -> None:
    """Take the database at ``url`` back to ``revision``. What the newer schema held is lost."""
    command.downgrade(_config(url), revision)
