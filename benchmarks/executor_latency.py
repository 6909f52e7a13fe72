"""What an executor costs: the figures of T103, T104 and SC-001, -002, -008, beside the floor of the same run.

``make bench-executor`` starts a real executor on loopback with real bubblewrap and a recording Control Plane. The floor
is the same bwrap command line with ``python3 -I -S -c pass`` inside, without a service: no executor can be faster.
Machines differ, and so do hours on one machine; the ratio to the floor does not as much. On a machine so busy that
the floor alone takes most of T103's 50 ms, the figures in milliseconds say little, and it says so.
"""

import argparse
import asyncio
import itertools
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.figures import RESULTS, p95
from benchmarks.floor import Floor
from tests.fakes.control_plane import FakeControlPlane
from tests.integration.executor.running import RunningExecutor, open_directory, run_executor

BLOCKS = 10
QUIET_FLOOR_P95_MS = 30.0
"""Above it the machine does other things, and no figure in milliseconds can be told from them."""

HELLO = "def handler(event):\n    print('hello')\n    return event\n"
TIMED = """
import time

def handler(event):
    begun = time.perf_counter()
    sum(range(100_000))
    return time.perf_counter() - begun
"""
FILES = """
import time

def handler(event):
    begun = time.perf_counter()
    for number in range(1000):
        with open(f'{number}.txt', 'w') as file:
            file.write('x')
    return time.perf_counter() - begun
"""
SLEEPS = "import time\ndef handler(event):\n    time.sleep(60)\n"
_numbers = itertools.count()


@dataclass(frozen=True)
class Figure:
    """One line: what was measured, in which unit, and the most that is good."""

    name: str
    unit: str
    value: float
    goal: float | None = None

    @property
    def held(self) -> bool:
        """Whether it is as good as it should be."""
        return self.goal is None or self.value <= self.goal

    def __str__(self) -> str:
        goal = "" if self.goal is None else f"≤ {self.goal:g}"
        return f"{self.name:<58}{self.value:>9.1f} {self.unit:<4}{goal:>8}  {'' if self.held else 'MISSED'}"


def make_request(code: str, **fields: Any) -> dict[str, Any]:
    """With an id of its own."""
    return {"code": code, "language": "python", "execution_id": f"exec_20260115_b{next(_numbers):07d}", **fields}


class Bench:
    """One executor, its client, and its Control Plane."""

    def __init__(self, executor: RunningExecutor, client: httpx.AsyncClient, control_plane: FakeControlPlane) -> None:
        self.executor, self.client, self.control_plane = executor, client, control_plane

    async def run(self, request: dict[str, Any]) -> tuple[dict[str, Any], float]:
        """(the result, milliseconds from request to response)."""
        begun = time.perf_counter()
        answer = await self.client.post("/execute", json=request)
        taken_ms = (time.perf_counter() - begun) * 1000
        answer.raise_for_status()
        return answer.json(), taken_ms

    async def report_ms(self, request: dict[str, Any]) -> float:
        """From the answer to the client to the report's arrival."""
        await self.run(request)
        answered = time.monotonic()
        (call,) = await self.control_plane.wait_for("result", 1, request["execution_id"])
        return max(call.at - answered, 0.0) * 1000

    def memory_mb(self) -> float:
        """Resident, MB as the figure counts them."""
        return psutil.Process(self.executor.process.pid).memory_info().rss / 1e6


@asynccontextmanager
async def open_bench(directory: Path) -> AsyncIterator[tuple[Bench, float]]:
    """A bench, and the seconds from the executor's start to ``container_ready``."""
    async with FakeControlPlane() as control_plane:
        environment = {"CONTROL_PLANE_URL": control_plane.url, "INTERNAL_API_TOKEN": "token-of-the-benchmark"}
        with run_executor(directory, **environment) as executor:
            (ready,) = await control_plane.wait_for("ready", timeout_s=20)
            async with executor.client() as client:
                yield Bench(executor, client, control_plane), ready.at - executor.started_at


async def measure(directory: Path, count: int) -> list[Figure]:
    """All figures, in about ``count`` / 10 seconds and 10 more."""
    floor = Floor(directory)
    async with open_bench(directory) as (bench, ready_s):
        await asyncio.sleep(1)
        idle_mb = bench.memory_mb()
        for _ in range(10):
            await bench.run(make_request(HELLO))
            floor.run()
        floors, hellos, overheads, reports = [], [], [], []
        for _ in range(BLOCKS):  # floor and service in turn: what else the machine does meets both
            for _ in range(count // BLOCKS):
                floors.append(floor.run())
                hellos.append((await bench.run(make_request(HELLO)))[1])
                timed, taken_ms = await bench.run(make_request(TIMED))
                overheads.append(taken_ms - timed["return_value"] * 1000)
                reports.append(await bench.report_ms(make_request(HELLO)))
        listings, latenesses = [], []
        for _ in range(5):
            made, taken_ms = await bench.run(make_request(FILES))
            listings.append(taken_ms - made["return_value"] * 1000)
            if len(made["artifacts"]) != 1000:
                raise RuntimeError(f"{len(made['artifacts'])} of 1000 artifacts were listed")
            ended = (await bench.run(make_request(SLEEPS, timeout=1)))[0]
            latenesses.append(abs(ended["execution_time"] - 1) * 1000)
        loaded_mb = bench.memory_mb()
    return [
        Figure("floor: bwrap with python3 -I -S -c pass, p50", "ms", statistics.median(floors)),
        Figure("floor, p95", "ms", p95(floors)),
        Figure("hello world, request to response, p50", "ms", statistics.median(hellos)),
        Figure("hello world, request to response, p95 (SC-001)", "ms", p95(hellos), 100),
        Figure("overhead over the handler's own time, p50", "ms", statistics.median(overheads)),
        Figure("overhead over the handler's own time, p95 (T103)", "ms", p95(overheads), 50),
        Figure(
            "overhead against the floor, ratio of the medians",
            "×",
            statistics.median(overheads) / statistics.median(floors),
        ),
        Figure("answer to report at the Control Plane, p95 (SC-002)", "ms", p95(reports), 200),
        Figure("1,000 artifacts listed, overhead in all, most (SC-008)", "ms", max(listings), 1000),
        Figure("timeout of 1 s, most that it was off (T019)", "ms", max(latenesses), 100),
        Figure("start to container_ready (T067)", "s", ready_s, 2),
        Figure("resident memory, idle (T104)", "MB", idle_mb, 100),
        Figure("resident memory after the runs", "MB", loaded_mb),
    ]


def main() -> int:
    """Measures, prints the table, writes the figures; 1 when one is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="samples of each latency")
    options = parser.parse_args()
    with open_directory() as directory:
        figures = asyncio.run(measure(directory, options.count))
    for figure in figures:
        print(figure)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "executor_latency.json").write_text(json.dumps([asdict(figure) for figure in figures], indent=2))
    floor_p95_ms = figures[1].value
    if floor_p95_ms > QUIET_FLOOR_P95_MS:
        print(f"the machine is busy: the floor alone has a p95 of {floor_p95_ms:.0f} ms; look at the ratio")
    return 0 if all(figure.held for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
