"""Creation to Finished as a watcher sees it, beside an operator that only patches the status twice.

Without a cluster: the API server, the controller with the chart's rights, one executor with real sandboxes, one that
runs nothing, and the null operator, each a process of this machine, and no kubelet. One at a time, all in turn.
``make bench`` runs it.
"""

import argparse
import asyncio
import statistics
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from benchmarks.bed import Bed, end, open_bed
from benchmarks.collection import Collection, make_execution, make_spec
from benchmarks.fake_pods import open_pods
from benchmarks.figures import Row, keep, p95, show
from benchmarks.null_kind import make_crd, make_null
from benchmarks.null_operator import collection_path
from controller import names
from tests.integration.controller.apiserver import apply_crd
from tests.integration.controller.cluster import TENANT
from tests.integration.executor.running import open_directory

GOAL = 1.6
"""Of the medians."""
SLOTS = 4
WARM_UP = 20
HOLLOW = "hollow"
"""The pool of an executor that runs nothing: what is left is the controller's and the API server's part."""


async def measure(folder: Path, count: int, pause_s: float) -> tuple[list[Row], dict[str, list[float]]]:
    """The rows, and the samples behind them in milliseconds."""
    async with open_bed(folder) as bed:
        apply_crd(bed.server, make_crd())
        await bed.cluster.create_pool(HOLLOW)
        await bed.controller.start()
        async with AsyncExitStack() as stack:
            stack.callback((await bed.add_executor("pod-1", SLOTS)).close)
            stack.callback(end, bed.start("benchmarks.null_operator"))
            await stack.enter_async_context(open_pods(bed, 1, SLOTS, HOLLOW))
            found = await _in_turn(bed, count, pause_s)
    rows = []
    for name, find in (("p50", statistics.median), ("p95", p95)):
        floor, hollow, ours = (find(samples) for samples in found.values())
        goal = GOAL if name == "p50" else float("inf")
        rows.append(Row(f"create → Finished, {name}, beside a null operator", ours, "ms", floor, ours / floor, goal))
        rows.append(Row(f"of it without a sandbox, {name}", hollow, "ms", floor, hollow / floor, float("inf")))
    return rows, found


async def _in_turn(bed: Bed, count: int, pause_s: float) -> dict[str, list[float]]:
    floors: list[float] = []
    hollow: list[float] = []
    ours: list[float] = []
    async with (
        Collection(bed.api, collection_path(TENANT)) as nulls,
        Collection(bed.api, names.executions_path(TENANT)) as executions,
    ):
        for _ in range(WARM_UP + count):
            for taken, collection, body in (
                (floors, nulls, make_null(make_spec())),
                (hollow, executions, make_execution(pool=HOLLOW)),
                (ours, executions, make_execution()),
            ):
                await asyncio.sleep(pause_s)
                taken.append(await collection.time_one(body))
    return {
        "null operator": floors[WARM_UP:],
        "Execution, an executor that runs nothing": hollow[WARM_UP:],
        "Execution": ours[WARM_UP:],
    }


def main() -> int:
    """Measures, prints the table, writes figures and chart; 1 when the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="samples of each")
    parser.add_argument("--pause", type=float, default=0.02, help="seconds before each that is timed")
    options = parser.parse_args()
    with open_directory() as folder:
        rows, samples = asyncio.run(measure(folder, options.count, options.pause))
    show(rows)
    keep("execution_latency", rows, samples)
    return 0 if all(row.held for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
