"""Everything that is broken: a real API server, two controllers, executors, and the wires between them."""

import asyncio
import contextlib
import functools
import random
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import yaml

from controller import names
from devcluster import audit
from sandbox_executor_client import AsyncClient
from tests.chaos.evidence import Evidence
from tests.chaos.kinds import NEIGHBOURS_POOL
from tests.chaos.load import Load
from tests.chaos.processes import bugs, descendants, faults
from tests.chaos.processes.collect import collect
from tests.chaos.processes.pod import ExecutorPod, Surroundings, count_cold, count_spooled
from tests.chaos.processes.wire import Wire
from tests.fakes.control_plane import FakeControlPlane
from tests.integration.controller.apiserver import ApiError, ApiServer, apply_crds
from tests.integration.controller.cluster import LEASE_PATH, TENANT, Cluster, Controller, eventually, grant_rights
from tests.integration.controller.conftest import make_controller
from tests.integration.controller.service import Service

PODS = 3
POOL = "default"
CONTROL_PLANE_TOKEN = "token-of-the-control-plane"
_CRASH_LOOP_S = 1.0
_THREADS = 64
_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "omitManagedFields": True,
    "rules": list(audit.EXECUTIONS),
}


class Replica(Controller):
    """A controller's pod: started again whenever it ends."""

    @property
    def role(self) -> str:
        """``up`` when it is leader or standby; which of the two, the Lease says."""
        return "up" if super().role else ""

    async def keep_running(self, environment: dict[str, str]) -> None:
        """Until cancelled; the process is the caller's to end then."""
        while True:
            with contextlib.suppress(AssertionError):
                await asyncio.to_thread(self.start_blocking, role="up", **environment)
            if self.process is not None:
                await asyncio.to_thread(self.process.wait)
            await asyncio.sleep(_CRASH_LOOP_S)


class World:
    """An async context manager that leaves nothing behind."""

    def __init__(self, folder: Path, *, spoiled: bool = False) -> None:
        """``spoiled``: with ``bugs`` in the controllers and executors."""
        self.folder = folder
        self._spoiled = spoiled
        self.server = ApiServer(folder / "apiserver", extra_user="controller", audit_policy=_AUDIT_POLICY)
        self.cluster = Cluster(self.server)
        self.control_plane = FakeControlPlane(tokens={CONTROL_PLANE_TOKEN})
        self.service = Service(self.server)
        self.to_control_plane = Wire(lambda: self.control_plane.port)
        self.to_api: list[Wire] = []
        self.replicas: list[Controller] = []
        self.pods: list[ExecutorPod] = []
        """Those that are broken; ``neighbours`` are not, ``gone`` were."""
        self.neighbours: list[ExecutorPod] = []
        self.gone: list[ExecutorPod] = []
        self.client = AsyncClient(TENANT, kubeconfig=str(self.server.kubeconfig))
        self.monotonic_to_wall = time.time() - time.monotonic()
        self._made = 0
        self._stack = contextlib.AsyncExitStack()
        self._keepers: list[asyncio.Task[None]] = []

    @property
    def faults(self) -> Mapping[str, Callable[[random.Random], Awaitable[None]]]:
        """What can be done to it, by name."""
        return {name: functools.partial(fault, self) for name, fault in faults.FAULTS.items()}

    async def __aenter__(self) -> "World":
        descendants.adopt_orphans()
        # A thread waits for the end of each process; asyncio has six of them on two cores.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS))
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(descendants.end)
            self.server.folder.mkdir(parents=True)
            stack.callback(self.server.stop)
            await asyncio.to_thread(self.server.start)
            await asyncio.to_thread(apply_crds, self.server)
            await asyncio.to_thread(grant_rights, self.server, "controller")
            for part in (self.control_plane, self.to_control_plane, self.service, self.client):
                await stack.enter_async_context(part)
            stack.push_async_callback(self._end_keepers)
            self._keepers.append(asyncio.create_task(self._keep_server()))
            await self._start_controllers(stack)
            for pool in (POOL, NEIGHBOURS_POOL):
                await self.cluster.create_pool(pool)
            stack.push_async_callback(self._end_pods)
            for _ in range(PODS):
                await self.add_pod()
            self.neighbours.append(self._make_pod(NEIGHBOURS_POOL))
            await self.neighbours[0].start()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    # --- the API server ---------------------------------------------------------------------------------------

    async def _keep_server(self) -> None:
        """Starts etcd and the API server again when they have ended, as a kubelet does with static pods."""
        while True:
            await asyncio.sleep(1)
            for name in self.server.ended():
                await asyncio.to_thread(self.server.restart, name)

    # --- controllers ------------------------------------------------------------------------------------------

    async def _start_controllers(self, stack: contextlib.AsyncExitStack) -> None:
        for name in ("a", "b"):
            folder = self.folder / f"controller-{name}"
            folder.mkdir()
            made = make_controller(self.server, folder)
            replica = Replica(folder, self.server, made.kubeconfig, made.internal_port, made.health_port)
            wire = await stack.enter_async_context(Wire(lambda: self.server.port))
            config = yaml.safe_load(made.kubeconfig.read_text())
            config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{wire.port}"
            made.kubeconfig.write_text(yaml.safe_dump(config))
            if self.replicas:
                first = self.replicas[0]
                replica.internal_token, replica.execute_token = first.internal_token, first.execute_token
                replica.report_key = first.report_key
            (folder / "control-plane").write_text(CONTROL_PLANE_TOKEN)
            self.replicas.append(replica)
            self.to_api.append(wire)
            environment = {
                "POD_NAME": f"controller-{name}",
                "POD_IP": "10.9.9.9",
                "CONTROL_PLANE_URL": f"http://127.0.0.1:{self.to_control_plane.port}",
                "CONTROL_PLANE_TOKEN_FILE": str(folder / "control-plane"),
            }
            if self._spoiled:
                replica.module = bugs.__name__
                environment["SPOILED"] = "controller"
            self._keepers.append(asyncio.create_task(replica.keep_running(environment)))
        await eventually(lambda: self.leader() is not None, what="a leader", timeout_s=180)

    async def _end_keepers(self) -> None:
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for replica in self.replicas:
            if replica.process is not None and replica.process.poll() is None:
                replica.signal(signal.SIGKILL)
                await asyncio.to_thread(replica.process.wait)

    def leader(self) -> int | None:
        """The number of the replica that leads, by the Lease."""
        with contextlib.suppress(ApiError, OSError):
            holder = str(self.server.request("GET", LEASE_PATH)["spec"].get("holderIdentity", ""))
            for number, name in enumerate(("a", "b")):
                if holder.startswith(f"controller-{name}"):
                    return number
        return None

    # --- pods -------------------------------------------------------------------------------------------------

    def _make_pod(self, pool: str) -> ExecutorPod:
        name = f"executor-{self._made}"
        self._made += 1
        first = self.replicas[0]
        variables = {"INTERNAL_API_TOKEN": first.internal_token, "EXECUTE_API_TOKEN": first.execute_token}
        surroundings = Surroundings(self.cluster, lambda: self.service.target, variables)
        if self._spoiled:
            variables["SPOILED"] = "executor"
            surroundings = replace(surroundings, module=bugs.__name__)
        return ExecutorPod(name, pool, self.folder / name, surroundings)

    async def add_pod(self) -> None:
        """As the pool's ReplicaSet does."""
        pod = self._make_pod(POOL)
        self.pods.append(pod)
        await pod.start()

    def take_away(self, chance: random.Random) -> ExecutorPod:
        """One of the pods, which nobody else breaks from now on; follow with ``add_pod``."""
        pod = self.pods.pop(chance.randrange(len(self.pods)))
        self.gone.append(pod)
        return pod

    async def _end_pods(self) -> None:
        for pod in [*self.pods, *self.neighbours, *self.gone]:
            await pod.close()

    # --- what is left ----------------------------------------------------------------------------------------

    def held(self) -> dict[str, int]:
        """Counts that have to end where they began."""
        pods = [*self.pods, *self.neighbours]
        pools = [self.server.request("GET", f"{names.pools_path()}/{pool}") for pool in (POOL, NEIGHBOURS_POOL)]
        processes = [*(pod.process for pod in pods), *(replica.process for replica in self.replicas)]
        open_files = [descendants.count_descriptors(process.pid) for process in processes if process is not None]
        return {
            **descendants.count(),
            "spooled reports": sum(count_spooled(self.folder / pod.name) for pod in pods),
            "cold sandboxes": sum(self._count_cold(pod) for pod in pods),
            "busy slots": sum(int((pool.get("status") or {}).get("busySlots", 0)) for pool in pools),
            "descriptors": sum(open_files),
            "not running": open_files.count(0),
        }

    def _count_cold(self, pod: ExecutorPod) -> int:
        if pod.process is None or pod.process.poll() is not None:
            return 0  # it is counted as one that does not run
        try:
            return count_cold(pod.port)
        except OSError:  # it has just started, or is about to end
            return 1

    def collect(self, load: Load) -> Evidence:
        """After everything has settled."""
        return collect(self, load)


@contextlib.asynccontextmanager
async def open_world(folder: Path, *, spoiled: bool = False) -> AsyncIterator[World]:
    """A world in a folder that exists and that every user may pass."""
    async with World(folder, spoiled=spoiled) as world:
        yield world
