"""Where the controller is measured without a cluster: a real API server, our controller, executors beside it.

Nobody schedules pods here: they are written as a kubelet would write them, and executors are processes of this machine.
So everything that a figure of the controller's way is made of is there, and nothing else that a node does.
"""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.collection import Api, Collection, open_api
from controller import names
from tests.integration.controller.apiserver import ROOT, ApiServer, apply_crds
from tests.integration.controller.cluster import NAMESPACE, Cluster, Controller, grant_rights
from tests.integration.controller.conftest import make_controller
from tests.integration.executor.running import RunningExecutor

POOL = "default"
QUEUE_LIMIT = 20_000
_USER = "controller"


@dataclass
class Bed:
    """The API server with our kinds and an empty pool, and a controller that is not started."""

    folder: Path
    server: ApiServer
    cluster: Cluster
    controller: Controller
    api: Api

    @property
    def process(self) -> psutil.Process:
        """The controller's, once started."""
        assert self.controller.process is not None
        return psutil.Process(self.controller.process.pid)

    def memory_bytes(self) -> int:
        """Proportional, of the controller."""
        pss: int = self.process.memory_full_info().pss
        return pss

    def cpu_s(self) -> float:
        """Processor seconds that the controller has taken so far."""
        times = self.process.cpu_times()
        return times.user + times.system

    async def add_executor(self, name: str, slots: int) -> RunningExecutor:
        """A real executor with real sandboxes, and its pod; the caller closes it."""
        folder = self.folder / name
        folder.mkdir(mode=0o755)
        environment = {
            **self.controller.executor_environment(name),
            "MAX_CONCURRENT_EXECUTIONS": str(slots),
        }
        executor = RunningExecutor(folder, environment)
        port = await asyncio.to_thread(lambda: executor.port)
        await self.cluster.add_pod(name, POOL, port, slots)
        return executor

    async def until(self, seen: Sequence[asyncio.Future[float]], timeout_s: float) -> float:
        """When the last of them has come; raises where the controller has ended before."""
        deadline = time.monotonic() + timeout_s
        while True:
            _, left = await asyncio.wait(seen, timeout=1)
            if not left:
                return max(future.result() for future in seen)
            process = self.controller.process
            if process is None or process.poll() is not None:
                raise RuntimeError(f"the controller has ended: {self.controller.log[-1000:]}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(left)} of {len(seen)} have not come in {timeout_s:.0f} s")

    async def remove_pods(self) -> None:
        """Deletes all executor pods at once."""
        pods = Collection(self.api, names.core_path(NAMESPACE, "pods"))
        await pods.remove_all(gracePeriodSeconds=0)

    def start(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        """A program of ours as a process with the administrator's kubeconfig; the caller ends it."""
        environment = {"PATH": os.environ["PATH"], "KUBECONFIG": str(self.server.kubeconfig)}
        command = [sys.executable, "-m", module, *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe)


@contextlib.asynccontextmanager
async def open_bed(folder: Path) -> AsyncIterator[Bed]:
    """A bed; what was started is ended with it."""
    for name in ("apiserver", "controller"):
        (folder / name).mkdir()
    server = ApiServer(folder / "apiserver", extra_user=_USER)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(server.stop)
        await asyncio.to_thread(server.start)
        await asyncio.to_thread(apply_crds, server)
        await asyncio.to_thread(grant_rights, server, _USER)
        cluster = Cluster(server)
        await cluster.create_pool(POOL, queueLimit=QUEUE_LIMIT)
        controller = make_controller(server, folder / "controller")
        api = await stack.enter_async_context(open_api(server.kubeconfig))
        try:
            yield Bed(folder, server, cluster, controller, api)
        finally:
            if controller.process is not None:
                await controller.stop()


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process that ``start`` has started."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
