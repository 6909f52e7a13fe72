"""Executors that run nothing, as many as a large cluster has, in a process of their own.

``python -m benchmarks.fake_pods --count 1000 --control-plane URL``. Each listens on an address of its own in
127.0.0.0/8, answers over real HTTP and reports the end of what it was given at once. Writes a line of JSON with the
addresses and ports when all listen, and ends when its input does.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from benchmarks.bed import POOL, Bed, end
from benchmarks.collection import Collection
from controller import names
from tests.fakes.executor import FakeExecutor
from tests.integration.controller.apiserver import free_port
from tests.integration.controller.cluster import NAMESPACE, STRATEGIC_MERGE, make_pod, make_pod_status

Address = tuple[str, int]
_AT_A_TIME = 8


async def serve(count: int, control_plane: str) -> None:
    """Serves until the input ends."""
    async with AsyncExitStack() as stack:
        port = free_port()  # the same for all: a thousand other ones might be in somebody's way
        fakes = [FakeExecutor(_host(number), port=port, control_plane_url=control_plane) for number in range(count)]
        for fake in fakes:
            await stack.enter_async_context(fake)
        print(json.dumps([(fake.host, fake.port) for fake in fakes]), flush=True)
        await asyncio.to_thread(sys.stdin.read)


def _host(number: int) -> str:
    return f"127.1.{number // 250}.{number % 250 + 1}"


@asynccontextmanager
async def open_pods(bed: Bed, count: int, slots: int, pool: str = POOL) -> AsyncIterator[None]:
    """So many fake executors and the pods that stand for them; all executor pods are removed afterwards."""
    process = bed.start("benchmarks.fake_pods", "--count", str(count), "--control-plane", bed.controller.url)
    try:
        assert process.stdout is not None
        addresses: list[Address] = json.loads(await asyncio.to_thread(process.stdout.readline))
        waiting = iter(enumerate(addresses))
        pods = Collection(bed.api, names.core_path(NAMESPACE, "pods"))

        async def add() -> None:
            for number, (host, port) in waiting:
                name = f"fake-{number:04d}"
                status = make_pod_status(ip=host, containerID=f"containerd://{number:064x}")
                await pods.create(make_pod(name, pool, port, slots))
                await pods.call("PATCH", f"{name}/status", status, headers={"Content-Type": STRATEGIC_MERGE})

        await asyncio.gather(*(add() for _ in range(_AT_A_TIME)))
        yield
    finally:
        end(process)
        await bed.remove_pods()


def main() -> None:
    """Serves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--control-plane", required=True, help="the controller's internal API")
    options = parser.parse_args()
    asyncio.run(serve(options.count, options.control_plane))


if __name__ == "__main__":
    main()
