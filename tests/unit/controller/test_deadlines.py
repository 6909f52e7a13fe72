"""Executors that fall silent, by a clock that the test holds."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from contracts.executor_api import ExecutionState
from controller.deadlines import ASK_SILENT_AFTER_S, HEARTBEAT_DEADLINE_S
from controller.errors import ExecutorUnreachable
from tests.unit.controller.builders import NOW, make_pod
from tests.unit.controller.world import World

HOUR = {"timeoutSeconds": 3600}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    await made.pipeline.close(0)


async def let_pass(world: World, until_s: float, step_s: float = 1.0) -> None:
    """The time goes on, looked at every second."""
    while world.time < NOW + timedelta(seconds=until_s):
        world.time += timedelta(seconds=step_s)
        world.check_times()
        await world.settle()


async def test_one_whose_executor_says_nothing_for_a_minute_has_crashed_long_before_its_timeout(world: World) -> None:
    await world.start_one(**HOUR)
    world.executors.answer = ExecutorUnreachable("no answer")
    await let_pass(world, HEARTBEAT_DEADLINE_S - 2)
    assert world.kube.phases["one"] == ["Running"]
    await let_pass(world, HEARTBEAT_DEADLINE_S + 5)
    assert world.kube.phases["one"] == ["Running", "Crashed"]
    assert world.kube.reason("one", "Finished") == "ExecutorLost"


async def test_one_that_beats_is_not_asked(world: World) -> None:
    execution = await world.start_one(**HOUR)
    world.executors.answer = ExecutorUnreachable("would be counted as silence")
    for beat in range(1, 61):
        await let_pass(world, 5.0 * beat)
        assert world.reports.beat(execution.execution_id, 1, None)
    assert set(world.kube.phases["one"]) == {"Running"}


async def test_one_whose_heartbeats_are_lost_and_whose_executor_answers_goes_on(world: World) -> None:
    execution = await world.start_one(**HOUR)
    world.executors.answer = ExecutionState(execution_id=execution.execution_id, state="running")
    await let_pass(world, 300)
    assert world.kube.phases["one"] == ["Running"]
    assert world.executors.cancelled == []


async def test_one_that_its_executor_has_forgotten_is_found_out_within_seconds(world: World) -> None:
    execution = await world.start_one(**HOUR)
    await let_pass(world, ASK_SILENT_AFTER_S + 1)
    assert world.kube.phases["one"] == ["Running", "Crashed"]
    assert world.executors.buried == [execution.execution_id]


async def test_one_that_was_given_up_is_cancelled_once_its_executor_is_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.inquiry._CANCEL_AGAIN_S", 0.0)
    execution = await world.start_one(**HOUR)
    world.executors.answer = ExecutorUnreachable("no answer")
    await let_pass(world, HEARTBEAT_DEADLINE_S + 10)
    assert world.kube.phases["one"][-1] == "Crashed"
    assert world.executors.cancelled == []
    world.executors.answer = ExecutionState(execution_id=execution.execution_id, state="running")
    await world.settle()
    assert world.executors.cancelled == [execution.execution_id]


async def test_a_pod_that_should_be_gone_ends_its_run_without_a_word_of_its_kubelet(world: World) -> None:
    container = {"name": "executor", "state": {"running": {}}, "containerID": "containerd://a", "restartCount": 0}
    pod = make_pod("lost", containerStatuses=[container])
    ended: list[str] = []
    world.pipeline.containers.listeners.append(lambda run: ended.append(run.exit.message if run.exit else ""))
    world.recovery.see_pod(pod)
    world.recovery.see_pod(replace(pod, deleting=True, gone_by=NOW))
    world.time = NOW + timedelta(seconds=31)
    world.check_times()
    assert ended == ["", "the executor pod lost does not end: node node-1 seems to be lost"]
