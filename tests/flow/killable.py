"""A Celery worker that is killed once at a named step boundary: ``celery -A tests.flow.killable worker``.

CRYOPACK_TEST_KILL is ``child|worker:before|after:boundary``; CRYOPACK_TEST_MARK is a file that says it has happened.
"""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workers import deliveries, polling, steps, tasks
from workers.app import app
from workers.buildsystems.copr import Copr
from workers.buildsystems.koji import Koji
from workers.buildsystems.koji_client import KojiClient

__all__ = ["BOUNDARIES", "app", "tasks"]

BOUNDARIES: dict[str, tuple[Any, str]] = {
    "claim_delivery": (deliveries, "claim_delivery"),
    "process_delivery": (deliveries, "process_delivery"),
    "claim_build": (steps, "claim_build"),
    "prepare_srpm": (steps, "prepare_srpm"),
    "open": (Copr, "open"),
    "begin_submit": (steps, "begin_submit"),
    "submit": (Copr, "submit"),
    "record_submission": (steps, "record_submission"),
    "claim_polls": (polling, "claim_polls"),
    "poll": (Copr, "poll"),
    "record_report": (polling, "record_report"),
}
KOJI_BOUNDARIES: dict[str, tuple[Any, str]] = {
    "koji_open": (Koji, "open"),
    "koji_log_in": (KojiClient, "log_in"),
    "koji_upload": (KojiClient, "upload"),
    "koji_build": (KojiClient, "call_once"),
    "koji_submit": (Koji, "submit"),
    "koji_poll": (Koji, "poll"),
}


def _die(who: str, mark: Path) -> None:
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return
    if who == "worker":
        os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def _wrap(function: Callable[..., Any], who: str, when: str, mark: Path) -> Callable[..., Any]:
    @functools.wraps(function)
    def deadly(*args: Any, **kwargs: Any) -> Any:
        if when == "before":
            _die(who, mark)
        result = function(*args, **kwargs)
        # A claim that found nothing to do is no boundary.
        if when == "after" and (result not in (None, []) or boundary == "koji_upload"):
            _die(who, mark)
        return result

    return deadly


plan = os.environ.get("CRYOPACK_TEST_KILL", "")
if plan:
    who, when, boundary = plan.split(":")
    owner, name = (BOUNDARIES | KOJI_BOUNDARIES)[boundary]
    setattr(owner, name, _wrap(getattr(owner, name), who, when, Path(os.environ["CRYOPACK_TEST_MARK"])))
