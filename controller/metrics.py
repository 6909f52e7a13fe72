"""What Prometheus is told about the controller; names follow its conventions (base units, ``_total``).

``docs/monitoring.md`` lists all of them. No label has values without a bound: namespaces are named up to a number,
pools are made by the cluster's administrators and leave when they are deleted.
"""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Final, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.process_collector import ProcessCollector

from contracts.control_plane_api import ExitReason
from contracts.execution import TERMINAL_PHASES
from controller import VERSION
from controller.placement import PoolCount
from controller.resources import Execution

DEFAULT_NAMESPACES: Final = 100
OTHER: Final = "other"
"""Stands for every namespace beyond those that are named; one that has this name is among them."""
_BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
_SLOT_STATES: Final = ("busy", "free")
_STREAMS: Final = ("stdout", "stderr", "return_value")


class Metrics:
    """The controller's metrics, in a registry of their own."""

    def __init__(self, namespaces: int = DEFAULT_NAMESPACES) -> None:
        """``namespaces``: how many are named, first come first; Executions in all others count as ``other``."""
        self.registry = CollectorRegistry()
        self._room = namespaces
        self._namespaces: set[str] = set()
        self._counted: set[tuple[str, str]] = set()
        self._pools: set[str] = set()
        ProcessCollector(registry=self.registry)
        Info("sandbox_controller_build", "The controller's version.", registry=self.registry).info({"version": VERSION})
        self.seen = Counter(
            "sandbox_controller_executions_seen_total", "Executions that began to be followed.", registry=self.registry
        )
        self._executions = Counter(
            "sandbox_controller_executions_total",
            "Executions that ended, by namespace, language and result (the phase in which they ended).",
            ["namespace", "language", "result"],
            registry=self.registry,
        )
        self.retries = Counter(
            "sandbox_controller_execution_retries_total",
            "Attempts that were lost with their executor and are followed by another one.",
            registry=self.registry,
        )
        self._duration = Histogram(
            "sandbox_controller_execution_duration_seconds",
            "From the claim to the end, by language.",
            ["language"],
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        self._wait = Histogram(
            "sandbox_controller_execution_wait_seconds",
            "From when an Execution was seen to its claim: checks, the queue, a slot, one write.",
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        self._truncations = Counter(
            "sandbox_controller_truncations_total",
            "Outputs of which .status has only a part, by stream: stdout, stderr or return_value.",
            ["stream"],
            registry=self.registry,
        )
        self._slots = Gauge(
            "sandbox_controller_pool_slots",
            "Slots of a pool, by state: busy, or free on a pod that takes work.",
            ["pool", "state"],
            registry=self.registry,
        )
        self._queued = Gauge(
            "sandbox_controller_pool_queued", "Executions that wait for a slot.", ["pool"], registry=self.registry
        )
        self._queue_limit = Gauge(
            "sandbox_controller_pool_queue_limit",
            "Executions that may wait for a slot; more are rejected.",
            ["pool"],
            registry=self.registry,
        )
        self._container_exits = Counter(
            "sandbox_controller_container_exits_total",
            "Runs of executor containers that ended, by reason: " + ", ".join(get_args(ExitReason)) + ".",
            ["reason"],
            registry=self.registry,
        )
        self.failures = Counter(
            "sandbox_controller_step_failures_total", "Steps that raised what nobody expected.", registry=self.registry
        )
        self.events_dropped = Counter(
            "sandbox_controller_events_dropped_total", "Kubernetes Events that were not sent.", registry=self.registry
        )
        self.relay_attempts = Counter(
            "sandbox_controller_relay_attempts_total",
            "Calls to the Control Plane, by what became of them.",
            ["call", "outcome"],
            registry=self.registry,
        )
        self.relay_heartbeats_dropped = Counter(
            "sandbox_controller_relay_heartbeats_dropped_total",
            "Heartbeats that could not be told at once.",
            registry=self.registry,
        )
        # A series that begins at its first event has no increase to show of it.
        for stream in _STREAMS:
            self._truncations.labels(stream)
        for reason in get_args(ExitReason):
            self._container_exits.labels(reason)

    def watch_leadership(self, leads: Callable[[], bool]) -> None:
        """Shows which replica leads."""
        Gauge("sandbox_controller_leader", "1 on the replica that leads.", registry=self.registry).set_function(
            lambda: float(leads())
        )

    def watch_relay(
        self, length: Callable[[str], float], oldest_s: Callable[[], float], open_: Callable[[], bool]
    ) -> None:
        """Shows the relay's backlog; only where a Control Plane is configured."""
        pending = Gauge(
            "sandbox_controller_relay_pending",
            "What the Control Plane has not been told yet, by kind.",
            ["kind"],
            registry=self.registry,
        )
        for kind in ("result", "lifecycle", "farewell"):
            pending.labels(kind=kind).set_function(partial(length, kind))
        Gauge(
            "sandbox_controller_relay_oldest_pending_seconds",
            "Age of what has waited longest to be told.",
            registry=self.registry,
        ).set_function(oldest_s)
        Gauge(
            "sandbox_controller_relay_circuit_open",
            "1 while the Control Plane does not answer and is only probed.",
            registry=self.registry,
        ).set_function(lambda: float(open_()))

    def observe_claim(self, seen: datetime | None, claimed: datetime | None) -> None:
        """An Execution has been given to an executor."""
        if seen is not None and claimed is not None:
            self._wait.observe(max((claimed - seen).total_seconds(), 0.0))

    def observe_end(self, execution: Execution) -> None:
        """Counts an Execution that has ended."""
        status, language = execution.status, execution.spec.language
        self._count_end(self._name(execution.namespace), language, str(status.phase))
        if status.start_time is not None and status.completion_time is not None:
            self._duration.labels(language).observe((status.completion_time - status.start_time).total_seconds())
        cut = (status.stdout_truncated, status.stderr_truncated, status.return_value_truncated)
        for stream, is_cut in zip(_STREAMS, cut, strict=True):
            if is_cut:
                self._truncations.labels(stream).inc()

    def show_pool(self, pool: str, count: PoolCount, queue_limit: int) -> None:
        """The slots and the queue of a pool, as they are now."""
        self._pools.add(pool)
        for state, slots in zip(_SLOT_STATES, (count.busy, count.free), strict=True):
            self._slots.labels(pool, state).set(slots)
        self._queued.labels(pool).set(count.queued)
        self._queue_limit.labels(pool).set(queue_limit)

    def forget_pool(self, pool: str) -> None:
        """A pool was deleted."""
        if pool in self._pools:
            self._pools.remove(pool)
            for state in _SLOT_STATES:
                self._slots.remove(pool, state)
            self._queued.remove(pool)
            self._queue_limit.remove(pool)

    def count_container_exit(self, reason: ExitReason) -> None:
        """A run of an executor container has ended."""
        self._container_exits.labels(reason).inc()

    def render(self) -> bytes:
        """All of them in Prometheus's text format."""
        return generate_latest(self.registry)

    def _count_end(self, namespace: str, language: str, result: str) -> None:
        """The first end in a namespace begins all series there, so that the next one of any result is an increase."""
        if (namespace, language) not in self._counted:
            self._counted.add((namespace, language))
            for each in sorted(TERMINAL_PHASES):
                self._executions.labels(namespace, language, each)
        self._executions.labels(namespace, language, result).inc()

    def _name(self, namespace: str) -> str:
        """The namespace as a label."""
        if namespace not in self._namespaces:
            if len(self._namespaces) >= self._room:
                return OTHER
            self._namespaces.add(namespace)
        return namespace
