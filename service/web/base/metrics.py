"""Counts requests and gives Prometheus its metrics; one registry per application, so that several fit a process."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from service.board.health import Health

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The metrics of one application: counted while serving, or read from the database at each scrape."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._requests = Counter(
            "cryopack_http_requests",
            "HTTP requests answered.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "cryopack_http_request_seconds", "Time to answer an HTTP request.", ("route",),
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self._deliveries = self._gauge("deliveries", "Webhook deliveries by state.", "state")
        self._builds = self._gauge("builds", "Package builds by state.", "state")
        self._overdue = self._gauge("overdue", "Rows whose time has come and that nobody has taken.", "kind")
        self._oldest = self._gauge(
            "overdue_oldest_seconds", "How long the oldest of them has waited.", "kind"
        )
        self._database = self._gauge("database_up", "1 if the database answered this scrape, else 0.")
        self._dropped = self._gauge("hints_dropped", "Hints that did not reach the broker since the start.")
        self._groups = self._gauge("inbox_transactions", "Transactions of the webhook inbox since the start.")
        self._stored = self._gauge("inbox_deliveries", "Deliveries stored by them, repeats included.")

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"cryopack_{name}", text, labels, registry=self.registry)

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request. ``route`` is the pattern: addresses have no bound."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self, health: Health | None, *, dropped: int, groups: int, stored: int) -> bytes:
        """Return Prometheus' text format. ``health`` None: the database did not answer, so its metrics are left out."""
        self._database.set(0 if health is None else 1)
        self._dropped.set(dropped)
        self._groups.set(groups)
        self._stored.set(stored)
        for gauge in (self._deliveries, self._builds, self._overdue, self._oldest):
            gauge.clear()
        if health is not None:
            for state, count in health.deliveries.items():
                self._deliveries.labels(state).set(count)
            for state, count in health.builds.items():
                self._builds.labels(state).set(count)
            for due in health.due:
                self._overdue.labels(due.kind).set(due.overdue)
                self._oldest.labels(due.kind).set(due.oldest_seconds)
        return generate_latest(self.registry)
