"""What is done to the world. Each fault is over when its function returns, and everything works again then."""

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from tests.chaos.processes.wire import Wire
from tests.fakes.control_plane import DISCONNECT, HANG, Answer
from tests.integration.controller.cluster import Controller, eventually

if TYPE_CHECKING:
    from tests.chaos.processes.world import World

_API_SERVER_S: Final = 240.0
Fault = Callable[["World", random.Random], Awaitable[None]]


async def find_leader(world: "World") -> Controller:
    """By the Lease; the first where nobody holds it. Asked for in a thread: all wires hang on this loop."""
    number = await asyncio.to_thread(world.leader)
    return world.replicas[number or 0]


async def kill_leader(world: "World", _chance: random.Random) -> None:
    """SIGKILL."""
    (await find_leader(world)).signal(signal.SIGKILL)
    await asyncio.sleep(3)


async def stop_leader_cleanly(world: "World", _chance: random.Random) -> None:
    """SIGTERM, as in a rollout."""
    (await find_leader(world)).signal(signal.SIGTERM)
    await asyncio.sleep(3)


async def kill_both_controllers(world: "World", _chance: random.Random) -> None:
    """Nobody is there for a while."""
    for replica in world.replicas:
        replica.signal(signal.SIGKILL)
    await asyncio.sleep(3)


async def freeze_leader(world: "World", _chance: random.Random) -> None:
    """Past its Lease, then it goes on."""
    frozen = await find_leader(world)
    process = frozen.process
    if process is None:
        return
    process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(13)
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)


async def kill_executor(world: "World", chance: random.Random) -> None:
    """As out of memory does."""
    chance.choice(world.pods).signal(signal.SIGKILL)
    await asyncio.sleep(1)


async def terminate_executor(world: "World", chance: random.Random) -> None:
    """SIGTERM to its container."""
    chance.choice(world.pods).signal(signal.SIGTERM)
    await asyncio.sleep(1)


async def freeze_executor(world: "World", chance: random.Random) -> None:
    """It does not answer, and then it does."""
    pod = chance.choice(world.pods)
    pod.signal(signal.SIGSTOP)
    await asyncio.sleep(4)
    pod.signal(signal.SIGCONT)


async def replace_pod(world: "World", chance: random.Random) -> None:
    """Deleted, and its successor started."""
    await asyncio.gather(world.take_away(chance).remove(gracefully=True), world.add_pod())


async def lose_pod(world: "World", chance: random.Random) -> None:
    """Killed and deleted by force."""
    await asyncio.gather(world.take_away(chance).remove(gracefully=False), world.add_pod())


async def lose_node(world: "World", chance: random.Random) -> None:
    """Cut off both ways: its pod is deleted by force, its successor started, and the old one runs on for a while."""
    await asyncio.gather(world.take_away(chance).cut_off(8), world.add_pod())


async def cut_leader_from_api(world: "World", chance: random.Random) -> None:
    """For less than its Lease lasts, or for longer."""
    await _interrupt([world.to_api[world.replicas.index(await find_leader(world))]], chance, chance.choice([2, 12]))


async def break_connections_to_api(world: "World", _chance: random.Random) -> None:
    """All that are open, those with answers under way too."""
    for _ in range(10):
        for wire in world.to_api:
            wire.break_open()
        await asyncio.sleep(0.2)


async def cut_leader_from_executors(world: "World", chance: random.Random) -> None:
    """It can ask none, they can still report."""
    await _interrupt([pod.wire for pod in world.pods], chance, 5)


async def cut_executors_from_service(world: "World", chance: random.Random) -> None:
    """They can report nothing."""
    await _interrupt([pod.to_service for pod in world.pods], chance, 6)


async def _interrupt(wires: Iterable[Wire], chance: random.Random, seconds: float) -> None:
    """Refused at once, or nothing comes through."""
    wires = list(wires)
    refused = chance.random() < 0.5
    for wire in wires:
        if refused:
            wire.cut()
        else:
            wire.stall()
    await asyncio.sleep(seconds)
    for wire in wires:
        wire.mend()


def kill_static_pod(name: str) -> Fault:
    """``etcd`` (the API server stays, and answers nothing) or ``kube-apiserver``; it comes back by itself."""

    async def fault(world: "World", _chance: random.Random) -> None:
        await asyncio.to_thread(world.server.kill, name)
        await eventually(world.server.ready, what="the API server", timeout_s=_API_SERVER_S)

    return fault


def control_plane_answers(answer: Answer) -> Fault:
    """The Control Plane gives this answer to everything that it is told."""

    async def fault(world: "World", _chance: random.Random) -> None:
        world.control_plane.always("result", answer)
        world.control_plane.always("exited", answer)
        await asyncio.sleep(5)
        world.control_plane.always("result", None)
        world.control_plane.always("exited", None)

    return fault


async def cut_control_plane(world: "World", chance: random.Random) -> None:
    """It cannot be reached."""
    await _interrupt([world.to_control_plane], chance, 6)


FAULTS: Final[Mapping[str, Fault]] = {
    "leader killed": kill_leader,
    "leader stopped cleanly": stop_leader_cleanly,
    "both controllers killed": kill_both_controllers,
    "leader frozen past its Lease": freeze_leader,
    "executor killed": kill_executor,
    "executor terminated": terminate_executor,
    "executor frozen": freeze_executor,
    "pod replaced": replace_pod,
    "pod lost": lose_pod,
    "node cut off": lose_node,
    "leader cut off from the API server": cut_leader_from_api,
    "connections to the API server broken": break_connections_to_api,
    "leader cut off from the executors": cut_leader_from_executors,
    "executors cut off from the leader": cut_executors_from_service,
    "API server killed": kill_static_pod("kube-apiserver"),
    "etcd killed": kill_static_pod("etcd"),
    "Control Plane answers 503": control_plane_answers(503),
    "Control Plane hangs": control_plane_answers(HANG),
    "Control Plane breaks off": control_plane_answers(DISCONNECT),
    "Control Plane cut off": cut_control_plane,
}
