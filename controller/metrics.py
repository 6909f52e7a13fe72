"""What Prometheus is told about the controller; names follow its conventions (base units, ``_total``)."""

from collections.abc import Callable
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from controller.resources import Execution

_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600)


class Metrics:
    """The controller's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.seen = Counter(
            "sandbox_controller_executions_seen_total", "Executions that began to be followed.", registry=self.registry
        )
        self.ended = Counter(
            "sandbox_controller_executions_ended_total",
            "Executions that ended, by phase.",
            ["phase", "pool"],
            registry=self.registry,
        )
        self.duration = Histogram(
            "sandbox_controller_execution_duration_seconds",
            "From the claim to the end.",
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        self.wait = Histogram(
            "sandbox_controller_execution_wait_seconds",
            "From the creation to the claim (the creation is known to the second).",
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        self.slots = Gauge(
            "sandbox_controller_pool_slots", "Slots of a pool, by state.", ["pool", "state"], registry=self.registry
        )
        self.queued = Gauge(
            "sandbox_controller_pool_queued", "Executions that wait for a slot.", ["pool"], registry=self.registry
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

    def observe_end(self, execution: Execution) -> None:
        """Counts an Execution that has ended."""
        status = execution.status
        self.ended.labels(phase=str(status.phase), pool=execution.spec.pool).inc()
        if status.start_time is not None and status.completion_time is not None:
            self.duration.observe((status.completion_time - status.start_time).total_seconds())
            self.wait.observe(max((status.start_time - execution.created).total_seconds(), 0.0))

    def render(self) -> bytes:
        """All of them in Prometheus's text format."""
        return generate_latest(self.registry)
