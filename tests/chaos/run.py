"""One run: load, faults, calm, evidence, verdict."""

import asyncio
import contextlib
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.checker import check
from tests.chaos.collect import collect
from tests.chaos.evidence import Evidence
from tests.chaos.faults import FAULTS
from tests.chaos.load import Load
from tests.chaos.world import World, open_world
from tests.integration.controller.cluster import eventually

SETTLE_S = 240.0
_TOGETHER = 0.25
"""How often a second fault begins while the first one lasts."""


@dataclass
class Report:
    """What was done, and what came of it."""

    seconds: float
    faults: Counter[str] = field(default_factory=Counter)
    phases: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    evidence: Evidence = field(default_factory=Evidence)

    def __str__(self) -> str:
        lines = [
            f"{sum(self.faults.values())} faults on {sum(self.phases.values())} Executions in {self.seconds:.0f} s",
            *(f"  {count:4d} × {name}" for name, count in sorted(self.faults.items())),
            "  ended: " + ", ".join(f"{phase} {count}" for phase, count in sorted(self.phases.items())),
            *(f"  BROKEN: {line}" for line in self.violations[:50]),
            f"{len(self.violations)} promises broken",
        ]
        return "\n".join(lines)


async def run(folder: Path, seconds: float, seed: int, per_second: float, only: list[str] | None = None) -> Report:
    """Breaks things for so many seconds, then waits until all has settled, and checks."""
    begun = time.monotonic()
    chance = random.Random(seed)
    report = Report(0)
    async with open_world(folder) as world:
        load = Load(world.client, seed, per_second)
        following = asyncio.create_task(load.follow())
        creating = asyncio.create_task(load.run())
        await asyncio.sleep(3)
        creating.cancel()
        await _let_all_end(world, load)
        before = await asyncio.to_thread(world.held)
        creating = asyncio.create_task(load.run())
        await _break(world, chance, seconds, only or list(FAULTS), report)
        creating.cancel()
        await _let_all_end(world, load)
        after = await world.wait_until_calm(before, 30)
        following.cancel()
        report.evidence = await asyncio.to_thread(collect, world, load, before, after)
    report.phases = Counter(final.phase for final in report.evidence.finals)
    report.violations = check(report.evidence)
    report.seconds = time.monotonic() - begun
    return report


async def _let_all_end(world: World, load: Load) -> None:
    """So that what is held can be counted."""
    await load.settle()
    await _settle(load)
    await world.wait_until_calm({"sandboxes": 0, "spooled reports": 0, "busy slots": 0}, 15)


async def _break(world: World, chance: random.Random, seconds: float, names: list[str], report: Report) -> None:
    """Every fault in turn, in a new order each round, sometimes two together."""
    deadline = time.monotonic() + seconds
    order: list[str] = []
    while time.monotonic() < deadline:
        if not order:
            order = chance.sample(names, len(names))
        chosen = [order.pop()]
        if chance.random() < _TOGETHER:
            chosen.append(chance.choice(names))
        report.faults.update(chosen)
        outcomes = await asyncio.gather(*(FAULTS[name](world, chance) for name in chosen), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception) and len(chosen) == 1:
                raise outcome
        await asyncio.sleep(chance.uniform(0.5, 3))


async def _settle(load: Load) -> None:
    with contextlib.suppress(AssertionError):  # what has not ended by then, the checker names
        await eventually(lambda: not load.unfinished(), what="all to end", timeout_s=SETTLE_S)
