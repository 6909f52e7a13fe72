"""What is done to the cluster. Each fault mends what it cut; the world then waits until everything works again."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from tests.chaos.kind.nodes import Pod
from tests.fakes.control_plane import DISCONNECT, HANG, Answer

if TYPE_CHECKING:
    from tests.chaos.kind.world import World

Fault = Callable[["World", random.Random], Awaitable[None]]
CONTROLLER = "controller"
EXECUTOR = "executor_runtime"
_INTERNAL_API_PORT = "8080"
_EXECUTOR_PORT = "8080"


async def kill_leader(world: "World", _chance: random.Random) -> None:
    """SIGKILL of its process, from the node."""
    await _signal(world, world.leader, CONTROLLER, "KILL")


async def kill_both_controllers(world: "World", _chance: random.Random) -> None:
    """Nobody is there for a while."""
    await asyncio.gather(*(_signal(world, pod, CONTROLLER, "KILL") for pod in world.controllers))


async def freeze_leader(world: "World", _chance: random.Random) -> None:
    """Past its Lease, then it goes on."""
    await _freeze(world, world.leader, CONTROLLER, 13)


async def delete_leader(world: "World", _chance: random.Random) -> None:
    """As a drain does."""
    await world.delete(world.leader)


async def kill_executor(world: "World", chance: random.Random) -> None:
    """As out of memory does."""
    await _signal(world, chance.choice(world.executors), EXECUTOR, "KILL")


async def terminate_executor(world: "World", chance: random.Random) -> None:
    """SIGTERM to its process."""
    await _signal(world, chance.choice(world.executors), EXECUTOR, "TERM")


async def freeze_executor(world: "World", chance: random.Random) -> None:
    """It does not answer, and then it does."""
    await _freeze(world, chance.choice(world.executors), EXECUTOR, 4)


async def delete_pod(world: "World", chance: random.Random) -> None:
    """What runs there may end first."""
    await world.delete(chance.choice(world.executors))


async def delete_pod_by_force(world: "World", chance: random.Random) -> None:
    """Gone from the API server at once."""
    await world.delete(chance.choice(world.executors), "--grace-period=0", "--force")


async def stop_node(world: "World", _chance: random.Random) -> None:
    """A power cut, and it comes back."""
    worker = world.nodes.worker
    await asyncio.to_thread(world.nodes.stop, worker)
    await asyncio.sleep(8)
    await asyncio.to_thread(world.nodes.start, worker)


async def cut_off_node(world: "World", chance: random.Random) -> None:
    """It runs on, and nobody reaches it."""
    worker = world.nodes.worker
    await asyncio.to_thread(world.nodes.cut_off, worker, cut=True)
    try:
        await asyncio.sleep(chance.choice([5, 15]))
    finally:
        await asyncio.to_thread(world.nodes.cut_off, worker, cut=False)


async def cut_leader_from_api(world: "World", chance: random.Random) -> None:
    """For less than its Lease lasts, or for longer."""
    rule = ("OUTPUT", "-d", world.api_address, "-p", "tcp")
    await _interrupt(world, [world.leader], rule, chance, chance.choice([2, 12]))


async def cut_leader_from_executors(world: "World", chance: random.Random) -> None:
    """It can ask none, they can still report."""
    rule = ("INPUT", "-s", world.leader.ip, "-p", "tcp", "--dport", _EXECUTOR_PORT)
    await _interrupt(world, world.executors, rule, chance, 5)


async def cut_executors_from_service(world: "World", chance: random.Random) -> None:
    """They can report nothing."""
    await _interrupt(world, world.executors, ("OUTPUT", "-p", "tcp", "--dport", _INTERNAL_API_PORT), chance, 6)


def kill_static_pod(name: str) -> Fault:
    """``etcd`` or ``kube-apiserver``; its kubelet starts it again."""

    async def fault(world: "World", _chance: random.Random) -> None:
        await asyncio.to_thread(world.nodes.kill_static_pod, name)

    return fault


def control_plane_answers(answer: Answer) -> Fault:
    """The Control Plane gives this answer to every end that it is told."""

    async def fault(world: "World", _chance: random.Random) -> None:
        world.control_plane.always("result", answer)
        world.control_plane.always("exited", answer)
        await asyncio.sleep(5)
        world.control_plane.always("result", None)
        world.control_plane.always("exited", None)

    return fault


async def stop_control_plane(world: "World", _chance: random.Random) -> None:
    """Nobody listens; it comes back with all that it knew."""
    await world.control_plane.__aexit__(None, None, None)
    await asyncio.sleep(6)
    await world.control_plane.__aenter__()


async def _signal(world: "World", pod: Pod, module: str, name: str) -> list[int]:
    return await asyncio.to_thread(world.nodes.signal, pod, module, name)


async def _freeze(world: "World", pod: Pod, module: str, seconds: float) -> None:
    pids = await _signal(world, pod, module, "STOP")
    await asyncio.sleep(seconds)
    for pid in pids:
        await asyncio.to_thread(world.nodes.signal_pid, pod.node, pid, "CONT")


async def _interrupt(
    world: "World", pods: Iterable[Pod], rule: tuple[str, ...], chance: random.Random, seconds: float
) -> None:
    """Refused at once, or nothing comes through; in the network namespaces of these pods."""
    pods = list(pods)
    action = chance.choice([("-j", "DROP"), ("-j", "REJECT", "--reject-with", "tcp-reset")])
    await asyncio.gather(*(asyncio.to_thread(world.nodes.filter, pod, "-I", *rule, *action) for pod in pods))
    await asyncio.sleep(seconds)
    await asyncio.gather(*(asyncio.to_thread(world.nodes.filter, pod, "-D", *rule, *action) for pod in pods))


FAULTS: Final[Mapping[str, Fault]] = {
    "leader killed": kill_leader,
    "both controllers killed": kill_both_controllers,
    "leader frozen past its Lease": freeze_leader,
    "leader's pod deleted": delete_leader,
    "executor killed": kill_executor,
    "executor terminated": terminate_executor,
    "executor frozen": freeze_executor,
    "pod deleted": delete_pod,
    "pod deleted by force": delete_pod_by_force,
    "node stopped": stop_node,
    "node cut off": cut_off_node,
    "leader cut off from the API server": cut_leader_from_api,
    "leader cut off from the executors": cut_leader_from_executors,
    "executors cut off from the leader": cut_executors_from_service,
    "API server killed": kill_static_pod("kube-apiserver"),
    "etcd killed": kill_static_pod("etcd"),
    "Control Plane stopped": stop_control_plane,
    "Control Plane answers 503": control_plane_answers(503),
    "Control Plane hangs": control_plane_answers(HANG),
    "Control Plane breaks off": control_plane_answers(DISCONNECT),
}
