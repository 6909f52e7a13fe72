"""The Control Plane is away for a while under a steady load; afterwards nothing may be missing.

``make outage`` takes ten minutes, a test some seconds. A real API server, controller and executor; the Control Plane
is a recording one, which stops listening and comes back. What is promised: executions go on as before, the
controller's memory stays bounded, and when it is back each result arrives once and whole, the large ones from the
executor's spool. Exits with 1 when one of these is broken.
"""

import argparse
import asyncio
import contextlib
import secrets
import statistics
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from contracts.execution import ExecutionSpec
from sandbox_executor_client import AsyncClient, ClientError, Execution
from tests.fakes.control_plane import FakeControlPlane
from tests.integration.controller.apiserver import ApiServer, apply_crds
from tests.integration.controller.cluster import TENANT, Cluster, Controller, grant_rights
from tests.integration.controller.conftest import make_controller
from tests.integration.executor.running import RunningExecutor, open_directory

WARM_UP_S: Final = 15.0
CATCH_UP_S: Final = 120.0
"""The slowest are tried again each 30 to 60 s, and executors send what they hold each 30 s."""
MEMORY_SLACK_MB: Final = 20.0
MEMORY_PER_RESULT_MB: Final = 0.004
LARGE_EVERY: Final = 20
LARGE_BYTES: Final = 200_000
"""More than a status keeps: the executor holds it until the Control Plane has taken it."""
_SAMPLE_S: Final = 1.0
_SLOTS: Final = 4
_SMALL: Final = "def handler(event):\n    return event\n"
_LARGE: Final = f"def handler(event):\n    print('x' * {LARGE_BYTES}, end='')\n    return event\n"


@dataclass
class Created:
    """One Execution, as it was seen from outside; times are monotonic seconds."""

    number: int
    at: float
    execution_id: str = ""
    phase: str = ""
    ended: float | None = None
    reported: float | None = None

    @property
    def large(self) -> bool:
        """Whether its output is larger than a status keeps."""
        return self.number % LARGE_EVERY == 0


@dataclass
class Outage:
    """All processes, what was created, and what was measured."""

    cluster: Cluster
    client: AsyncClient
    controller: Controller
    executor: RunningExecutor
    control_plane: FakeControlPlane
    created: dict[str, Created] = field(default_factory=dict)
    memory_mb: list[tuple[float, float, float]] = field(default_factory=list)
    """When, of the controller, of the executor."""
    gone: float = 0.0
    back: float = 0.0
    enough: bool = False

    async def load(self, per_second: float) -> None:
        """Creates steadily, until there are ``enough``: one that is cancelled may have been created or not."""
        due = time.monotonic()
        while not self.enough:
            one = Created(len(self.created), time.monotonic())
            name = f"steady-{one.number:05d}"
            self.created[name] = one
            code = _LARGE if one.large else _SMALL
            spec = ExecutionSpec(code=code, language="python", event=one.number, timeout_seconds=60)
            await self.client.create(spec, name=name)
            due += 1 / per_second
            await asyncio.sleep(max(due - time.monotonic(), 0))

    async def follow(self) -> None:
        """Notes when each has ended and is reported, until cancelled."""
        while True:
            with contextlib.suppress(ClientError):
                async for change in self.client.watch():
                    self._see(change.execution)

    def _see(self, execution: Execution) -> None:
        one, now = self.created.get(execution.name), time.monotonic()
        if one is None or not execution.finished:
            return
        one.execution_id, one.phase = execution.execution_id, execution.phase
        one.ended = one.ended or now
        conditions = (execution.raw.get("status") or {}).get("conditions") or []
        if any((item["type"], item["status"]) == ("Reported", "True") for item in conditions):
            one.reported = one.reported or now

    async def sample(self) -> None:
        """Looks at the memory of both, until cancelled."""
        assert self.controller.process is not None
        watched = [psutil.Process(pid) for pid in (self.controller.process.pid, self.executor.process.pid)]
        while True:
            controller, executor = (process.memory_info().rss / 2**20 for process in watched)
            self.memory_mb.append((time.monotonic(), controller, executor))
            await asyncio.sleep(_SAMPLE_S)

    def spooled(self) -> int:
        """Results that the executor holds."""
        return sum(1 for _ in self.executor.results.glob("*.json"))

    def between(self, begun: float, until: float) -> list[Created]:
        """What was created in this time."""
        return [one for one in self.created.values() if begun <= one.at < until]

    def memory_at(self, when: float) -> tuple[float, float]:
        """Of both, the median of the ten samples before a time."""
        before = [sample for sample in self.memory_mb if sample[0] <= when][-10:]
        return statistics.median(item[1] for item in before), statistics.median(item[2] for item in before)


@contextlib.asynccontextmanager
async def open_outage(folder: Path) -> AsyncIterator[Outage]:
    """Everything started; ended again afterwards."""
    server = ApiServer(folder / "apiserver", extra_user="controller")
    server.folder.mkdir()
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(server.stop)
        await asyncio.to_thread(server.start)
        await asyncio.to_thread(apply_crds, server)
        await asyncio.to_thread(grant_rights, server, "controller")
        token = secrets.token_hex(16)
        control_plane = FakeControlPlane(tokens={token})
        await stack.enter_async_context(control_plane)
        (folder / "controller").mkdir()
        controller = make_controller(server, folder / "controller")
        token_file = folder / "controller" / "control-plane"
        token_file.write_text(token)
        stack.push_async_callback(controller.stop)
        await controller.start(CONTROL_PLANE_URL=control_plane.url, CONTROL_PLANE_TOKEN_FILE=str(token_file))
        environment = {
            **controller.executor_environment("pod-1"),
            "MAX_CONCURRENT_EXECUTIONS": str(_SLOTS),
        }
        (folder / "executor").mkdir(mode=0o755)
        executor = RunningExecutor(folder / "executor", environment)
        stack.callback(executor.close)
        port = await asyncio.to_thread(lambda: executor.port)
        cluster = Cluster(server)
        await cluster.create_pool("default")
        await cluster.add_pod("pod-1", "default", port, concurrency=_SLOTS)
        client = await stack.enter_async_context(AsyncClient(TENANT, kubeconfig=str(server.kubeconfig)))
        yield Outage(cluster, client, controller, executor, control_plane)


async def run_outage(seconds: float, per_second: float, folder: Path, warm_up_s: float = WARM_UP_S) -> Outage:
    """Load before, during and after an outage of so many seconds; returns once all is told, or takes too long."""
    async with open_outage(folder) as outage:
        running = [asyncio.create_task(part) for part in (outage.follow(), outage.sample(), outage.load(per_second))]
        try:
            await _pass(warm_up_s, running)
            outage.gone = time.monotonic()
            await outage.control_plane.__aexit__(None, None, None)
            await _pass(seconds, running)
            outage.back = time.monotonic()
            await outage.control_plane.__aenter__()
            await _pass(warm_up_s, running)
            outage.enough = True
            await running.pop()
            deadline = outage.back + CATCH_UP_S
            while time.monotonic() < deadline and not _is_told(outage):
                await _pass(0.2, running)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
    return outage


async def _pass(seconds: float, running: list[asyncio.Task[None]]) -> None:
    """Lets time go by; raises what a task raises."""
    done, _ = await asyncio.wait(running, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


def _is_told(outage: Outage) -> bool:
    return all(one.reported is not None for one in outage.created.values()) and outage.spooled() == 0


def find_broken(outage: Outage) -> list[str]:
    """The promises that were broken, in a sentence each."""
    broken = []
    for name, one in outage.created.items():
        effects = [call for call in outage.control_plane.of("result", one.execution_id) if call.answered == 201]
        others = {call.answered for call in outage.control_plane.of("result", one.execution_id)} - {200, 201}
        if one.phase != "Succeeded":
            broken.append(f"{name} ended {one.phase or 'never'}")
        elif one.reported is None:
            broken.append(f"{name} is not Reported")
        elif len(effects) != 1 or others:
            broken.append(f"the Control Plane has heard of {name} {len(effects)} times, and answered {others}")
        elif effects[0].body["return_value"] != one.number:
            broken.append(f"the Control Plane has heard something else of {name}")
        elif one.large and len(effects[0].body["stdout"]) != LARGE_BYTES:
            broken.append(f"of {name} the Control Plane has {len(effects[0].body['stdout'])} bytes of output")
    if outage.spooled():
        broken.append(f"the executor still holds {outage.spooled()} results")
    grown = outage.memory_at(outage.back)[0] - outage.memory_at(outage.gone)[0]
    allowed = MEMORY_SLACK_MB + MEMORY_PER_RESULT_MB * len(outage.between(outage.gone, outage.back))
    if grown > allowed:
        broken.append(f"the controller has grown by {grown:.0f} MiB, {allowed:.0f} are allowed")
    before, during = _p95(outage.between(0, outage.gone)), _p95(outage.between(outage.gone, outage.back))
    if during > 2 * before + 1:
        broken.append(f"executions took {during:.2f} s (p95), {before:.2f} s before the outage")
    return broken


def _p95(created: list[Created]) -> float:
    took = sorted(one.ended - one.at for one in created if one.ended is not None)
    return took[int(0.95 * (len(took) - 1))] if took else float("inf")


def describe(outage: Outage) -> str:
    """A table for people."""
    during = outage.between(outage.gone, outage.back)
    told = sorted(one.reported - outage.back for one in during if one.reported is not None)
    answers = Counter(call.answered for call in outage.control_plane.of("result"))
    rows = {
        "the Control Plane was away": f"{outage.back - outage.gone:.0f} s",
        "Executions in all, meanwhile": f"{len(outage.created)}, {len(during)}",
        "of these larger than a status keeps": str(sum(one.large for one in during)),
        "created to ended, p95: before, meanwhile": (
            f"{_p95(outage.between(0, outage.gone)):.2f} s, {_p95(during):.2f} s"
        ),
        "controller's memory: before, at the end": " MiB, ".join(
            f"{outage.memory_at(when)[0]:.0f}" for when in (outage.gone, outage.back)
        )
        + f" MiB, at most {max(item[1] for item in outage.memory_mb):.0f} MiB",
        "executor's memory: before, at the end": " MiB, ".join(
            f"{outage.memory_at(when)[1]:.0f}" for when in (outage.gone, outage.back)
        )
        + " MiB",
        "told after the return: half, 99 %, all": (
            ", ".join(f"{told[int(part * (len(told) - 1))]:.1f} s" for part in (0.5, 0.99, 1.0)) if told else "none"
        ),
        "answers to results": ", ".join(f"{count} × {answer}" for answer, count in answers.items()),
    }
    return "\n".join(f"{what:<44}{value}" for what, value in rows.items())


async def _measure(minutes: float, per_second: float, folder: Path) -> int:
    outage = await run_outage(minutes * 60, per_second, folder)
    broken = find_broken(outage)
    print(describe(outage))
    print("\n".join(broken) or "nothing was lost")
    return 1 if broken else 0


def main() -> int:
    """Measures and tells; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--per-second", type=float, default=2)
    options = parser.parse_args()
    with open_directory() as folder:
        return asyncio.run(_measure(options.minutes, options.per_second, folder))


if __name__ == "__main__":
    sys.exit(main())
