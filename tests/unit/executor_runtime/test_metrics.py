import tomllib
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from contracts.control_plane_api import ResultReport
from contracts.executor_api import ExecutionMetrics
from executor_runtime import VERSION
from executor_runtime.metrics import Metrics
from executor_runtime.queue import Queue
from executor_runtime.sandbox import Isolation


def test_what_is_counted_is_shown() -> None:
    metrics = Metrics()
    queue = Queue(3)
    for _ in range(5):
        queue.enter()
    metrics.watch(queue)
    metrics.count_execution("success", "python", 0.03)
    metrics.count_execution("failed", "shell", 2.0)
    metrics.count_report("accepted", 2)
    metrics.count_refusal("Executor.QueueFull")
    samples = read(metrics)
    prefix = "sandbox_executor_"
    assert samples[(prefix + "executions_total", (("language", "python"), ("status", "success")))] == 1
    assert samples[(prefix + "executions_total", (("language", "shell"), ("status", "failed")))] == 1
    assert samples[(prefix + "active_executions", ())] == 3
    assert samples[(prefix + "slots", ())] == 3
    assert samples[(prefix + "queued_executions", ())] == 2
    assert samples[(prefix + "reports_total", (("outcome", "accepted"),))] == 2
    assert samples[(prefix + "requests_refused_total", (("error_code", "Executor.QueueFull"),))] == 1
    bucket = prefix + "execution_duration_seconds_bucket"
    assert samples[(bucket, (("language", "python"), ("le", "0.025")))] == 0
    assert samples[(bucket, (("language", "python"), ("le", "0.05")))] == 1


def test_what_a_result_says_of_its_run_is_shown() -> None:
    metrics = Metrics()
    metrics.observe_report("python", make_report(7.0, stdout_truncated=True))
    metrics.observe_report("python", make_report(0.0, stderr_truncated=True))
    samples = read(metrics)
    prefix = "sandbox_executor_"
    assert samples[(prefix + "truncations_total", (("stream", "stdout"),))] == 1
    assert samples[(prefix + "truncations_total", (("stream", "stderr"),))] == 1
    python = ("language", "python")
    assert samples[(prefix + "run_duration_seconds_count", (python,))] == 1, "the second one never ran"
    assert samples[(prefix + "run_duration_seconds_bucket", (python, ("le", "0.005")))] == 0
    assert samples[(prefix + "run_duration_seconds_bucket", (python, ("le", "0.01")))] == 1


def test_startups_are_told_apart_by_how_they_were_launched() -> None:
    metrics = Metrics()
    metrics.observe_startup("warm", 0.004)
    metrics.observe_startup("cold", 0.04)
    samples = read(metrics)
    bucket = "sandbox_executor_startup_seconds_bucket"
    assert samples[(bucket, (("launch_type", "warm"), ("le", "0.005")))] == 1
    assert samples[(bucket, (("launch_type", "cold"), ("le", "0.025")))] == 0
    assert samples[(bucket, (("launch_type", "cold"), ("le", "0.05")))] == 1


def test_the_build_and_the_isolation_are_named() -> None:
    metrics = Metrics()
    metrics.name_isolation(
        Isolation(
            level="reduced", bwrap="", interpreters={}, init_code=b"", python_path=(), seccomp_filter=b"", shortfall="x"
        )
    )
    samples = read(metrics)
    assert samples[("sandbox_executor_build_info", (("version", VERSION),))] == 1
    labels = (("level", "reduced"), ("limits_enforcement", "watchdog"))
    assert samples[("sandbox_executor_isolation_info", labels)] == 1


def test_what_can_be_counted_is_there_from_the_start() -> None:
    """A series that begins at its first event has no increase to show of it."""
    samples = read(Metrics())
    for status in ("success", "failed", "timeout", "error", "crashed"):
        for language in ("python", "javascript", "shell"):
            labels = (("language", language), ("status", status))
            assert samples[("sandbox_executor_executions_total", labels)] == 0
    for stream in ("stdout", "stderr"):
        assert samples[("sandbox_executor_truncations_total", (("stream", stream),))] == 0
    for launch_type in ("warm", "cold"):
        assert samples[("sandbox_executor_startup_seconds_count", (("launch_type", launch_type),))] == 0


def make_report(duration_ms: float, **fields: bool) -> ResultReport:
    metrics = ExecutionMetrics(duration_ms=duration_ms)
    return ResultReport(
        execution_id="exec_20260115_a1b2c3d4",
        status="success",
        reason="Completed",
        exit_code=0,
        execution_time=duration_ms / 1000,
        metrics=metrics,
        **fields,
    )


def read(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


class Backlog:
    backlog_bytes = 4096
    unsent = 3


def test_the_success_ratio_is_over_all_that_have_ended_and_the_backlog_is_asked_for() -> None:
    metrics = Metrics()
    metrics.watch_backlog(Backlog())
    assert b"sandbox_executor_success_ratio NaN" in metrics.render()
    for status in ("success", "success", "success", "timeout"):
        metrics.count_execution(status, "python", 0.1)
    assert b"sandbox_executor_success_ratio 0.75" in metrics.render()
    assert b"sandbox_executor_spooled_bytes 4096.0" in metrics.render()
    assert b"sandbox_executor_unsent_reports 3.0" in metrics.render()


def test_the_version_is_the_distributions() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION
