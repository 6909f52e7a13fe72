"""What Prometheus is told about the log API (``docs/monitoring.md``)."""

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.process_collector import ProcessCollector


class Metrics:
    """The metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "sandbox_log_api_requests_total",
            "Requests for output, by the HTTP status of the answer.",
            ["code"],
            registry=self.registry,
        )
        self.streams = Gauge("sandbox_log_api_streams", "Answers that are being sent.", registry=self.registry)
        self.sent = Counter("sandbox_log_api_sent_bytes_total", "Bytes of answers.", registry=self.registry)
        self.reconnects = Counter(
            "sandbox_log_api_executor_reconnects_total",
            "Times that an executor was asked again, because it did not answer or its answer broke off.",
            registry=self.registry,
        )

    def render(self) -> bytes:
        """All of them in Prometheus's text format."""
        return generate_latest(self.registry)
