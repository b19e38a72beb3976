"""Checks Koji's options: ``AdapterConfig.options`` for the hub, ``BuildTarget.options`` for one target.

Unknown keys are refused, because Koji itself stores them in silence and a misspelt one would never be noticed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from service.domain.errors import BadName
from service.domain.fedora import Chroot
from service.domain.planning import BuildTarget
from workers.buildsystems import BuildSystemError, NeedsPerson, read_options

AUTHS = ("kerberos", "certificate", "password")
TARGET_OPTIONS = ("koji_target", "priority", "scratch")
LOWEST_PRIORITY = 50

_TARGET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)


@dataclass(frozen=True)
class KojiSettings:
    """The options of the adapter. ``config_file`` None means Koji's own places.

    Seconds: ``call_timeout`` bounds one silence, ``build_timeout`` that of the submission itself,
    ``login_timeout`` a log-in; ``setup_timeout`` bounds open, find and cancel as a whole, ``poll_timeout`` poll,
    ``upload_timeout`` submit.
    """

    profile: str = ""
    config_file: Path | None = None
    auth: str = "kerberos"
    principal: str = ""
    keytab: Path | None = None
    certificate: Path | None = None
    user: str = ""
    password_file: Path | None = None
    call_timeout: float = 60.0
    build_timeout: float = 20.0
    login_timeout: float = 30.0
    setup_timeout: float = 120.0
    poll_timeout: float = 60.0
    upload_timeout: float = 300.0

    @classmethod
    def read(cls, options: Mapping[str, object]) -> KojiSettings:
        """Check the options, return the settings. Raises BuildSystemError, which names the key and the known ones."""
        values = read_options("Koji", cls, options)
        if values.get("auth", "kerberos") not in AUTHS:
            raise BuildSystemError(f"Koji's option 'auth' must be one of {', '.join(AUTHS)}")
        return cls(**values)


@dataclass(frozen=True)
class TargetSettings:
    """The checked options of one target. ``koji_target`` is a target of Koji; ``priority`` is added to Koji's 20.

    ``base_target`` is what the catalogue says; ``koji_target`` differs from it for a build in a side tag, whose target
    has the side tag's name.
    """

    koji_target: str
    base_target: str
    scratch: bool
    priority: int
    chroots: tuple[Chroot, ...]

    @classmethod
    def read(cls, target: BuildTarget) -> TargetSettings:
        """Check the options of a target. Raises NeedsPerson: only a change of the catalogue helps."""
        for key in target.options:
            if key not in TARGET_OPTIONS:
                known = ", ".join(TARGET_OPTIONS)
                raise NeedsPerson(f"target {target.id}: Koji has no option '{key}'; there are: {known}")
        name = target.options.get("koji_target")
        if not isinstance(name, str) or not _TARGET.fullmatch(name):
            raise NeedsPerson(
                f"target {target.id}: option 'koji_target' must be a target of Koji, as f44-candidate"
            )
        scratch = target.options.get("scratch", True)
        if not isinstance(scratch, bool):
            raise NeedsPerson(f"target {target.id}: option 'scratch' must be true or false")
        priority = target.options.get("priority", 0)
        if (
            isinstance(priority, bool)
            or not isinstance(priority, int)
            or not 0 <= priority <= LOWEST_PRIORITY
        ):
            raise NeedsPerson(
                f"target {target.id}: option 'priority' must be a number from 0 to {LOWEST_PRIORITY}"
            )
        try:
            chroots = tuple(Chroot.parse(text) for text in dict.fromkeys(target.chroots))
        except BadName as error:
            raise NeedsPerson(f"target {target.id}: {error}") from None
        side_tag = target.side_tag.name if target.side_tag else ""
        return cls(side_tag or name, name, scratch, priority, chroots)
