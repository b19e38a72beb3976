"""What may be set for Koji: ``AdapterConfig.options`` for the hub, ``BuildTarget.options`` for one target.

Unknown keys are refused, because Koji itself stores them in silence and a misspelt one would never be noticed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from service.domain.errors import BadName
from service.domain.fedora import Chroot
from service.domain.planning import BuildTarget
from workers.buildsystems import BuildSystemError, NeedsPerson

AUTHS = ("kerberos", "certificate", "password")
PATHS = frozenset({"config_file", "keytab", "certificate", "password_file"})
TEXTS = frozenset({"profile", "auth", "principal", "user"})
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
        """Check the options. Raises BuildSystemError, which names the key and the known ones."""
        known = [one.name for one in fields(cls)]
        values: dict[str, Any] = {}
        for key, value in options.items():
            if key not in known:
                raise BuildSystemError(f"Koji has no option '{key}'; there are: {', '.join(known)}")
            values[key] = _checked(key, value)
        if values.get("auth", "kerberos") not in AUTHS:
            raise BuildSystemError(f"Koji's option 'auth' must be one of {', '.join(AUTHS)}")
        return cls(**values)


def _checked(key: str, value: object) -> object:
    if key in PATHS:
        if value is not None and (not isinstance(value, (str, Path)) or not str(value)):
            raise BuildSystemError(f"Koji's option '{key}' must be a path")
        return None if value is None else Path(str(value)).expanduser()
    if key in TEXTS:
        if not isinstance(value, str):
            raise BuildSystemError(f"Koji's option '{key}' must be a text")
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BuildSystemError(f"Koji's option '{key}' must be a number of seconds")
    if not 0 < value < math.inf:
        raise BuildSystemError(f"Koji's option '{key}' must be more than 0 seconds")
    return float(value)


@dataclass(frozen=True)
class TargetSettings:
    """One target, checked. ``koji_target`` is Koji's own word; ``priority`` is added to Koji's 20.

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
        """Check the options. Raises NeedsPerson: only a change of the catalogue helps."""
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
