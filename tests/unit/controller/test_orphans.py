"""Which runs on an executor are nobody's, and are cancelled."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from contracts.executor_api import ExecutionState
from tests.unit.controller.world import EPOCH, World

ORPHAN = "exec_20260115_orphan00"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    made.add_pod()
    yield made
    await made.pipeline.close(0)


def run_of(epoch: int | None, execution_id: str = ORPHAN) -> ExecutionState:
    return ExecutionState(execution_id=execution_id, state="running", epoch=epoch)


async def test_what_an_earlier_leader_has_sent_and_nobody_owns_is_cancelled(world: World) -> None:
    world.executors.active = [run_of(EPOCH - 1)]
    await world.orphans.cancel()
    assert world.executors.cancelled == [ORPHAN]


@pytest.mark.parametrize("epoch", [None, EPOCH, EPOCH + 1])
async def test_what_somebody_else_or_this_leader_has_sent_is_left_alone(world: World, epoch: int | None) -> None:
    world.executors.active = [run_of(epoch)]
    await world.orphans.cancel()
    assert world.executors.cancelled == []


async def test_what_an_execution_owns_is_left_alone(world: World) -> None:
    execution = await world.start_one()
    world.executors.active = [run_of(EPOCH - 1, execution.execution_id)]
    await world.orphans.cancel()
    assert world.executors.cancelled == []


@pytest.mark.parametrize(("phase", "cancelled"), [("Running", []), ("Crashed", [ORPHAN])])
async def test_the_server_is_asked_before_anything_is_cancelled(world: World, phase: str, cancelled: list[str]) -> None:
    unreadable: dict[str, Any] = {"metadata": {"name": "x"}, "spec": {"new": 1}, "status": {"phase": phase}}
    world.kube.lists["executions"] = [unreadable]
    world.executors.active = [run_of(EPOCH - 1)]
    await world.orphans.cancel()
    assert world.executors.cancelled == cancelled


async def test_an_executor_is_looked_through_once_and_one_that_did_not_answer_again(world: World) -> None:
    world.executors.active = [run_of(EPOCH - 1)]
    for _ in range(3):
        await world.orphans.cancel()
    assert world.executors.cancelled == [ORPHAN]
