"""The Celery tasks: each does one piece of work, whose row a hint names. Their names are those of service.wake."""

from __future__ import annotations

from service import wake
from workers import follow_ups
from workers.app import app
from workers.builds import deliveries, polling, side_tags, steps
from workers.context import current
from workers.results import build_logs


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
