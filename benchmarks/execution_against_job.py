"""Executions on a cluster beside a Kubernetes Job that prints the same line, and beside an operator that does nothing.

Creation to end as a watcher sees it, one at a time and in turn, so that a noisy machine disturbs all; then a burst of
each. The null operator (``null_operator``) runs in a pod of the controller's image, as the controller does. The pool is
the benchmark's own: two pods of four slots. Writes rows and samples to ``benchmarks/results/``.
"""

import argparse
import asyncio
import statistics
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.collection import Api, Collection, Object, make_execution, make_name, make_spec, open_api
from benchmarks.figures import Row, keep, p95, show
from benchmarks.null_kind import make_null, open_pod
from benchmarks.null_operator import collection_path
from benchmarks.processor_time import Look
from benchmarks.processor_time import show as show_time
from contracts.kube import API_VERSION, POOL_KIND
from controller import names

JOB_GOAL, BURST_GOAL, NULL_GOAL = 50.0, 20.0, 1.6
PODS, SLOTS, BURST = 2, 4, 100
_READY_S = 180.0
_BURST_S = 600.0


def make_job(image: str) -> Object:
    """A Job that prints the same line with the same interpreter."""
    container = {
        "name": "hello",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-I", "-S", "-c", "print('hello')"],
    }
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    metadata = {"name": make_name("job")}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": template}}


@asynccontextmanager
async def open_pool(api: Api) -> AsyncIterator[str]:
    """A pool of the benchmark's own whose pods all take work; removed afterwards."""
    pools = Collection(api, names.pools_path())
    name = make_name("bench")
    requests = {"cpu": "100m", "memory": "128Mi"}
    spec = {"replicas": PODS, "concurrency": SLOTS, "resources": {"requests": requests}}
    await pools.call(
        "POST", body={"apiVersion": API_VERSION, "kind": POOL_KIND, "metadata": {"name": name}, "spec": spec}
    )
    try:
        async with asyncio.timeout(_READY_S):
            while (await pools.call("GET", name)).get("status", {}).get("readyReplicas") != PODS:  # noqa: ASYNC110
                await asyncio.sleep(0.5)
        yield name
    finally:
        await pools.call("DELETE", name)


@asynccontextmanager
async def open_namespace(api: Api) -> AsyncIterator[str]:
    """A namespace of the benchmark's own, removed afterwards."""
    namespaces = Collection(api, "/api/v1/namespaces")
    name = make_name("bench")
    await namespaces.call("POST", body={"metadata": {"name": name}})
    try:
        yield name
    finally:
        await namespaces.call("DELETE", name)


async def measure(options: Any) -> tuple[list[Row], dict[str, list[float]]]:
    """The rows, and the samples behind them in milliseconds."""
    async with (
        open_api() as api,
        open_namespace(api) as namespace,
        open_pool(api) as pool,
        open_pod(api, namespace, options.controller_image),
        Collection(api, collection_path(namespace)) as nulls,
        Collection(api, names.executions_path(namespace)) as executions,
        Collection(api, f"/apis/batch/v1/namespaces/{namespace}/jobs") as jobs,
    ):
        await _warm_up(nulls, executions, jobs, pool, options.image)
        found: dict[str, list[float]] = {"null operator": [], "Execution": [], "Job": []}
        for number in range(options.executions):
            found["null operator"].append(await nulls.time_one(make_null(make_spec())))
            found["Execution"].append(await executions.time_one(make_execution(pool=pool)))
            if number % (options.executions // options.jobs) == 0:
                found["Job"].append(await jobs.time_one(make_job(options.image)))
        show(make_latency_rows(found))
        before = Look.now()
        bursts = [
            await executions.time_burst([make_execution(pool=pool) for _ in range(BURST)], _BURST_S)
            for _ in range(options.bursts)
        ]
        print(f"processor time for each of {BURST * options.bursts} Executions in bursts:")
        show_time(*before.until(Look.now()), BURST * options.bursts)
        job_burst_s = await jobs.time_burst([make_job(options.image) for _ in range(BURST)], _BURST_S)
    rate, job_rate = BURST / statistics.median(bursts), BURST / job_burst_s
    burst = Row(f"burst of {BURST}, a second, beside Jobs", rate, "/s", job_rate, rate / job_rate, BURST_GOAL, True)
    return [*make_latency_rows(found), burst], found


async def _warm_up(nulls: Collection, executions: Collection, jobs: Collection, pool: str, image: str) -> None:
    for _ in range(10):
        await nulls.time_one(make_null(make_spec()))
        await executions.time_one(make_execution(pool=pool))
    await jobs.time_one(make_job(image))


def make_latency_rows(found: dict[str, list[float]]) -> list[Row]:
    """One at a time."""
    null, ours, job = (statistics.median(found[key]) for key in ("null operator", "Execution", "Job"))
    worst, null_worst = p95(found["Execution"]), p95(found["null operator"])
    return [
        Row("create → Finished, p50, beside a null operator", ours, "ms", null, ours / null, NULL_GOAL),
        Row("the same, p95", worst, "ms", null_worst, worst / null_worst, float("inf")),
        Row("create → Finished, p50: so often faster than a Job", ours, "ms", job, job / ours, JOB_GOAL, True),
    ]


def main() -> int:
    """Measures, prints the table, writes figures and chart; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", required=True, help="image of the Job; it needs python3")
    parser.add_argument("--controller-image", required=True, help="image of the null operator: the controller's")
    parser.add_argument("--executions", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=10)
    parser.add_argument("--bursts", type=int, default=3, help="of Executions; of Jobs there is one")
    rows, samples = asyncio.run(measure(parser.parse_args()))
    show(rows)
    keep("execution_against_job", rows, samples)
    return 0 if all(row.held for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
