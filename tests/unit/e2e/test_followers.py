"""What the end-to-end tests read of the log API's metrics."""

from log_api.metrics import Metrics
from tests.e2e.followers import sum_metric


def test_samples_of_a_metric_are_added_whatever_their_labels() -> None:
    metrics = Metrics()
    assert sum_metric(metrics.render().decode(), "sandbox_log_api_requests_total") == 0
    for code in ("200", "200", "499"):
        metrics.requests.labels(code).inc()
    metrics.sent.inc(1e9)
    text = metrics.render().decode()
    assert sum_metric(text, "sandbox_log_api_requests_total") == 3
    assert sum_metric(text, "sandbox_log_api_sent_bytes_total") == 1e9
