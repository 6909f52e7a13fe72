"""What is done to the world. Each fault is over when its function returns, and everything works again then."""

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable

from tests.chaos.world import World
from tests.fakes.control_plane import DISCONNECT, HANG, Answer

Fault = Callable[[World, random.Random], Awaitable[None]]


async def kill_leader(world: World, _chance: random.Random) -> None:
    """SIGKILL."""
    world.replicas[world.leader() or 0].signal(signal.SIGKILL)
    await asyncio.sleep(3)


async def stop_leader_cleanly(world: World, _chance: random.Random) -> None:
    """SIGTERM, as in a rollout."""
    world.replicas[world.leader() or 0].signal(signal.SIGTERM)
    await asyncio.sleep(3)


async def kill_both_controllers(world: World, _chance: random.Random) -> None:
    """Nobody is there for a while."""
    for replica in world.replicas:
        replica.signal(signal.SIGKILL)
    await asyncio.sleep(3)


async def freeze_leader(world: World, _chance: random.Random) -> None:
    """Past its Lease, then it goes on."""
    frozen = world.replicas[world.leader() or 0]
    process = frozen.process
    if process is None:
        return
    process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(13)
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)


async def kill_executor(world: World, chance: random.Random) -> None:
    """As out of memory does."""
    chance.choice(world.pods).signal(signal.SIGKILL)
    await asyncio.sleep(1)


async def terminate_executor(world: World, chance: random.Random) -> None:
    """SIGTERM to its container."""
    chance.choice(world.pods).signal(signal.SIGTERM)
    await asyncio.sleep(1)


async def freeze_executor(world: World, chance: random.Random) -> None:
    """It does not answer, and then it does."""
    pod = chance.choice(world.pods)
    pod.signal(signal.SIGSTOP)
    await asyncio.sleep(4)
    pod.signal(signal.SIGCONT)


async def replace_pod(world: World, chance: random.Random) -> None:
    """Deleted, and its successor started."""
    await world.replace_pod(chance.choice(world.pods), gracefully=True)


async def lose_pod(world: World, chance: random.Random) -> None:
    """Gone at once, as with its node."""
    await world.replace_pod(chance.choice(world.pods), gracefully=False)


async def cut_leader_from_api(world: World, chance: random.Random) -> None:
    """For less than its Lease lasts, or for longer."""
    wire = world.to_api[world.leader() or 0]
    wire.cut()
    await asyncio.sleep(chance.choice([2, 12]))
    wire.mend()


async def break_connections_to_api(world: World, _chance: random.Random) -> None:
    """All that are open, those with answers under way too."""
    for _ in range(10):
        for wire in world.to_api:
            wire.break_open()
        await asyncio.sleep(0.2)


async def cut_leader_from_executors(world: World, _chance: random.Random) -> None:
    """It can ask none, they can still report."""
    for pod in world.pods:
        pod.wire.cut()
    await asyncio.sleep(5)
    for pod in world.pods:
        pod.wire.mend()


async def cut_executors_from_service(world: World, _chance: random.Random) -> None:
    """They can report nothing."""
    world.to_service.cut()
    await asyncio.sleep(6)
    world.to_service.mend()


async def kill_api_server(world: World, _chance: random.Random) -> None:
    """It comes back by itself, as a static pod does."""
    await asyncio.to_thread(world.server.kill, "kube-apiserver")
    await asyncio.sleep(1)
    await asyncio.to_thread(world.server.revive, "kube-apiserver")


async def kill_etcd(world: World, _chance: random.Random) -> None:
    """The API server stays, and answers nothing."""
    await asyncio.to_thread(world.server.kill, "etcd")
    await asyncio.sleep(1)
    await asyncio.to_thread(world.server.revive, "etcd")


def control_plane_answers(answer: Answer) -> Fault:
    """The Control Plane gives this answer to every result."""

    async def fault(world: World, _chance: random.Random) -> None:
        world.control_plane.always("result", answer)
        await asyncio.sleep(5)
        world.control_plane.always("result", None)

    return fault


async def cut_control_plane(world: World, _chance: random.Random) -> None:
    """It cannot be reached."""
    world.to_control_plane.cut()
    await asyncio.sleep(6)
    world.to_control_plane.mend()


FAULTS: dict[str, Fault] = {
    "leader killed": kill_leader,
    "leader stopped cleanly": stop_leader_cleanly,
    "both controllers killed": kill_both_controllers,
    "leader frozen past its Lease": freeze_leader,
    "executor killed": kill_executor,
    "executor terminated": terminate_executor,
    "executor frozen": freeze_executor,
    "pod replaced": replace_pod,
    "pod lost": lose_pod,
    "leader cut off from the API server": cut_leader_from_api,
    "connections to the API server broken": break_connections_to_api,
    "leader cut off from the executors": cut_leader_from_executors,
    "executors cut off from the leader": cut_executors_from_service,
    "API server killed": kill_api_server,
    "etcd killed": kill_etcd,
    "Control Plane answers 503": control_plane_answers(503),
    "Control Plane hangs": control_plane_answers(HANG),
    "Control Plane breaks off": control_plane_answers(DISCONNECT),
    "Control Plane cut off": cut_control_plane,
}
