"""The tables of what a build was made from and in: vendored modules of a release, tools of a buildroot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ForeignKey, String, UniqueConstraint, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from service.store.base import Base, Id, Json


class VendoredModules(Base):
    """The modules that a release's source vendors: path to version, as vendor/modules.txt has them."""

    __tablename__ = "vendored_modules"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    release_id: Mapped[int] = mapped_column(ForeignKey("upstream_releases.id"), unique=True)
    modules: Mapped[dict[str, Any]] = mapped_column(Json)


class Buildroot(Base):
    """The tools of one chroot's buildroot: package to version-release, as its root log names them."""

    __tablename__ = "buildroots"
    __table_args__ = (UniqueConstraint("build_id", "chroot"),)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    build_id: Mapped[int] = mapped_column(ForeignKey("package_builds.id"))
    chroot: Mapped[str] = mapped_column(String(60))
    tools: Mapped[dict[str, Any]] = mapped_column(Json)


def keep_modules(session: Session, release_id: int, modules: Mapping[str, str]) -> None:
    """Write down what a release vendors, once. The release's row must be locked; the caller commits."""
    known = select(VendoredModules.id).where(VendoredModules.release_id == release_id)
    if modules and session.scalar(known) is None:
        session.add(VendoredModules(release_id=release_id, modules=dict(modules)))
