"""What an Execution leaves behind in the controller once it has ended: little, and not for ever."""

import gc
import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from controller import names
from controller.resources import Execution
from controller.tracking import Ended, Registry
from controller.watches import make_settings
from tests.unit.controller.builders import make_execution, make_report
from tests.unit.controller.world import World

BYTES_EACH = 2048
CODE_BYTES = 20_000
REMEMBERED = 20_000


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    await made.pipeline.close(0)


async def run_many(world: World, numbers: range) -> None:
    for number in numbers:
        execution = await world.send_one(name=f"run-{number}", code=f"# {number}".ljust(CODE_BYTES))
        report = make_report(execution_id=execution.execution_id)
        assert await world.reports.take(execution.execution_id, 1, report) == 201
        for held in (world.kube.status, world.kube.phases, world.executors.requests, world.executors.runs):
            held.clear()


async def test_one_that_has_ended_leaves_two_kilobytes_at_most(world: World) -> None:
    await run_many(world, range(100))
    gc.collect()
    tracemalloc.start()
    try:
        await run_many(world, range(100, 400))
        gc.collect()
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown / 300 <= BYTES_EACH


def make_numbered(like: Execution, number: int) -> Execution:
    return replace(like, uid=f"uid-{number}", name=f"run-{number}")


def test_only_the_last_ones_that_ended_are_remembered() -> None:
    registry = Registry()
    execution = make_execution()
    for number in range(REMEMBERED + 100):
        one = make_numbered(execution, number)
        registry.drop(registry.add(one), Ended(one.uid, 1, "Succeeded"))
    assert registry.ended(make_numbered(execution, 0).execution_id) is None
    assert not registry.was_dropped("uid-0")
    last = make_numbered(execution, REMEMBERED + 99)
    assert registry.ended(last.execution_id) is not None
    assert registry.was_dropped(last.uid)
    assert (len(registry._recent), len(registry._recent_uids)) == (REMEMBERED, REMEMBERED)


def test_the_watch_asks_the_api_server_to_leave_ended_ones_out() -> None:
    selectors = make_settings().watching.field_selectors
    assert list(selectors.values()) == [names.UNFINISHED_SELECTOR]
    for phase in ("Succeeded", "Failed", "TimedOut", "Crashed", "Cancelled", "Rejected"):
        assert f"status.phase!={phase}" in names.UNFINISHED_SELECTOR
