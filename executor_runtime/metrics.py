"""What ``GET /metrics`` shows (the seed's T093), named by the Prometheus conventions.

``success_ratio`` is since the start, for a look by eye; over a window it is a query: the rate of
``executions_total{status="success"}`` over the rate of all. A registry of its own, so that one process
can hold several in tests.
"""

import math
from collections.abc import Callable
from typing import Final, Literal, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_DURATION_BUCKETS_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)


class Backlog(Protocol):
    """Who knows how much has not been reported."""

    @property
    def backlog_bytes(self) -> int:
        """Size of the reports that wait."""


class Metrics:
    """Counters that the service moves, and gauges that ask it."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._executions = Counter(
            "sandbox_executor_executions",
            "Executions that have ended, by status (success, failed, timeout, error, crashed) and language.",
            ("status", "language"),
            registry=self._registry,
        )
        self._ended = self._succeeded = 0
        Gauge(
            "sandbox_executor_success_ratio",
            "Share of the executions since the start whose status is success; NaN before the first has ended.",
            registry=self._registry,
        ).set_function(self._success_ratio)
        self._duration = Histogram(
            "sandbox_executor_execution_duration_seconds",
            "From the request's arrival to its result, queueing included, by language.",
            ("language",),
            buckets=_DURATION_BUCKETS_S,
            registry=self._registry,
        )
        self._starts = Counter(
            "sandbox_executor_sandbox_starts",
            "Sandboxes that were given code, by launch type: warm (started before there was code for it) or cold.",
            ("launch_type",),
            registry=self._registry,
        )
        self._reports = Counter(
            "sandbox_executor_reports",
            "Last answers of the Control Plane to results: accepted, dropped, refused, unauthorized, unavailable, "
            "unreachable; and expired ones.",
            ("outcome",),
            registry=self._registry,
        )
        self._refused = Counter(
            "sandbox_executor_requests_refused",
            "Requests that were answered with an error, by error code.",
            ("error_code",),
            registry=self._registry,
        )

    def watch(self, active: Callable[[], int], queued: Callable[[], int]) -> None:
        """Where the two gauges get their values from, at each scrape."""
        Gauge("sandbox_executor_active_executions", "Executions that run now.", registry=self._registry).set_function(
            active
        )
        Gauge(
            "sandbox_executor_queued_executions", "Executions that wait for a slot.", registry=self._registry
        ).set_function(queued)

    def watch_warm(self, ready: Callable[[], int], programs: Callable[[], int]) -> None:
        """Where the numbers of sandboxes that wait for code come from: for any language, and for JavaScript."""
        Gauge(
            "sandbox_executor_warm_sandboxes", "Sandboxes that are up and wait for code.", registry=self._registry
        ).set_function(ready)
        Gauge(
            "sandbox_executor_warm_javascript",
            "Sandboxes in which node is up and waits for code.",
            registry=self._registry,
        ).set_function(programs)

    def watch_backlog(self, backlog: Backlog) -> None:
        """Where the size of the unsent reports comes from."""
        Gauge(
            "sandbox_executor_spooled_bytes",
            "Size of the results on disk that the Control Plane has not taken.",
            registry=self._registry,
        ).set_function(lambda: backlog.backlog_bytes)

    def count_execution(self, status: str, language: str, duration_s: float) -> None:
        """One execution has ended."""
        self._ended += 1
        self._succeeded += status == "success"
        self._executions.labels(status, language).inc()
        self._duration.labels(language).observe(duration_s)

    def count_start(self, launch_type: Literal["warm", "cold"]) -> None:
        """A sandbox was given code."""
        self._starts.labels(launch_type).inc()

    def count_report(self, outcome: str, how_many: int) -> None:
        """Reports have had their last answer for now."""
        self._reports.labels(str(outcome)).inc(how_many)

    def count_refusal(self, error_code: str) -> None:
        """One request was answered with an error."""
        self._refused.labels(error_code).inc()

    def render(self) -> bytes:
        """The text format."""
        return generate_latest(self._registry)

    def _success_ratio(self) -> float:
        return self._succeeded / self._ended if self._ended else math.nan
