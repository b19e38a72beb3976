"""What maintainers changed of the catalogue without touching its files."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from service.store.base import Base, Id, Json, in_sql
from service.store.columns import UtcTime, Words

OVERRIDE_KINDS = ("target", "branch", "stream")


class CatalogOverride(Base):
    """The keys of one target, branch or stream that differ from the files. ``subject``: f44-copr, f44, cri-o/1.38."""

    __tablename__ = "catalog_overrides"
    __table_args__ = (
        UniqueConstraint("kind", "subject"),
        CheckConstraint(in_sql("kind", OVERRIDE_KINDS), name="kind"),
        CheckConstraint("why <> ''", name="why"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    kind: Mapped[str] = mapped_column(String(10))
    subject: Mapped[str] = mapped_column(String(100))
    changes: Mapped[dict[str, Any]] = mapped_column(Json)
    why: Mapped[str] = mapped_column(Words)
    actor: Mapped[str] = mapped_column(String(100))
    at: Mapped[datetime] = mapped_column(UtcTime)
