"""The Celery application: broker, beat schedule and time limits. Messages are hints; the database holds the work.

It imports no task: a worker does, while ``celery -A workers.app inspect`` stays as quick as a health check must be.
"""

from __future__ import annotations

import ctypes
import signal
from typing import Any

from celery import Celery, signals

from service import wake
from service.settings import load_settings

PR_SET_PDEATHSIG = 1

settings = load_settings()
app = Celery("cryopack", include=["workers.tasks"])
app.conf.update(
    wake.broker_options(settings),
    timezone="UTC",
    # A worker that is given no queues serves all of them.
    task_queues={name: {"exchange": name, "routing_key": name} for name in wake.QUEUES},
    worker_prefetch_multiplier=1,
    worker_concurrency=settings.worker_processes,
    worker_hijack_root_logger=False,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    task_soft_time_limit=settings.step_limit_seconds,
    task_time_limit=settings.step_limit_seconds + 30,
    beat_schedule_filename=str(settings.state_dir / "beat-schedule"),
    beat_max_loop_interval=min(settings.sweep_seconds, 5.0),
    beat_schedule={
        "sweep": {
            "task": wake.SWEEP,
            "schedule": settings.sweep_seconds,
            "options": {"expires": settings.sweep_seconds},
        },
        "clean": {
            "task": wake.CLEAN,
            "schedule": settings.cleaning_seconds,
            "options": {"expires": settings.cleaning_seconds, "queue": wake.FETCH},
        },
        "reconcile": {
            "task": wake.RECONCILE,
            "schedule": settings.reconcile_seconds,
            "options": {"expires": settings.reconcile_seconds},
        },
    },
)


@signals.worker_process_init.connect
def _die_with_the_parent(**_: Any) -> None:
    # A pool child that outlives its killed parent would go on submitting beside the next worker.
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@signals.worker_ready.connect
def _catch_up(**_: Any) -> None:
    # What was missed while no worker ran should not wait for the first period of beat.
    app.send_task(wake.SWEEP)
    app.send_task(wake.RECONCILE)
