"""Dispatches whose fate is unclear: executors that restart, refuse, or answer too late."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from contracts.executor_api import ExecutionState
from controller.deadlines import HEARTBEAT_DEADLINE_S
from controller.errors import ExecutorFenced, ExecutorUnreachable
from controller.resources import Execution
from controller.silence import SilentPods
from tests.unit.controller.builders import NOW, make_execution, make_pod, make_pool, make_report
from tests.unit.controller.world import World

BURIED = ExecutorFenced("a tombstone", other_run=False)
LOST_ANSWER = ExecutorUnreachable("POST: ServerDisconnectedError")
NEVER_SENT = ExecutorUnreachable("POST: ClientConnectorError", taken=False)


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr("controller.dispatch._BACKOFF_S", (0.0,))
    made = World()
    yield made
    await made.pipeline.close(0)


async def test_every_try_is_meant_for_the_run_that_the_first_one_was_meant_for(world: World) -> None:
    world.executors.refusals = [LOST_ANSWER, LOST_ANSWER]
    await world.send_one()
    assert world.executors.runs == ["a" * 32] * 3
    assert len(world.executors.requests) == 1
    assert world.kube.status["one"]["executorRun"] == "a" * 32


async def test_a_restarted_executor_that_may_have_begun_it_does_not_get_it_again(world: World) -> None:
    def restart() -> Exception:
        world.executors.run_id = "c" * 32
        return LOST_ANSWER

    world.executors.refusals = [restart]
    execution = await world.send_one()
    assert world.executors.requests == []
    assert world.executors.buried == [execution.execution_id]
    assert world.kube.phases["one"] == ["Running", "Crashed"]


@pytest.mark.parametrize("before", [[], [NEVER_SENT], [NEVER_SENT, NEVER_SENT]])
async def test_a_restarted_executor_that_cannot_have_begun_it_gets_it_now(
    world: World, before: list[Exception]
) -> None:
    world.add_pod()
    world.pipeline.pods.run_ids["pod-1"] = "b" * 32
    world.executors.refusals = [*before]
    world.pipeline.see(make_execution())
    await world.settle()
    assert world.executors.runs[-2:] == ["b" * 32, "a" * 32]
    assert len(world.executors.requests) == 1
    assert world.kube.phases["one"] == ["Running"]


async def test_what_a_tombstone_keeps_out_has_crashed_and_is_not_called_a_duplicate(world: World) -> None:
    world.executors.refusals = [BURIED] * 100
    execution = await world.send_one()
    assert world.executors.buried == [execution.execution_id]
    assert world.kube.phases["one"] == ["Running", "Crashed"]
    assert world.kube.reason("one", "Finished") == "ExecutorLost"


async def test_the_run_of_an_executor_is_asked_for_once_and_forgotten_when_its_container_ends(world: World) -> None:
    await world.start_one()
    assert world.pipeline.pods.run_ids == {"pod-1": "a" * 32}
    ended = {"terminated": {"exitCode": 1, "finishedAt": "2026-01-15T12:00:20Z"}}
    status = {"name": "executor", "state": {"running": {}}, "lastState": ended, "restartCount": 1}
    world.recovery.see_pod(make_pod(containerStatuses=[status]))
    assert world.pipeline.pods.run_ids == {}


async def test_a_cancellation_leaves_a_tombstone_where_it_is_unknown(world: World) -> None:
    execution = await world.start_one()
    world.pipeline.see(make_execution(cancel=True))
    await world.settle()
    assert world.executors.buried == [execution.execution_id]
    assert world.kube.phases["one"] == ["Running", "Cancelled"]


async def test_an_executor_that_gives_no_answer_gets_no_more_work_until_it_does(world: World) -> None:
    world.executors.refusals = [ExecutorUnreachable("POST: TimeoutError", silent=True)] * 1000
    await world.send_one()
    assert world.pipeline.pods.silent == {"pod-1"}
    world.pipeline.see_pool(replace(make_pool(concurrency=2), generation=4))
    world.pipeline.see(make_execution("two"))
    await world.settle()
    assert world.pipeline.placement.is_waiting("uid-two")
    silent = SilentPods(world.pipeline, world.executors)  # type: ignore[arg-type]
    world.executors.refusals.clear()
    await silent.look()
    await world.settle()
    assert world.pipeline.pods.silent == set()
    assert world.kube.phases == {"one": ["Running"], "two": ["Running"]}


async def test_an_executor_that_says_that_it_is_full_is_not_silent(world: World) -> None:
    world.executors.refusals = [ExecutorUnreachable("POST answered 503", taken=False)] * 20
    await world.send_one()
    assert world.pipeline.pods.silent == set()


async def test_nothing_new_is_claimed_while_the_process_ends(world: World) -> None:
    world.add_pod()
    closing = asyncio.ensure_future(world.pipeline.close(0.1))
    await asyncio.sleep(0)
    world.pipeline.see(make_execution())
    await closing
    assert world.kube.phases == {}
    assert world.executors.requests == []


async def test_a_claim_of_another_leader_is_adopted_by_one_that_had_it_waiting(world: World) -> None:
    waiting = make_execution()
    world.pipeline.see(waiting)
    await world.settle()
    world.executors.answer = ExecutionState(execution_id=waiting.execution_id, state="running")
    world.add_pod()
    world.pipeline.see(running(resource_version="200"))
    await world.settle()
    assert world.executors.requests == []
    assert world.kube.phases == {"one": ["Pending"]}
    assert world.pipeline.placement.holders("pod-1") == {"uid-one"}


def running(resource_version: str = "7", **status: Any) -> Execution:
    """As another leader has left it."""
    fields = {"phase": "Running", "attempt": 1, "podName": "pod-1", "startTime": "2026-01-15T12:00:01Z", **status}
    return replace(make_execution(status=fields, timeoutSeconds=3600), resource_version=resource_version)


async def test_an_adopted_one_that_its_executor_does_not_know_has_crashed_and_can_never_begin(world: World) -> None:
    world.add_pod()
    world.pipeline.see(running())
    await world.settle()
    assert world.executors.buried == [running().execution_id]
    assert world.kube.phases["one"] == ["Crashed"]
    assert world.executors.requests == []


async def test_why_an_executor_does_not_know_it_is_read_from_its_pod(world: World) -> None:
    world.add_pod()
    ended = {"terminated": {"exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-01-15T12:00:20Z"}}
    container = {"name": "executor", "state": {"running": {}}, "lastState": ended, "restartCount": 1}
    world.kube.objects["/api/v1/namespaces/system/pods/pod-1"] = {
        "metadata": {"name": "pod-1", "uid": "uid-pod-1", "labels": {"sandbox-executor.dev/pool": "default"}},
        "status": {"phase": "Running", "podIP": "10.0.0.1", "containerStatuses": [container]},
    }
    world.pipeline.see(running())
    await world.settle()
    assert world.kube.reason("one", "Finished") == "OutOfMemory"


async def test_an_adopted_one_whose_executor_has_its_result_ends_with_it(world: World) -> None:
    world.add_pod()
    result = make_report(execution_id=running().execution_id).model_dump()
    world.executors.answer = ExecutionState.model_validate(
        {"execution_id": running().execution_id, "state": "ended", "result": result}
    )
    world.pipeline.see(running())
    await world.settle()
    assert world.kube.phases["one"] == ["Succeeded"]


async def test_an_adopted_one_whose_executor_is_silent_waits_for_the_heartbeat_deadline(world: World) -> None:
    world.add_pod()
    world.executors.answer = ExecutorUnreachable("no answer")
    world.pipeline.see(running())
    await world.settle()
    for seconds, phases in ((HEARTBEAT_DEADLINE_S - 1, {}), (HEARTBEAT_DEADLINE_S + 5, {"one": ["Crashed"]})):
        world.time = NOW + timedelta(seconds=seconds)
        world.check_times()
        await world.settle()
        assert world.kube.phases == phases
