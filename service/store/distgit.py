"""What we wrote to dist-git for a build, or were kept from writing."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from service.domain.distgit import Resolution
from service.domain.pull_requests import PullState
from service.store.base import Base, Id, Json, in_sql
from service.store.columns import UtcTime, Words


class DistGitChange(Base):
    """One build's change of its package's dist-git branch: the intent first, then what became of it.

    ``files`` are the texts as they were generated, before any merge: once the change has landed they are the base of
    the next merge. ``conflict`` is the diff that a person must settle. ``missing`` is ``repository`` or ``branch``.
    ``commit_id`` is what we made, ``landed_commit`` the head of the branch that is built.

    Of a pull request: ``pull_asked_at`` is when it was last asked for, which is written down before. ``pull_head`` is
    what we know to have put into its branch of the fork, ``pull_base`` the head of the target branch that it was last
    compared with, ``pull_merge`` the commit that the forge names as its merge.
    """

    __tablename__ = "dist_git_changes"
    __table_args__ = (
        CheckConstraint(in_sql("resolution", Resolution), name="resolution"),
        CheckConstraint("(landed_commit = '') = (landed_at IS NULL)", name="landed_has_time"),
        CheckConstraint(
            f"pull_state = '' OR (pull_number IS NOT NULL AND {in_sql('pull_state', PullState)})",
            name="pull_state",
        ),
        Index("ix_dist_git_changes_package", "package", "branch", "landed_at"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    build_id: Mapped[int] = mapped_column(ForeignKey("package_builds.id"), unique=True)
    package: Mapped[str] = mapped_column(String(80))
    branch: Mapped[str] = mapped_column(String(20))
    repository: Mapped[str] = mapped_column(Words)
    change_key: Mapped[str] = mapped_column(String(60), unique=True)
    files: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    decision: Mapped[str] = mapped_column(String(20), default="")
    resolution: Mapped[str] = mapped_column(String(20), default="")
    conflict: Mapped[str] = mapped_column(Words, default="")
    missing: Mapped[str] = mapped_column(String(12), default="")
    evr: Mapped[str] = mapped_column(String(200), default="")
    commit_id: Mapped[str] = mapped_column(String(64), default="")
    landed_commit: Mapped[str] = mapped_column(String(64), default="")
    created_at: Mapped[datetime] = mapped_column(UtcTime)
    landed_at: Mapped[datetime | None] = mapped_column(UtcTime)
    pull_number: Mapped[int | None] = mapped_column(Integer)
    pull_url: Mapped[str] = mapped_column(Words, default="")
    pull_state: Mapped[str] = mapped_column(String(10), default="")
    pull_head: Mapped[str] = mapped_column(String(64), default="")
    pull_base: Mapped[str] = mapped_column(String(64), default="")
    pull_merge: Mapped[str] = mapped_column(String(64), default="")
    pull_asked_at: Mapped[datetime | None] = mapped_column(UtcTime)
    pull_opened_at: Mapped[datetime | None] = mapped_column(UtcTime)
