"""The Celery application (broker, beat schedule, time limits) and its tasks.

Messages are hints; the database holds the work.
"""

from __future__ import annotations

import ctypes
import signal
from typing import Any

from celery import Celery, signals

from service import wake
from service.settings import load_settings
from workers import follow_ups
from workers.builds import deliveries, polling, side_tags, steps
from workers.context import current
from workers.results import build_logs

PR_SET_PDEATHSIG = 1

settings = load_settings()
app = Celery("cryopack")
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


@app.task(name=wake.PROCESS_DELIVERY)
def process_delivery(delivery_id: int) -> None:
    """Process one webhook delivery."""
    deliveries.process(current(), delivery_id)


@app.task(name=wake.ADVANCE_BUILD)
def advance_build(build_id: int) -> None:
    """Carry out the next step of one build."""
    steps.advance(current(), build_id)


@app.task(name=wake.POLL_PROJECT)
def poll_project(system: str, project: str) -> None:
    """Poll all due builds of one project."""
    polling.poll_project(current(), system, project)


@app.task(name=wake.FOLLOW_UP)
def follow_up(follow_up_id: int) -> None:
    """Run one follow-up of a submission or of a build's end."""
    follow_ups.run_follow_up(current(), follow_up_id)


@app.task(name=wake.SIDE_TAG)
def side_tag(side_tag_id: int) -> None:
    """Carry out the next step of one side tag."""
    side_tags.advance_side_tag(current(), side_tag_id)


@app.task(name=wake.SWEEP)
def sweep() -> None:
    """Send hints for everything that is due."""
    deliveries.sweep(current())


@app.task(name=wake.RECONCILE)
def reconcile() -> None:
    """Plan again, against the catalogue and upstream's list of releases."""
    deliveries.reconcile(current())


@app.task(name=wake.TAIL_LOG)
def tail_log(build_id: int, chroot: str) -> None:
    """Fetch the end of a log that somebody is looking at."""
    build_logs.tail_log(current(), build_id, chroot)


@app.task(name=wake.CLEAN)
def clean() -> None:
    """Remove stored logs that are too old."""
    build_logs.clean(current())
