"""A real Prometheus that has scraped a real controller and a real executor while Executions ran.

It is asked afterwards, about the moment when all of them had ended; the others have gone by then.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from contracts.execution import TERMINAL_PHASES
from controller import names
from tests.fakes.control_plane import FakeControlPlane
from tests.integration.controller.apiserver import ApiServer, free_port
from tests.integration.controller.cluster import NAMESPACE, TENANT, Cluster, Controller
from tests.integration.controller.conftest import api_server, make_controller
from tests.integration.executor.running import RunningExecutor, open_directory, run_executor, wait_until_warm
from tests.integration.monitoring.prometheus import Prometheus
from tests.patience import PATIENCE_S
from tests.unit.chart.conftest import Render, Rendered, render, run_helm

__all__ = ["api_server", "render", "run_helm"]

TOKEN = "the-control-planes-token"
OUTPUT_CUT_BY_THE_STATUS = 70_000
FREE_SLOTS = 'sandbox_controller_pool_slots{pool="default",state="free"}'
MONITORING = (
    "metrics.serviceMonitor.enabled=true",
    "metrics.podMonitor.enabled=true",
    "metrics.prometheusRule.enabled=true",
    "metrics.dashboard.enabled=true",
    'metrics.networkPolicy.from=[{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"monitoring"}}}]',
)
EXECUTIONS: dict[str, dict[str, Any]] = {
    "returns": {"code": "def handler(event): return 1"},
    "returns-too": {"code": "def handler(event): return 2"},
    "raises": {"code": "def handler(event): raise ValueError"},
    "prints": {"code": f"def handler(event): print('x' * {OUTPUT_CUT_BY_THE_STATUS})"},
    "slow": {"code": "import time\ndef handler(event): time.sleep(9)", "timeoutSeconds": 1},
    "script": {"code": "console.log('hello')", "language": "javascript"},
    "shell": {"code": "echo hello", "language": "shell"},
}


@dataclass(frozen=True)
class Scraped:
    """What was scraped, and when all was over."""

    prometheus: Prometheus
    at: float

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The vector at that moment."""
        return self.prometheus.query(expression, self.at)

    def number(self, expression: str) -> float:
        """The only value at that moment."""
        (found,) = self.query(expression)
        return float(found["value"][1])


@pytest.fixture(scope="session")
def monitored(render: Render) -> Rendered:
    """The chart with all of its monitoring."""
    return render(*MONITORING)


@pytest.fixture(scope="session")
def scraped(api_server: ApiServer, monitored: Rendered, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    """Prometheus, with what it scraped while the Executions ran."""
    folder = tmp_path_factory.mktemp("prometheus")
    controller = make_controller(api_server, tmp_path_factory.mktemp("controller"))
    started: list[Prometheus] = []
    try:
        yield asyncio.run(_run(controller, monitored, folder, started))
    finally:
        for prometheus in started:
            prometheus.stop()


async def _run(controller: Controller, chart: Rendered, folder: Path, started: list[Prometheus]) -> Scraped:
    cluster = Cluster(controller.server)
    async with FakeControlPlane(tokens={TOKEN}) as control_plane:
        token = controller.folder / "control-plane-token"
        token.write_text(TOKEN)
        await controller.start(CONTROL_PLANE_URL=control_plane.url, CONTROL_PLANE_TOKEN_FILE=str(token))
        try:
            with open_directory() as directory, run_executor(directory, **_environment(controller)) as executor:
                port = await asyncio.to_thread(lambda: executor.port)
                await cluster.create_pool("default")
                await cluster.add_pod("pod-1", "default", port, concurrency=2)
                prometheus = Prometheus(folder, free_port(), _config(controller, port, chart, folder))
                started.append(prometheus)
                await asyncio.to_thread(prometheus.start)
                return await _work(cluster, executor, prometheus)
        finally:
            await controller.stop()


def _environment(controller: Controller) -> dict[str, str]:
    return {
        **controller.executor_environment("pod-1"),
        "WARM_SANDBOXES": "1",
    }


def _config(controller: Controller, executor_port: int, chart: Rendered, folder: Path) -> dict[str, Any]:
    """As the Prometheus operator would make it of the chart's objects, but for the discovery of pods."""
    rules = folder / "rules.yaml"
    rules.write_text(yaml.safe_dump(chart.all("PrometheusRule")[0]["spec"]))
    (controllers,) = chart.all("ServiceMonitor")[0]["spec"]["endpoints"]
    (executors,) = chart.all("PodMonitor")[0]["spec"]["podMetricsEndpoints"]
    (pool,) = [rule["targetLabel"] for rule in executors["relabelings"]]
    return {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": [
            _job("controllers", controllers, controller.health_port, pod="controller-1"),
            _job("executors", executors, executor_port, pod="pod-1", **{pool: "default"}),
        ],
    }


def _job(name: str, endpoint: dict[str, Any], port: int, **labels: str) -> dict[str, Any]:
    return {
        "job_name": name,
        "metrics_path": endpoint["path"],
        "scheme": endpoint["scheme"],
        "honor_labels": endpoint.get("honorLabels", False),
        "static_configs": [{"targets": [f"127.0.0.1:{port}"], "labels": {"namespace": NAMESPACE, **labels}}],
    }


async def _work(cluster: Cluster, executor: RunningExecutor, prometheus: Prometheus) -> Scraped:
    async with executor.client() as client:
        await wait_until_warm(client, 1)
        await _until(lambda: len(prometheus.query("count_over_time(up[1m]) > 1 and up == 1")) == 2, "both are scraped")
        refused = await client.post("/execute", json={})
        assert refused.status_code == 401
        await _execute(cluster)
        ended = time.time()
        return await _wait_until_calm(prometheus, ended)


async def _wait_until_calm(prometheus: Prometheus, ended: float) -> Scraped:
    """Until both were scraped after the end, the slots are seen to be free, and no rule is about to fire."""
    calm = (f"count(timestamp(up == 1) > {ended}) == 2", f"{FREE_SLOTS} == 2", "absent(ALERTS)")
    found: list[float] = []

    def look() -> bool:
        found.append(time.time())
        return all(prometheus.query(expression, found[-1]) for expression in calm)

    await _until(look, "all is scraped and calm")
    return Scraped(prometheus, found[-1])


async def _execute(cluster: Cluster) -> None:
    for name, spec in EXECUTIONS.items():
        await cluster.create_execution(name, **spec)
    for name in EXECUTIONS:
        await cluster.wait_for_phase(name, *TERMINAL_PHASES)
    for name in EXECUTIONS:
        await _until(partial(_is_told, cluster, names.execution_path(TENANT, name)), f"{name} is told")


def _is_told(cluster: Cluster, path: str) -> bool:
    conditions = cluster.server.request("GET", path)["status"]["conditions"]
    return any(item["type"] == "Reported" and item["status"] == "True" for item in conditions)


async def _until(check: Callable[[], bool], what: str, timeout_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not await asyncio.to_thread(check):
        assert time.monotonic() < deadline, f"waited {timeout_s} s until {what}"
        await asyncio.sleep(0.1)
