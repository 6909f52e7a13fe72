"""What it costs the controller to place an Execution, as pods and queue grow: a large cluster by simulation.

A real API server, the controller with the chart's rights, and executors that run nothing behind real HTTP, each on an
address of its own (``fake_pods``). All Executions are there when the controller starts, so that it has the whole queue
before it. The cost is its processor time, so that it matters less who else uses the machine: what a start with these
pods and no queue takes is subtracted, and the rest divided by the Executions. ``make bench`` runs it.
"""

import argparse
import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.bed import POOL, Bed, open_bed
from benchmarks.collection import Collection, make_execution
from benchmarks.fake_pods import open_pods
from benchmarks.figures import RESULTS
from controller import names
from tests.integration.controller.cluster import TENANT
from tests.integration.executor.running import open_directory

SLOTS = 4
SIZES = ((10, 100), (10, 1_000), (100, 1_000), (100, 10_000), (1_000, 1_000), (1_000, 10_000))
GOAL = 1.5
"""A placement among the most pods and the longest queue, as a multiple of one among the fewest: ours, for "linear"."""
_TIMEOUT_S = 900.0
_CALM_S = 2.0


@dataclass(frozen=True)
class Size:
    """One simulation; ``start_cpu_s`` is of a start with these pods and nothing to do."""

    pods: int
    queued: int
    start_cpu_s: float
    cpu_s: float
    wall_s: float

    @property
    def cost_ms(self) -> float:
        """The controller's processor time for one Execution, from the list to its end."""
        return (self.cpu_s - self.start_cpu_s) / self.queued * 1000

    def __str__(self) -> str:
        rate = self.queued / self.wall_s
        return (
            f"{self.pods:>6}{self.queued:>10}{self.start_cpu_s:>12.1f}{self.cpu_s:>9.1f}"
            f"{self.cost_ms:>15.2f}{self.wall_s:>9.1f}{rate:>8.0f}"
        )


async def simulate(folder: Path, pods: int, queued: int) -> Size:
    """One size, on an API server of its own."""
    async with open_bed(folder) as bed, open_pods(bed, pods, SLOTS):
        await bed.controller.start()
        start_cpu_s = await _settle(bed, pods)
        await bed.controller.stop()
        async with Collection(bed.api, names.executions_path(TENANT)) as executions:
            bodies = [make_execution() for _ in range(queued)]
            seen = [executions.expect(body["metadata"]["name"]) for body in bodies]
            await executions.create_all(bodies)
            begun = time.perf_counter()
            await bed.controller.start()
            ended = await bed.until(seen, _TIMEOUT_S)
        return Size(pods, queued, start_cpu_s, bed.cpu_s(), ended - begun)


async def _settle(bed: Bed, pods: int) -> float:
    """Processor seconds when it knows all pods and has nothing more to do."""
    path = names.pool_path(POOL)
    while (await bed.cluster.call("GET", path)).get("status", {}).get("freeSlots") != pods * SLOTS:  # noqa: ASYNC110
        await asyncio.sleep(0.2)
    while True:
        before = bed.cpu_s()
        await asyncio.sleep(_CALM_S)
        if bed.cpu_s() - before < 0.1 * _CALM_S:
            return before


def main() -> int:
    """Simulates, prints the table, writes the figures and a chart; 1 when the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="*", help="PODSxQUEUED; by default all", default=[])
    options = parser.parse_args()
    sizes = [tuple(map(int, text.split("x"))) for text in options.sizes] or SIZES
    print(f"{'pods':>6}{'queued':>10}{'start CPU s':>12}{'CPU s':>9}{'ms a placement':>15}{'wall s':>9}{'/s':>8}")
    found = []
    for pods, queued in sizes:
        with open_directory() as folder:
            found.append(asyncio.run(simulate(folder, pods, queued)))
        print(found[-1], flush=True)
    ratio = found[-1].cost_ms / found[0].cost_ms
    print(f"a placement in the last beside one in the first: {ratio:.2f} × (goal ≤ {GOAL:g})")
    RESULTS.mkdir(exist_ok=True)
    rows = [{**asdict(size), "cost_ms": size.cost_ms} for size in found]
    (RESULTS / "placement_scale.json").write_text(json.dumps(rows, indent=2))
    draw(found, RESULTS / "placement_scale.png")
    return 0 if ratio <= GOAL else 1


def draw(found: list[Size], path: Path) -> None:
    """Cost against Executions, a line for each number of pods."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5))
    for pods in sorted({size.pods for size in found}):
        mine = [size for size in found if size.pods == pods]
        axes.plot([size.queued for size in mine], [size.cost_ms for size in mine], marker="o", label=f"{pods} pods")
    axes.set_xscale("log")
    axes.set_xlabel("Executions queued")
    axes.set_ylabel("controller's processor time for each, milliseconds")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main())
