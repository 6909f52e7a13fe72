"""What ``GET /metrics`` shows (the seed's T093), named by the Prometheus conventions; ``docs/monitoring.md`` lists it.

``success_ratio`` is since the start, for a look by eye; over a window it is a query: the rate of
``executions_total{status="success"}`` over the rate of all. A registry of its own, so that one process
can hold several in tests. No label has a value that a client chooses.
"""

import math
from collections.abc import Callable
from typing import Final, Protocol, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.process_collector import ProcessCollector

from contracts.control_plane_api import ResultReport
from contracts.executor_api import LANGUAGES, ResultStatus
from executor_runtime import VERSION
from executor_runtime.queue import Queue
from executor_runtime.sandbox import Isolation, LaunchType

_STATUSES: Final = (*get_args(ResultStatus), "crashed")
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_DURATION_BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
_STARTUP_BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Backlog(Protocol):
    """Who knows how much has not been reported."""

    @property
    def backlog_bytes(self) -> int:
        """Size of the reports that wait."""

    @property
    def unsent(self) -> int:
        """How many there are."""


class Metrics:
    """Counters that the service moves, and gauges that ask it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        Info("sandbox_executor_build", "The executor's version.", registry=self.registry).info({"version": VERSION})
        self._executions = Counter(
            "sandbox_executor_executions",
            "Executions that have ended, by status (success, failed, timeout, error, crashed) and language.",
            ("status", "language"),
            registry=self.registry,
        )
        self._ended = self._succeeded = 0
        Gauge(
            "sandbox_executor_success_ratio",
            "Share of the executions since the start whose status is success; NaN before the first has ended.",
            registry=self.registry,
        ).set_function(self._success_ratio)
        self._duration = Histogram(
            "sandbox_executor_execution_duration_seconds",
            "From the request's arrival to its result, queueing included, by language.",
            ("language",),
            buckets=_DURATION_BUCKETS_S,
            registry=self.registry,
        )
        self._run_duration = Histogram(
            "sandbox_executor_run_duration_seconds",
            "From when a sandbox is given the code to the end of all its processes, by language.",
            ("language",),
            buckets=_DURATION_BUCKETS_S,
            registry=self.registry,
        )
        self._startup = Histogram(
            "sandbox_executor_startup_seconds",
            "From a slot to the beginning of the code, or of the node or bash that runs it, by launch type.",
            ("launch_type",),
            buckets=_STARTUP_BUCKETS_S,
            registry=self.registry,
        )
        self._starts = Counter(
            "sandbox_executor_sandbox_starts",
            "Sandboxes that were given code, by launch type: warm (started before there was code for it) or cold.",
            ("launch_type",),
            registry=self.registry,
        )
        self._truncations = Counter(
            "sandbox_executor_truncations",
            "Output streams of which only a part was kept, by stream: stdout or stderr.",
            ("stream",),
            registry=self.registry,
        )
        self._reports = Counter(
            "sandbox_executor_reports",
            "Last answers of the Control Plane to results: accepted, dropped, refused, unauthorized, unavailable, "
            "unreachable; and expired ones.",
            ("outcome",),
            registry=self.registry,
        )
        self._refused = Counter(
            "sandbox_executor_requests_refused",
            "Requests that were answered with an error, by error code.",
            ("error_code",),
            registry=self.registry,
        )

        # A series that begins at its first event has no increase to show of it.
        for language in LANGUAGES:
            for status in _STATUSES:
                self._executions.labels(status, language)
        for launch_type in get_args(LaunchType):
            self._starts.labels(launch_type)
            self._startup.labels(launch_type)
        for stream in ("stdout", "stderr"):
            self._truncations.labels(stream)

    def watch(self, queue: Queue) -> None:
        """Where the gauges of slots get their values from, at each scrape."""
        gauges: dict[str, tuple[str, Callable[[], int]]] = {
            "active_executions": ("Executions that run now.", lambda: queue.running),
            "queued_executions": ("Executions that wait for a slot.", lambda: queue.waiting),
            "slots": ("Executions that can run at a time.", lambda: queue.slots),
        }
        for name, (text, ask) in gauges.items():
            self._watch(name, text, ask)

    def watch_warm(self, ready: Callable[[], int], programs: Callable[[], int]) -> None:
        """Where the numbers of sandboxes that wait for code come from: for any language, and for JavaScript."""
        self._watch("warm_sandboxes", "Sandboxes that are up and wait for code.", ready)
        self._watch("warm_javascript", "Sandboxes in which node is up and waits for code.", programs)

    def watch_backlog(self, backlog: Backlog) -> None:
        """Where the size of the unsent reports comes from."""
        self._watch(
            "spooled_bytes",
            "Size of the results on disk that the Control Plane has not taken.",
            lambda: backlog.backlog_bytes,
        )
        self._watch("unsent_reports", "Results that the Control Plane has not taken.", lambda: backlog.unsent)

    def name_isolation(self, isolation: Isolation) -> None:
        """How well this node lets the executor isolate; that does not change while it runs."""
        Info(
            "sandbox_executor_isolation",
            "Isolation level (full or reduced) and who holds runs to their limits (cgroup or watchdog).",
            registry=self.registry,
        ).info({"level": isolation.level, "limits_enforcement": isolation.limits_enforcement})

    def count_execution(self, status: str, language: str, duration_s: float) -> None:
        """One execution has ended."""
        self._ended += 1
        self._succeeded += status == "success"
        self._executions.labels(status, language).inc()
        self._duration.labels(language).observe(duration_s)

    def observe_report(self, language: str, report: ResultReport) -> None:
        """What its result says of it; one that never ran has no duration."""
        if report.metrics.duration_ms:
            self._run_duration.labels(language).observe(report.metrics.duration_ms / 1000)
        if report.stdout_truncated:
            self._truncations.labels("stdout").inc()
        if report.stderr_truncated:
            self._truncations.labels("stderr").inc()

    def count_start(self, launch_type: LaunchType) -> None:
        """A sandbox was given code."""
        self._starts.labels(launch_type).inc()

    def observe_startup(self, launch_type: LaunchType, duration_s: float) -> None:
        """Code has begun, so long after it had a slot."""
        self._startup.labels(launch_type).observe(duration_s)

    def count_report(self, outcome: str, how_many: int) -> None:
        """Reports have had their last answer for now."""
        self._reports.labels(str(outcome)).inc(how_many)

    def count_refusal(self, error_code: str) -> None:
        """One request was answered with an error."""
        self._refused.labels(error_code).inc()

    def render(self) -> bytes:
        """The text format."""
        return generate_latest(self.registry)

    def _watch(self, name: str, text: str, ask: Callable[[], float]) -> None:
        Gauge(f"sandbox_executor_{name}", text, registry=self.registry).set_function(ask)

    def _success_ratio(self) -> float:
        return self._succeeded / self._ended if self._ended else math.nan
