"""docs/monitoring.md lists every metric with its type, its labels and what it says of itself."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from contracts.control_plane_api import ResultReport
from contracts.executor_api import ExecutionMetrics
from controller.metrics import Metrics as ControllerMetrics
from controller.placement import PoolCount
from executor_runtime.metrics import Metrics as ExecutorMetrics
from executor_runtime.queue import Queue
from executor_runtime.sandbox import Isolation
from log_api.metrics import Metrics as LogApiMetrics
from tests.unit.controller.builders import NOW, make_execution

DOCS = Path(__file__).parents[3] / "docs"
DOCUMENT = DOCS / "monitoring.md"
OURS = re.compile(r"\bsandbox_(?:controller|executor|log_api)_[a-z_]*[a-z]\b(?!_)")
NO_METRICS = {"sandbox_executor_client"}
BEYOND_THE_NAME = {"counter": "_total", "info": "_info"}


class Backlog:
    backlog_bytes = unsent = 0


def controller_registry() -> CollectorRegistry:
    """With a series of everything that a controller shows."""
    metrics = ControllerMetrics()
    metrics.watch_leadership(lambda: True)
    metrics.watch_relay(length=lambda kind: 0, oldest_s=lambda: 0, open_=lambda: False)
    times = {"startTime": NOW.isoformat(), "completionTime": NOW.isoformat()}
    metrics.observe_end(make_execution(status={"phase": "Succeeded", **times}))
    metrics.show_pool("default", PoolCount(0, 0, 0), 1)
    metrics.relay_attempts.labels(call="result", outcome="accepted")
    return metrics.registry


def executor_registry() -> CollectorRegistry:
    """With a series of everything that an executor shows."""
    metrics = ExecutorMetrics()
    metrics.watch(Queue(1))
    metrics.watch_warm(lambda: 0, lambda: 0)
    metrics.watch_backlog(Backlog())
    metrics.name_isolation(
        Isolation(level="full", bwrap="", interpreters={}, init_code=b"", python_path=(), seccomp_filter=b"")
    )
    metrics.count_execution("success", "python", 0.1)
    metrics.observe_report(
        "python",
        ResultReport(
            execution_id="exec_20260115_a1b2c3d4",
            status="success",
            reason="Completed",
            exit_code=0,
            execution_time=0.1,
            metrics=ExecutionMetrics(duration_ms=1.0),
        ),
    )
    metrics.count_report("accepted", 1)
    metrics.count_refusal("Executor.QueueFull")
    return metrics.registry


def log_api_registry() -> CollectorRegistry:
    """With a series of everything that a log API shows."""
    metrics = LogApiMetrics()
    metrics.requests.labels("200")
    return metrics.registry


def rows(registry: CollectorRegistry) -> Iterator[str]:
    """A row of the document's table for each metric of ours."""
    for family in sorted(registry.collect(), key=lambda family: family.name):
        if family.name.startswith("process_"):
            continue
        assert family.samples, f"{family.name} has no series here: make one above"
        labels = [name for name in family.samples[0].labels if name != "le"]
        name = family.name + BEYOND_THE_NAME.get(family.type, "")
        kind = "gauge" if family.type == "info" else family.type
        yield f"| `{name}` | {kind} | {', '.join(labels)} | {family.documentation} |"


@pytest.mark.parametrize(
    ("heading", "registry"),
    [
        pytest.param("## Metrics of controllers", controller_registry(), id="controller"),
        pytest.param("## Metrics of executors", executor_registry(), id="executor"),
        pytest.param("## Metrics of the log API", log_api_registry(), id="log-api"),
    ],
)
def test_every_metric_is_listed_with_its_type_its_labels_and_its_meaning(
    heading: str, registry: CollectorRegistry
) -> None:
    section = DOCUMENT.read_text().split(f"\n{heading}\n", 1)[1].split("\n## ", 1)[0]
    listed = [line for line in section.splitlines() if line.startswith("| `")]
    assert listed == list(rows(registry))


def test_every_metric_that_a_page_names_is_there() -> None:
    registries = (controller_registry(), executor_registry(), log_api_registry())
    shown = {name.split("`")[1] for registry in registries for name in rows(registry)}
    named = {
        (name, path.name)
        for path in DOCS.rglob("*.md")
        for name in OURS.findall(path.read_text())
        if name not in NO_METRICS
    }
    assert len(named) > len(shown)
    assert {(name, page) for name, page in named if name not in shown} == set()
