"""How near an executor is to the floor: ratios within one run, with sandboxes started ahead and without.

``make bench-executor`` runs it after the figures of ``executor_latency``. The floor is ``benchmarks.floor``, measured
in turn with what stands beside it, so that whatever else the machine does meets both. One client on loopback, whose own
time is part of each figure. Writes ``benchmarks/results/executor_speed.json`` and a chart beside it.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import psutil

from benchmarks.executor_latency import HELLO, make_request
from benchmarks.figures import Row, keep, p95, show
from benchmarks.floor import Floor
from tests.integration.executor.running import RunningExecutor, open_directory, run_executor

SLOTS = 16
CODE = {"python": HELLO, "javascript": "console.log('hello')\n", "shell": "echo hello\n"}
GOALS = {"warm": (0.40, 0.65), "cold": (1.3, 1.8)}
"""p50 and p95 as multiples of the floor's median."""
THROUGHPUT_GOAL = 0.9
IDLE_GOAL_MB, WARM_GOAL_MB = 80.0, 6.0
PROGRAM_GOAL_MB = 50.0
PROGRAMS = 2
"""Sandboxes in which node waits."""


class Client:
    """One client of one executor."""

    def __init__(self, executor: RunningExecutor, client: httpx.AsyncClient) -> None:
        self.executor, self._client = executor, client

    async def run(self, language: str = "python") -> float:
        """Milliseconds from request to response."""
        begun = time.perf_counter()
        answer = await self._client.post("/execute", json={**make_request(CODE[language]), "language": language})
        taken_ms = (time.perf_counter() - begun) * 1000
        if answer.json()["status"] != "success":
            raise RuntimeError(f"an execution has failed: {answer.text[:300]}")
        return taken_ms

    async def run_many(self, count: int, in_flight: int) -> float:
        """Executions a second."""
        places = asyncio.Semaphore(in_flight)

        async def run_one() -> None:
            async with places:
                await self.run()

        begun = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(run_one())
        return count / (time.perf_counter() - begun)

    def memory_mb(self) -> tuple[float, float]:
        """(resident of the executor, proportional of all that it has started)."""
        process = psutil.Process(self.executor.process.pid)
        started = sum(child.memory_full_info().pss for child in process.children(recursive=True))
        return process.memory_info().rss / 1e6, started / 1e6


@asynccontextmanager
async def open_client(directory: Path, warm: int) -> AsyncIterator[Client]:
    """An executor with so many sandboxes started ahead."""
    settings = {"WARM_SANDBOXES": str(warm), "WARM_JAVASCRIPT": str(PROGRAMS if warm else 0)}
    with run_executor(directory, MAX_CONCURRENT_EXECUTIONS=str(SLOTS), **settings) as executor:
        async with executor.client() as client:
            await asyncio.sleep(2)
            yield Client(executor, client)


async def measure(base: Path, count: int, pause_s: float) -> tuple[list[Row], dict[str, list[float]]]:
    """The rows, and the samples behind them in milliseconds."""
    floor = Floor(base)
    rows: list[Row] = []
    samples: dict[str, list[float]] = {}
    memory: dict[int, tuple[float, float]] = {}
    for kind, warm in (("cold", 0), ("warm", 4)):
        directory = base / kind
        directory.mkdir()
        directory.chmod(0o755)
        async with open_client(directory, warm) as client:
            memory[warm] = client.memory_mb()
            for language in CODE:
                if language == "javascript":
                    await client.run(language)  # the first one asks for more
                    await asyncio.sleep(1)
                floors, taken = await _in_turn(floor, client, language, count, pause_s)
                samples[f"floor {language}, beside {kind}"], samples[f"{kind} {language}"] = floors, taken
                rows += _latencies(kind, language, floors, taken)
            if warm:
                await asyncio.sleep(1)
                with_programs = client.memory_mb()
                rate = statistics.median([await client.run_many(count * 2, SLOTS) for _ in range(3)])
                bare = statistics.median([floor.run_many(count * 2) for _ in range(3)])
                rows.append(
                    Row("executions a second, 16 in flight", rate, "/s", bare, rate / bare, THROUGHPUT_GOAL, True)
                )
    rows.append(Row("resident, idle, without warm sandboxes", memory[0][0], "MB", 0, memory[0][0], IDLE_GOAL_MB))
    each = (memory[4][1] - memory[0][1]) / 4
    rows.append(Row("proportional memory of a warm sandbox", each, "MB", 0, each, WARM_GOAL_MB))
    each = (with_programs[1] - memory[4][1]) / PROGRAMS
    rows.append(Row("the same, with node waiting in it", each, "MB", 0, each, PROGRAM_GOAL_MB))
    return rows, samples


async def _in_turn(
    floor: Floor, client: Client, language: str, count: int, pause_s: float
) -> tuple[list[float], list[float]]:
    floors, taken = [], []
    for _ in range(count):
        floors.append(await asyncio.to_thread(floor.run, language))
        await asyncio.sleep(pause_s)
        taken.append(await client.run(language))
    return floors, taken


def _latencies(kind: str, language: str, floors: list[float], taken: list[float]) -> list[Row]:
    bare = statistics.median(floors)
    rows = []
    for name, value, goal in zip(("p50", "p95"), (statistics.median(taken), p95(taken)), GOALS[kind], strict=True):
        rows.append(Row(f"{kind}, {language}, request to response, {name}", value, "ms", bare, value / bare, goal))
    return rows


def main() -> int:
    """Measures, prints the table, writes the figures and the chart; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100, help="samples of each latency")
    parser.add_argument("--pause", type=float, default=0.02, help="seconds between two requests that are timed")
    options = parser.parse_args()
    with open_directory() as directory:
        rows, samples = asyncio.run(measure(directory, options.count, options.pause))
    show(rows)
    keep("executor_speed", rows, samples)
    return 0 if all(row.held for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
