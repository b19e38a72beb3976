"""The Celery tasks: names from service.wake, work in steps, polling, follow-ups and deliveries."""

from __future__ import annotations

from service import wake
from workers import follow_ups
from workers.app import app
from workers.builds import deliveries, polling, side_tags, steps
from workers.context import current
from workers.results import build_logs


@app.task(name=wake.PROCESS_DELIVERY)
def process_delivery(delivery_id: int) -> None:
    """Understand one delivery."""
    deliveries.process(current(), delivery_id)


@app.task(name=wake.ADVANCE_BUILD)
def advance_build(build_id: int) -> None:
    """Take one build as far as it goes now."""
    steps.advance(current(), build_id)


@app.task(name=wake.POLL_PROJECT)
def poll_project(system: str, project: str) -> None:
    """Read all due builds of one project."""
    polling.poll_project(current(), system, project)


@app.task(name=wake.FOLLOW_UP)
def follow_up(follow_up_id: int) -> None:
    """Do what comes after a submission or an end."""
    follow_ups.run_follow_up(current(), follow_up_id)


@app.task(name=wake.SIDE_TAG)
def side_tag(side_tag_id: int) -> None:
    """Take one side tag as far as it goes now."""
    side_tags.advance_side_tag(current(), side_tag_id)


@app.task(name=wake.SWEEP)
def sweep() -> None:
    """Send hints for everything that is due."""
    deliveries.sweep(current())


@app.task(name=wake.RECONCILE)
def reconcile() -> None:
    """Plan again against the catalogue and upstream's list."""
    deliveries.reconcile(current())


@app.task(name=wake.TAIL_LOG)
def tail_log(build_id: int, chroot: str) -> None:
    """Fetch the end of a log that somebody looks at."""
    build_logs.tail_log(current(), build_id, chroot)


@app.task(name=wake.CLEAN)
def clean() -> None:
    """Remove stored logs that are too old."""
    build_logs.clean(current())
