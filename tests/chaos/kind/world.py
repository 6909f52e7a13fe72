"""Everything that is broken on a kind cluster, as it was last seen: who leads, which pods there are."""

import asyncio
import contextlib
import functools
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from devcluster.cluster import Cluster
from devcluster.errors import StepFailed
from sandbox_executor_client import AsyncClient
from tests.chaos.evidence import Evidence
from tests.chaos.kind.collect import collect
from tests.chaos.kind.faults import FAULTS, Fault
from tests.chaos.kind.installation import REPLICAS, installed
from tests.chaos.kind.nodes import Nodes, Pod
from tests.chaos.kinds import NEIGHBOURS_POOL
from tests.chaos.load import Load
from tests.chaos.run import NotDone
from tests.e2e.cluster import CONTROLLER, SYSTEM_NAMESPACE, Object
from tests.fakes.control_plane import FakeControlPlane

POOL = "default"
_LOOK_S = 1.0
_WHOLE_S = 240.0
_CONTROLLERS = 2


class World:
    """``open_world`` makes one."""

    def __init__(self, cluster: Cluster, control_plane: FakeControlPlane, tenant: str) -> None:
        self.cluster = cluster
        self.nodes = Nodes(cluster)
        self.control_plane = control_plane
        self.client = AsyncClient(tenant, kubeconfig=str(cluster.kubeconfig))
        self.executors: list[Pod] = []
        """Of the pool that is broken."""
        self.controllers: list[Pod] = []
        self.all_pods: list[Pod] = []
        self.shown: dict[str, tuple[float, float]] = {}
        """From when to when pods' statuses named a container as running, as far as somebody looked (Unix seconds)."""
        self.api_address = ""
        """Of the Service ``kubernetes``."""
        self.monotonic_to_wall = time.time() - time.monotonic()
        self._leader = ""
        self._looked = 0.0
        self._looking: asyncio.Task[None] | None = None

    @property
    def faults(self) -> Mapping[str, Callable[[random.Random], Awaitable[None]]]:
        """What can be done to it, by name; each waits until all of it works again."""
        return {name: functools.partial(self._do, fault) for name, fault in FAULTS.items()}

    @property
    def leader(self) -> Pod:
        """The controller that leads, or any where nobody knows."""
        leading = [pod for pod in self.controllers if pod.name == self._leader]
        return (leading or self.controllers or [pod for pod in self.all_pods if not pod.pool])[0]

    async def __aenter__(self) -> "World":
        found = await self.kubectl("get", "service", "kubernetes", "-n", "default", "-o", "json")
        self.api_address = json.loads(found)["spec"]["clusterIP"]
        for node in self.nodes.names:
            await asyncio.to_thread(self.nodes.stop_collecting, node)
            await asyncio.to_thread(self.nodes.collect, node)
        self._looking = asyncio.create_task(self._look_forever())
        await self.wait_until_whole()
        await self.client.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.__aexit__()
        if self._looking is not None:
            self._looking.cancel()
        for node in self.nodes.names:
            await asyncio.to_thread(self.nodes.stop_collecting, node)

    async def kubectl(self, *words: str) -> str:
        """Standard output.

        Raises:
            StepFailed: it could not be done.
        """
        return await asyncio.to_thread(self.cluster.kubectl, *words)

    # --- what is there ----------------------------------------------------------------------------------------

    async def _look_forever(self) -> None:
        while True:
            with contextlib.suppress(StepFailed, ValueError):
                await self._look()
            await asyncio.sleep(_LOOK_S)

    async def _look(self) -> None:
        kinds = "pods,leases"
        words = ("get", kinds, "-n", SYSTEM_NAMESPACE, "-o", "json", "--request-timeout=5s")
        items = json.loads(await self.kubectl(*words))["items"]
        pods = [pod for item in items if item["kind"] == "Pod" and (pod := _parse(item)) is not None]
        self.all_pods = pods
        now = time.time()
        for pod in pods:
            self.shown[pod.container_id] = (self.shown.get(pod.container_id, (now, now))[0], now)
        self.executors = [pod for pod in pods if pod.pool == POOL and not pod.deleting]
        self.controllers = [pod for pod in pods if not pod.pool and not pod.deleting]
        leases = [item for item in items if item["kind"] == "Lease" and item["metadata"]["name"] == CONTROLLER]
        self._leader = str(leases[0]["spec"].get("holderIdentity") or "").rpartition("_")[0] if leases else ""
        self._looked = time.monotonic()

    async def wait_until_whole(self) -> None:
        """Until the API server answers and every pod that there should be is Ready.

        What a kubelet will not start again for long, because it has ended so often, is replaced, as a person would.

        Raises:
            TimeoutError: it does not come back.
        """
        begun = time.monotonic()
        async with asyncio.timeout(_WHOLE_S):
            while not (self._looked > begun and self._is_whole()):
                for pod in self.all_pods:
                    if pod.waiting == "CrashLoopBackOff" and not pod.deleting and self._looked > begun:
                        with contextlib.suppress(StepFailed):
                            await self.delete(pod)
                await asyncio.sleep(_LOOK_S)

    def _is_whole(self) -> bool:
        ready = Counter(pod.pool for pod in self.all_pods if pod.ready and not pod.deleting)
        return ready[POOL] == REPLICAS and ready[NEIGHBOURS_POOL] == 1 and ready[""] == _CONTROLLERS

    async def delete(self, pod: Pod, *words: str) -> None:
        """Deletes a pod, and does not wait."""
        await self.kubectl(
            "delete", "pod", pod.name, "-n", SYSTEM_NAMESPACE, "--wait=false", "--ignore-not-found", *words
        )

    async def _do(self, fault: Fault, chance: random.Random) -> None:
        try:
            await fault(self, chance)
        except (StepFailed, LookupError) as error:  # its node is down, or no pod is there that it could break
            raise NotDone(str(error)) from error
        await self.wait_until_whole()

    # --- what is left -----------------------------------------------------------------------------------------

    def held(self) -> dict[str, int]:
        """Counts that have to end where they began. Blocks."""
        lines = set(self.nodes.held())
        pools = json.loads(self.cluster.kubectl("get", "executorpools", "-o", "json"))["items"]
        words = {"processes": "process", "namespaces": "namespace", "descriptors": "descriptor"}
        return {
            **{what: sum(line.startswith(f"{word} ") for line in lines) for what, word in words.items()},
            "spooled reports": sum(line.startswith("spooled ") for line in lines),
            "busy slots": sum(int((item.get("status") or {}).get("busySlots", 0)) for item in pools),
        }

    def collect(self, load: Load) -> Evidence:
        """After everything has settled. Blocks."""
        return collect(self, load)


def _parse(item: Object) -> Pod | None:
    """An executor's or a controller's pod; None for others."""
    metadata, status = item["metadata"], item.get("status") or {}
    labels = metadata.get("labels") or {}
    component = labels.get("app.kubernetes.io/component")
    if component not in ("executor", "controller"):
        return None
    container: Object = next(iter(status.get("containerStatuses") or []), {})
    state = container.get("state") or {}
    conditions = {entry["type"]: entry["status"] for entry in status.get("conditions") or []}
    return Pod(
        name=metadata["name"],
        uid=metadata["uid"],
        node=(item.get("spec") or {}).get("nodeName", ""),
        ip=status.get("podIP", ""),
        pool=labels.get("sandbox-executor.dev/pool", "") if component == "executor" else "",
        ready=conditions.get("Ready") == "True",
        waiting=(state.get("waiting") or {}).get("reason", ""),
        container_id=str(container.get("containerID") or "").rpartition("//")[2] if "running" in state else "",
        deleting="deletionTimestamp" in metadata,
    )


@contextlib.asynccontextmanager
async def open_world(cluster: Cluster) -> AsyncIterator[World]:
    """The chart is installed for it and removed afterwards."""
    nodes = Nodes(cluster)
    async with FakeControlPlane(host="0.0.0.0") as control_plane, contextlib.AsyncExitStack() as stack:
        context = installed(cluster, nodes, control_plane.port)
        made = await asyncio.to_thread(context.__enter__)
        stack.push_async_callback(asyncio.to_thread, context.__exit__, None, None, None)
        control_plane.tokens = {made.token}
        yield await stack.enter_async_context(World(cluster, control_plane, made.tenant))
