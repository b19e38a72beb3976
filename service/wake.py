"""Sends hints to the workers through Celery: names of tasks and queues, and a sender that never blocks its caller.

A hint names a row that is due. A lost hint costs time and nothing else: the sweep finds the row.
"""

from __future__ import annotations

import queue
import threading
import time
from typing import Any

import structlog
from celery import Celery

from service.settings import Settings

PROCESS_DELIVERY = "cryopack.process_delivery"
ADVANCE_BUILD = "cryopack.advance_build"
POLL_PROJECT = "cryopack.poll_project"
FOLLOW_UP = "cryopack.follow_up"
SIDE_TAG = "cryopack.side_tag"
SWEEP = "cryopack.sweep"
RECONCILE = "cryopack.reconcile"
TAIL_LOG = "cryopack.tail_log"
CLEAN = "cryopack.clean"

WORK, FETCH = "cryopack", "cryopack-fetch"
QUEUES = (WORK, FETCH)
"""The broker's queues: for steps of builds, and for downloads (logs, RPMs) that may take minutes."""

QUEUE_LIMIT = 1000
"""Hints that wait in this process to be sent."""
WAITING_LIMIT = 5000
"""Hints that may lie in a queue of the broker: a queue without a worker would fill its memory and stop the others."""

log = structlog.get_logger()


def broker_options(settings: Settings) -> dict[str, Any]:
    """Return the Celery configuration of every sender and worker: short socket time-outs, no result backend."""
    url = settings.broker_url.get_secret_value()
    # The redis library writes unix://path where kombu wants redis+socket://path.
    if url.startswith("unix://"):
        url = "redis+socket://" + url.removeprefix("unix://")
    return {
        "broker_url": url,
        "task_ignore_result": True,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_default_queue": WORK,
        "broker_connection_timeout": 2,
        "broker_transport_options": {
            "socket_timeout": 5,
            "socket_connect_timeout": 2,
            "visibility_timeout": int(settings.step_lease_seconds) + 60,
        },
    }


class Wake:
    """Sends hints from one thread of its own, so that no caller waits for a broker. A full queue drops hints.

    ``dropped`` counts hints that were not sent; ``problem`` says why the last one was not, empty if it was.
    """

    def __init__(self, settings: Settings) -> None:
        self._expires = settings.sweep_seconds
        self._celery = Celery("cryopack-wake", set_as_current=False)
        options = broker_options(settings)
        # One try for each hint: without this, kombu tries for two seconds, and those behind it wait.
        options["broker_transport_options"] |= {"max_retries": 0}
        self._celery.conf.update(options)
        self._queue: queue.Queue[tuple[str, list[Any], str] | None] = queue.Queue(QUEUE_LIMIT)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._looked_at: dict[str, float] = {}
        self._unserved: set[str] = set()
        self.dropped = 0
        self.problem = ""

    def delivery(self, delivery_id: int) -> None:
        """Hint that a delivery is due."""
        self._put(PROCESS_DELIVERY, [delivery_id])

    def build(self, build_id: int) -> None:
        """Hint that a build is due."""
        self._put(ADVANCE_BUILD, [build_id])

    def project(self, system: str, project: str) -> None:
        """Hint that builds of one project are due for a poll."""
        self._put(POLL_PROJECT, [system, project])

    def follow_up(self, follow_up_id: int, *, fetches: bool) -> None:
        """Hint that a follow-up is due. One that ``fetches`` goes to a queue of its own, not to keep polls waiting."""
        self._put(FOLLOW_UP, [follow_up_id], FETCH if fetches else WORK)

    def side_tag(self, side_tag_id: int) -> None:
        """Hint that a side tag is due."""
        self._put(SIDE_TAG, [side_tag_id])

    def tail(self, build_id: int, chroot: str) -> None:
        """Hint that somebody looks at a log that still grows."""
        self._put(TAIL_LOG, [build_id, chroot])

    def reconcile(self) -> None:
        """Ask for a reconciliation now instead of at its next time."""
        self._put(RECONCILE, [])

    def _put(self, task: str, args: list[Any], queue_name: str = WORK) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._send_all, name="wake", daemon=True)
                self._thread.start()
        try:
            self._queue.put_nowait((task, args, queue_name))
        except queue.Full:
            self.dropped += 1

    def _send_all(self) -> None:
        while (item := self._queue.get()) is not None:
            task, args, queue_name = item
            try:
                if self._is_full(queue_name):
                    self.dropped += 1
                    if not self.problem:
                        log.warning("hints dropped: no worker serves this queue", queue=queue_name)
                    self.problem = f"more than {WAITING_LIMIT} hints lie in {queue_name}: no worker serves it"
                    continue
                # A hint that outlives the next sweep is only a repeat of it.
                self._celery.send_task(task, args=args, queue=queue_name, expires=self._expires, retry=False)
                self.problem = ""
            except Exception as error:  # Brokers fail in many ways, and none of them may end this thread.
                self.dropped += 1
                if not self.problem:
                    log.warning("hint not sent; the sweep will find the work", error=type(error).__name__)
                self.problem = f"{type(error).__name__}: the broker did not take the last hint"

    def _is_full(self, queue_name: str) -> bool:
        """Whether a queue of the broker holds too many hints; looked at once in a sweep. Raises as sending does."""
        now = time.monotonic()
        if now - self._looked_at.get(queue_name, float("-inf")) >= self._expires:
            with self._celery.connection_for_write() as connection:
                channel: Any = connection.default_channel
                held = channel.queue_declare(queue_name, durable=True).message_count
            self._looked_at[queue_name] = now
            (self._unserved.add if held > WAITING_LIMIT else self._unserved.discard)(queue_name)
        return queue_name in self._unserved

    def close(self) -> None:
        """Stop the thread after what is queued, waiting at most two seconds."""
        if self._thread is not None:
            try:
                self._queue.put_nowait(None)
            except queue.Full:
                return
            self._thread.join(2)
