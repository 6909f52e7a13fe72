"""One run: load, faults, calm, evidence, verdict."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from sandbox_executor_client import AsyncClient
from tests.chaos.checker import check
from tests.chaos.evidence import Evidence, Outage
from tests.chaos.load import Load
from tests.chaos.report import Done, Report
from tests.integration.controller.cluster import eventually

SETTLE_S = 480.0
_WARM_UP_S = 3.0
_CALM_S = 90.0
_READY_S = 240.0
_STEADY_S = 8.0
_WAITED_FOR = ("busy slots", "cold sandboxes")
"""What has to be none before the counts are worth a comparison."""
NOBODY_WATCHES = ("both controllers killed", "API server killed", "etcd killed")
_RECOVERY_S = 30.0
"""A Lease runs out, a process starts, a silent executor is asked again."""
_TOGETHER = 0.25
"""How often a second fault begins while the first one lasts."""

Fault = Callable[[random.Random], Awaitable[None]]


class NotDone(Exception):
    """A fault could not be done, because another one goes on: its node is down, or the API server."""


class World(Protocol):
    """What is broken."""

    client: AsyncClient

    @property
    def faults(self) -> Mapping[str, Fault]:
        """By name; each is over when it returns."""

    def held(self) -> dict[str, int]:
        """Counts that have to end where they began. Blocks."""

    def collect(self, load: Load) -> Evidence:
        """After everything has settled. Blocks."""


@dataclass(frozen=True)
class Plan:
    """What is done. ``seconds`` None: every fault once, two at a time, in an order that the seed gives."""

    seconds: float | None
    seed: int
    per_second: float
    only: tuple[str, ...] = ()


async def run(world: World, plan: Plan) -> Report:
    """Breaks things, then waits until all has settled, and checks."""
    begun = time.monotonic()
    chance = random.Random(plan.seed)
    names = list(plan.only or world.faults)
    load = Load(world.client, plan.seed, plan.per_second)
    following = asyncio.create_task(load.follow())
    try:
        async with _creating(load):
            await asyncio.sleep(_WARM_UP_S)
        before = await _let_all_end(world, load)
        async with _creating(load):
            if plan.seconds is None:
                done = await _break_once(world, chance, names)
            else:
                done = await _break(world, chance, names, plan.seconds)
        await load.settle()
        await _settle(load)
        after = await _wait_until_calm(world, before)
    finally:
        following.cancel()
    evidence = await asyncio.to_thread(world.collect, load)
    evidence.before, evidence.after = before, after
    evidence.outages = [
        Outage(fault.begun, fault.ended + _RECOVERY_S, unwatched=fault.name in NOBODY_WATCHES) for fault in done
    ]
    return Report(time.monotonic() - begun, done, evidence, check(evidence))


@contextlib.asynccontextmanager
async def _creating(load: Load) -> AsyncIterator[None]:
    task = asyncio.create_task(load.run())
    try:
        yield
    finally:
        task.cancel()


async def _let_all_end(world: World, load: Load) -> dict[str, int]:
    """What is held once all has ended and the counts stay as they are."""
    await load.settle()
    await _settle(load)
    held: dict[str, int] = {}
    since = time.monotonic()
    deadline = since + _READY_S
    while time.monotonic() < deadline and time.monotonic() - since < _STEADY_S:
        await asyncio.sleep(1)
        before, held = held, await asyncio.to_thread(world.held)
        if before != held or any(held.get(what) for what in _WAITED_FOR):
            since = time.monotonic()
    return held


async def _wait_until_calm(world: World, baseline: Mapping[str, int]) -> dict[str, int]:
    """The counts, once none is above what it was; or as they are when the time is over."""
    deadline = time.monotonic() + _CALM_S
    while True:
        held = await asyncio.to_thread(world.held)
        if all(count <= baseline[what] for what, count in held.items()) or time.monotonic() > deadline:
            return held
        await asyncio.sleep(1)


async def _break(world: World, chance: random.Random, names: list[str], seconds: float) -> list[Done]:
    """Every fault in turn, in a new order each round, sometimes two together."""
    deadline = time.monotonic() + seconds
    order: list[str] = []
    done: list[Done] = []
    while time.monotonic() < deadline:
        order = order or chance.sample(names, len(names))
        chosen = [order.pop()]
        if chance.random() < _TOGETHER:
            chosen.append(chance.choice(names))
        async with asyncio.TaskGroup() as together:  # where one cannot be mended, the others still are
            for name in chosen:
                together.create_task(_do(world, chance, name, done))
        await asyncio.sleep(chance.uniform(0.5, 3))
    return done


async def _break_once(world: World, chance: random.Random, names: list[str]) -> list[Done]:
    """Each fault one time, on two lanes beside each other."""
    order = chance.sample(names, len(names))
    done: list[Done] = []

    async def lane() -> None:
        while order:
            name = order.pop()
            if not await _do(world, chance, name, done):
                order.insert(0, name)
            await asyncio.sleep(0.5)

    async with asyncio.TaskGroup() as together:
        together.create_task(lane())
        together.create_task(lane())
    return done


async def _do(world: World, chance: random.Random, name: str, done: list[Done]) -> bool:
    """False: it could not be done now."""
    begun = time.time()
    try:
        await world.faults[name](chance)
    except NotDone as error:
        print(f"not done: {name}: {error}", flush=True)
        return False
    done.append(Done(name, begun, time.time()))
    print(f"{time.time() - begun:5.1f} s  {name}", flush=True)
    return True


async def _settle(load: Load) -> None:
    """Until all have ended; what has not when the time is over, the checker names."""
    with contextlib.suppress(AssertionError):
        await eventually(lambda: not load.unfinished(), what="all to end", timeout_s=SETTLE_S)
