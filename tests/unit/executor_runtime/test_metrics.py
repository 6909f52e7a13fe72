import tomllib
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from executor_runtime import VERSION
from executor_runtime.metrics import Metrics


def test_what_is_counted_is_shown() -> None:
    metrics = Metrics()
    metrics.watch(lambda: 3, lambda: 7)
    metrics.count_execution("success", "python", 0.03)
    metrics.count_execution("failed", "shell", 2.0)
    metrics.count_report("accepted", 2)
    metrics.count_refusal("Executor.QueueFull")
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }
    prefix = "sandbox_executor_"
    assert samples[(prefix + "executions_total", (("language", "python"), ("status", "success")))] == 1
    assert samples[(prefix + "executions_total", (("language", "shell"), ("status", "failed")))] == 1
    assert samples[(prefix + "active_executions", ())] == 3
    assert samples[(prefix + "queued_executions", ())] == 7
    assert samples[(prefix + "reports_total", (("outcome", "accepted"),))] == 2
    assert samples[(prefix + "requests_refused_total", (("error_code", "Executor.QueueFull"),))] == 1
    bucket = prefix + "execution_duration_seconds_bucket"
    assert samples[(bucket, (("language", "python"), ("le", "0.025")))] == 0
    assert samples[(bucket, (("language", "python"), ("le", "0.05")))] == 1


class Backlog:
    backlog_bytes = 4096


def test_the_success_ratio_is_over_all_that_have_ended_and_the_backlog_is_asked_for() -> None:
    metrics = Metrics()
    metrics.watch_backlog(Backlog())
    assert b"sandbox_executor_success_ratio NaN" in metrics.render()
    for status in ("success", "success", "success", "timeout"):
        metrics.count_execution(status, "python", 0.1)
    assert b"sandbox_executor_success_ratio 0.75" in metrics.render()
    assert b"sandbox_executor_spooled_bytes 4096.0" in metrics.render()


def test_the_version_is_the_distributions() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION
