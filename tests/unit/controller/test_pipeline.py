"""The pipeline and the recovery with a clock, an API server and an executor that the test holds in its hands."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from contracts.errors import ErrorBody
from contracts.executor_api import ExecutionState
from controller.errors import ExecutorRefusal, ExecutorUnreachable, KubeUnavailable
from controller.facts import Tails
from controller.tracking import GRACE_S
from tests.unit.controller.builders import NOW, make_execution, make_pod, make_report
from tests.unit.controller.world import World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    await made.pipeline.close(0)


async def test_the_whole_way(world: World) -> None:
    execution = await world.start_one(event={"a": 1})
    [request] = world.executors.requests
    assert request.execution_id == execution.execution_id
    assert request.event == {"a": 1}
    assert request.report_token is not None
    token = request.report_token.get_secret_value()
    attempt = world.reports.find_attempt(execution.execution_id, token)
    assert attempt == 1
    report = make_report(execution_id=execution.execution_id)
    assert await world.reports.take(execution.execution_id, attempt, report) == 201
    assert world.kube.phases["one"] == ["Running", "Succeeded"]
    assert await world.reports.take(execution.execution_id, attempt, report) == 200
    assert len(world.pipeline.registry) == 0


async def test_a_late_watch_event_does_not_bring_an_ended_one_back(world: World) -> None:
    execution = await world.start_one()
    await world.reports.take(execution.execution_id, 1, make_report(execution_id=execution.execution_id))
    world.pipeline.see(execution)
    await world.settle()
    assert len(world.pipeline.registry) == 0
    assert len(world.executors.requests) == 1


async def test_the_same_report_twice_at_the_same_moment_is_written_once(world: World) -> None:
    execution = await world.start_one()
    report = make_report(execution_id=execution.execution_id)
    answers = await asyncio.gather(*(world.reports.take(execution.execution_id, 1, report) for _ in range(4)))
    assert sorted(answers) == [200, 200, 200, 201]
    assert world.kube.phases["one"] == ["Running", "Succeeded"]


@pytest.mark.parametrize("answer", [None, "running", ExecutorUnreachable("down")])
async def test_one_without_a_result_after_its_time_has_crashed(world: World, answer: Any) -> None:
    execution = await world.start_one(timeoutSeconds=10)
    if answer == "running":
        answer = ExecutionState(execution_id=execution.execution_id, state="running")
    world.executors.answer = answer
    world.time = NOW + timedelta(seconds=10 + GRACE_S)
    assert world.reports.beat(execution.execution_id, 1, None)
    world.check_times()
    await world.settle()
    assert set(world.kube.phases["one"]) == {"Running"}
    world.time += timedelta(seconds=1)
    world.check_times()
    await world.settle()
    assert world.kube.phases["one"][-1] == "Crashed"
    assert world.kube.reason("one", "Finished") == "ExecutorLost"
    assert world.executors.cancelled == ([execution.execution_id] if isinstance(answer, ExecutionState) else [])


async def test_a_result_that_was_never_reported_is_found_when_the_time_is_over(world: World) -> None:
    execution = await world.start_one(timeoutSeconds=10)
    result = make_report(execution_id=execution.execution_id, reason="Completed").model_dump()
    world.executors.answer = ExecutionState.model_validate(
        {"execution_id": execution.execution_id, "state": "ended", "result": result}
    )
    world.time = NOW + timedelta(seconds=60)
    world.check_times()
    await world.settle()
    assert world.kube.phases["one"] == ["Running", "Succeeded"]


@pytest.mark.parametrize(
    ("status", "reason"), [(400, "RefusedByExecutor"), (413, "RefusedByExecutor"), (409, "DuplicateExecutionId")]
)
async def test_what_an_executor_will_never_take_is_rejected(world: World, status: int, reason: str) -> None:
    body = ErrorBody(error_code="Executor.ValidationError", description="no", request_id="r")
    world.executors.refusals = [ExecutorRefusal(status, body)]
    await world.send_one()
    assert world.kube.phases["one"] == ["Running", "Rejected"]
    assert world.kube.reason("one", "Finished") == reason


async def test_one_that_waits_longer_than_a_second_says_so_once(world: World) -> None:
    await world.start_one()
    world.pipeline.see(make_execution("two"))
    await world.settle()
    world.check_times()
    await world.settle()
    assert "two" not in world.kube.phases
    world.time += timedelta(seconds=1)
    for _ in range(3):
        world.check_times()
        await world.settle()
    assert world.kube.phases["two"] == ["Pending"]
    assert world.kube.reason("two", "Scheduled") == "Queued"


async def test_heartbeats_are_written_at_most_once_in_five_seconds(world: World) -> None:
    execution = await world.start_one(timeoutSeconds=60)
    for second in range(1, 13):
        world.time = NOW + timedelta(seconds=second)
        assert world.reports.beat(execution.execution_id, 1, {"second": second})
        await world.settle()
    assert world.kube.phases["one"] == ["Running"] * 3
    assert world.kube.status["one"]["progress"] == {"second": 10}
    assert not world.reports.beat(execution.execution_id, 2, None)
    assert not world.reports.beat("exec_20260115_zzzzzzzz", 1, None)


async def test_new_output_is_written_with_the_heartbeat_and_at_most_every_two_seconds(world: World) -> None:
    execution = await world.start_one(timeoutSeconds=60)
    writes = []
    for half_seconds in range(1, 21):
        world.time = NOW + timedelta(seconds=half_seconds / 2)
        tails = Tails(f"line {half_seconds}", None)
        assert world.reports.beat(execution.execution_id, 1, {"n": half_seconds}, tails, between=True)
        await world.settle()
        writes.append(len(world.kube.phases["one"]) - 1)
    assert writes == [0, 0, 0, *[1] * 4, *[2] * 4, *[3] * 4, *[4] * 4, 5]
    status = world.kube.status["one"]
    assert (status["stdoutTail"], status["progress"]) == ("line 20", {"n": 20})
    assert status["lastHeartbeatTime"] == (NOW + timedelta(seconds=10)).isoformat().replace("+00:00", "Z")
    assert "stderrTail" not in status
    await world.reports.take(execution.execution_id, 1, make_report(execution_id=execution.execution_id, stdout="all"))
    assert world.kube.phases["one"] == ["Running"] * 6 + ["Succeeded"]
    assert world.kube.status["one"].keys() & {"stdoutTail", "stderrTail"} == set()
    assert world.kube.status["one"]["stdout"] == "all"


async def test_output_that_has_not_changed_costs_no_write_more(world: World) -> None:
    execution = await world.start_one(timeoutSeconds=60)
    for second in (2.5, 5, 7.5, 10, 12.5):
        world.time = NOW + timedelta(seconds=second)
        world.reports.beat(execution.execution_id, 1, None, Tails("the same", None), between=second % 5 > 0)
        await world.settle()
    assert len(world.kube.phases["one"]) == 1 + 3  # at 2.5 for the output, at 7.5 and 12.5 for the heartbeat


async def test_a_short_one_is_written_twice_whatever_it_prints(world: World) -> None:
    execution = await world.start_one()
    world.time = NOW + timedelta(seconds=1.9)
    world.reports.beat(execution.execution_id, 1, None, Tails("much", "more"), between=True)
    await world.reports.take(execution.execution_id, 1, make_report(execution_id=execution.execution_id))
    assert world.kube.phases["one"] == ["Running", "Succeeded"]


async def test_a_pod_that_goes_crashes_what_it_ran_and_what_waits_runs_elsewhere(world: World) -> None:
    await world.start_one()
    world.pipeline.see(make_execution("two"))
    await world.settle()
    world.recovery.lose_pod("pod-1")
    world.recovery.see_pod(make_pod("pod-2"))
    await world.settle()
    assert world.kube.phases["one"] == ["Running", "Crashed"]
    assert world.kube.phases["two"] == ["Running"]
    assert world.kube.status["two"]["podName"] == "pod-2"


async def test_two_that_want_one_id_and_the_older_one_has_it(world: World) -> None:
    chosen = "exec_20260115_samesame"
    world.pipeline.see(make_execution("b-younger", executionId=chosen))
    world.pipeline.see(make_execution("a-older", executionId=chosen))
    await world.settle()
    assert world.kube.phases["b-younger"][-1] == "Rejected"
    assert world.kube.reason("b-younger", "Finished") == "DuplicateExecutionId"
    assert world.kube.phases["a-older"] == ["Pending"]


async def test_a_crash_of_a_pod_that_the_kubelet_says_it_evicts_is_an_eviction(world: World) -> None:
    execution = await world.start_one()
    told = "The node was low on resource: memory."
    world.kube.lists["events"] = [{"reason": "Started"}, {"reason": "Evicted", "message": told}]
    crashed = make_report(
        execution_id=execution.execution_id, status="crashed", reason="PodTerminated", stdout="so far", exit_code=-1
    )
    assert await world.reports.take(execution.execution_id, 1, crashed) == 201
    assert world.kube.reason("one", "Finished") == "Evicted"
    (finished,) = [item for item in world.kube.status["one"]["conditions"] if item["type"] == "Finished"]
    assert "The node was low on resource: memory; the code may have run in part" in finished["message"]
    assert world.kube.status["one"]["stdout"] == "so far"
    assert await world.reports.take(execution.execution_id, 1, crashed) == 200, "the same report, told again"


async def test_a_crash_is_written_although_the_events_cannot_be_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    execution = await world.start_one()

    async def refuse(path: str, **_: str) -> AsyncIterator[list[dict[str, Any]]]:
        raise KubeUnavailable(403, "Forbidden", path)
        yield []

    monkeypatch.setattr(world.kube, "list_pages", refuse)
    crashed = make_report(execution_id=execution.execution_id, status="crashed", reason="PodTerminated", exit_code=-1)
    assert await world.reports.take(execution.execution_id, 1, crashed) == 201
    assert world.kube.reason("one", "Finished") == "PodTerminated"
