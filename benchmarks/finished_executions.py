"""What Executions that have ended cost those that come after them: latency, memory, and the start of a controller.

Without a cluster: the API server, the controller with the chart's rights, and executors that run nothing, so that
the figures are of the controller's way alone. ``make bench`` runs it.
"""

import argparse
import asyncio
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.bed import Bed, open_bed
from benchmarks.collection import Collection, is_placed, make_execution
from benchmarks.fake_pods import open_pods
from benchmarks.figures import Row, keep, show
from controller import names
from tests.integration.controller.cluster import TENANT
from tests.integration.executor.running import open_directory

PODS, SLOTS = 2, 16
LATENCY_GOAL, MEMORY_GOAL_BYTES, START_GOAL = 1.2, 2048.0, 2.0
_CHUNK = 250
_SETTLE_S = 3.0


@dataclass
class Measured:
    """Samples with so many ended Executions in the namespace, and with none."""

    latency_ms: dict[str, list[float]] = field(default_factory=lambda: {"none": [], "many": []})
    start_ms: dict[str, list[float]] = field(default_factory=lambda: {"none": [], "many": []})
    memory_bytes: list[tuple[int, int]] = field(default_factory=list)
    """How many the controller has seen to their end, and how much it holds then."""


async def measure(folder: Path, finished: int, count: int, starts: int) -> Measured:
    """All samples: none, many, none again, so that a machine that grows slower or faster meets both."""
    found = Measured()
    async with open_bed(folder) as bed, open_pods(bed, PODS, SLOTS):
        await _start(bed, found.start_ms["none"], (starts + 1) // 2)
        async with Collection(bed.api, names.executions_path(TENANT)) as executions:
            await executions.time_burst([make_execution() for _ in range(_CHUNK)])
            await executions.remove_all()
            found.latency_ms["none"] += await _sample(executions, (count + 1) // 2)
            await _fill(bed, executions, finished, found.memory_bytes)
            found.latency_ms["many"] += await _sample(executions, count)
            await bed.controller.stop()
            await _start(bed, found.start_ms["many"], starts)
            await executions.remove_all()
            found.latency_ms["none"] += await _sample(executions, count // 2)
            await executions.remove_all()
            await bed.controller.stop()
            await _start(bed, found.start_ms["none"], starts // 2)
    return found


async def _sample(executions: Collection, count: int) -> list[float]:
    await asyncio.sleep(_SETTLE_S)
    return [await executions.time_one(make_execution()) for _ in range(count)]


async def _fill(bed: Bed, executions: Collection, finished: int, memory: list[tuple[int, int]]) -> None:
    """Runs so many to their end, and looks at the controller's memory on the way."""
    for done in range(0, finished, _CHUNK):
        await executions.time_burst([make_execution() for _ in range(min(_CHUNK, finished - done))])
        memory.append((done + _CHUNK, bed.memory_bytes()))


async def _start(bed: Bed, samples: list[float], count: int) -> None:
    """Starts the controller so often, with an Execution that waits for it; it stays the last time."""
    async with Collection(bed.api, names.executions_path(TENANT), is_placed) as executions:
        for _ in range(count):
            if bed.controller.process is not None:
                await bed.controller.stop()
            body = make_execution()
            placed = executions.expect(body["metadata"]["name"])
            await executions.create(body)
            begun = time.perf_counter()
            await bed.controller.start()
            samples.append((await executions.wait(placed) - begun) * 1000)


def make_rows(found: Measured, finished: int) -> list[Row]:
    """The goals of the issue."""
    none, many = (statistics.median(found.latency_ms[key]) for key in ("none", "many"))
    cold, late = (statistics.median(found.start_ms[key]) for key in ("none", "many"))
    each = grow_bytes(found.memory_bytes)
    return [
        Row(f"create → Finished, p50, with {finished} ended ones", many, "ms", none, many / none, LATENCY_GOAL),
        Row("controller's memory for each ended one", each, "B", 0, each, MEMORY_GOAL_BYTES),
        Row(f"start → first placement, p50, with {finished} ended", late, "ms", cold, late / cold, START_GOAL),
    ]


def grow_bytes(memory: list[tuple[int, int]]) -> float:
    """Bytes for each more, from the first look to the last."""
    (few, before), (many, after) = memory[0], memory[-1]
    return (after - before) / (many - few)


def main() -> int:
    """Measures, prints the table, writes figures and chart; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--finished", type=int, default=5000)
    parser.add_argument("--count", type=int, default=200, help="samples of each latency")
    parser.add_argument("--starts", type=int, default=6, help="starts of the controller, of each kind")
    options = parser.parse_args()
    with open_directory() as folder:
        found = asyncio.run(measure(folder, options.finished, options.count, options.starts))
    rows = make_rows(found, options.finished)
    show(rows)
    samples = {
        **{f"latency, {key} ended": values for key, values in found.latency_ms.items()},
        **{f"start, {key} ended": values for key, values in found.start_ms.items()},
    }
    keep("finished_executions", rows, samples, more={"memory_bytes": found.memory_bytes})
    return 0 if all(row.held for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
