"""A Celery worker that kills itself at a step boundary by plan: ``celery -A tests.flow.killable worker``.

CRYOPACK_TEST_PLAN names a file with ``child|worker:before|after:boundary``. Who dies by it takes it away, so that each
plan kills once; the next one may be written then.
"""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workers import tasks
from workers.app import app
from workers.builds import deliveries, polling, steps
from workers.buildsystems.copr.adapter import Copr
from workers.buildsystems.koji.adapter import Koji
from workers.buildsystems.koji.client import KojiClient

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


PLAN = Path(os.environ.get("CRYOPACK_TEST_PLAN", os.devnull))


def _die_if_planned(when: str, boundary: str) -> None:
    try:
        who, planned_when, planned = PLAN.read_text().split(":")
        if (planned_when, planned) != (when, boundary):
            return
        PLAN.unlink()
    except (FileNotFoundError, ValueError):
        # There is none, it is being written, or somebody else has just died by it.
        return
    if who == "worker":
        os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def _wrap(function: Callable[..., Any], boundary: str) -> Callable[..., Any]:
    @functools.wraps(function)
    def deadly(*args: Any, **kwargs: Any) -> Any:
        _die_if_planned("before", boundary)
        result = function(*args, **kwargs)
        # A claim that found nothing to do is no boundary.
        if result not in (None, []) or boundary == "koji_upload":
            _die_if_planned("after", boundary)
        return result

    return deadly


for boundary, (owner, name) in (BOUNDARIES | KOJI_BOUNDARIES).items():
    setattr(owner, name, _wrap(getattr(owner, name), boundary))
