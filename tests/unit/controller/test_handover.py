"""Claims that no executor has received: begun by whoever finds them, or never, and never twice."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from contracts.errors import ErrorBody
from contracts.executor_api import ExecutionState
from controller import names
from controller.errors import ExecutorFenced, ExecutorRefusal, ExecutorUnreachable
from controller.handover import AGAIN_WITHIN
from controller.resources import Execution
from controller.tracking import GRACE_S
from tests.unit.controller.builders import NOW, make_execution, make_pool
from tests.unit.controller.world import World

RUN = "a" * 32
OTHER_RUN = ExecutorFenced("an earlier run", other_run=True)
BURIED = ExecutorFenced("a tombstone", other_run=False)
LOST_ANSWER = ExecutorUnreachable("POST: ServerDisconnectedError")
OTHER_REQUEST = ExecutorRefusal(409, ErrorBody(error_code="Executor.Conflict", description="no", request_id="r"))


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr("controller.dispatch._BACKOFF_S", (0.0,))
    made = World()
    yield made
    await made.pipeline.close(0)


def claimed(status: dict[str, Any] | None = None, **spec: Any) -> Execution:
    """As a leader has left it that died right after the claim."""
    fields = {"phase": "Running", "attempt": 1, "podName": "pod-1", "executorRun": RUN, **(status or {})}
    return make_execution(status={"startTime": "2026-01-15T12:00:20Z", **fields}, **spec)


def body_of(execution: Execution, status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """What the API server has of it now."""
    metadata = {
        "name": execution.name,
        "namespace": execution.namespace,
        "uid": execution.uid,
        "resourceVersion": "50",
        "creationTimestamp": "2026-01-15T12:00:00Z",
    }
    whole = {"code": "x", "language": "python", **spec}
    return {"metadata": metadata, "spec": whole, "status": status or execution.status.to_kube()}


async def adopt(world: World, execution: Execution) -> None:
    world.add_pod()
    world.pipeline.see(execution)
    await world.settle()


async def test_a_claim_that_its_executor_does_not_know_runs_as_the_same_attempt(world: World) -> None:
    execution = claimed(event={"a": 1})
    await adopt(world, execution)
    [request] = world.executors.requests
    assert (request.execution_id, request.event) == (execution.execution_id, {"a": 1})
    assert request.report_token is not None
    assert world.reports.find_attempt(execution.execution_id, request.report_token.get_secret_value()) == 1
    assert (world.executors.runs, world.executors.attempts) == ([RUN], [1])
    assert world.executors.buried == []
    assert world.kube.phases["one"] == ["Running"]
    status = world.kube.status["one"]
    assert (status["attempt"], status["executorRun"], status["podName"]) == (1, RUN, "pod-1")
    assert status["startTime"] == "2026-01-15T12:00:30Z"


async def test_a_later_attempt_stays_the_attempt_that_it_is(world: World) -> None:
    await adopt(world, claimed({"attempt": 2}, maxRetries=1))
    assert world.executors.attempts == [2]
    assert world.kube.status["one"]["attempt"] == 2


async def test_a_claim_of_a_version_that_named_no_run_has_crashed(world: World) -> None:
    await adopt(world, claimed({"executorRun": None}))
    assert world.executors.requests == []
    assert world.executors.buried == [claimed().execution_id]
    assert world.kube.phases["one"] == ["Crashed"]


async def test_an_executor_that_has_restarted_since_the_claim_does_not_get_it(world: World) -> None:
    world.executors.run_id = "b" * 32
    await adopt(world, claimed())
    assert world.executors.runs == []
    assert world.executors.buried == [claimed().execution_id]
    assert world.kube.phases["one"] == ["Crashed"]
    assert world.kube.reason("one", "Finished") == "ExecutorLost"


@pytest.mark.parametrize("refusal", [OTHER_RUN, BURIED])
async def test_an_executor_that_restarts_or_holds_a_tombstone_does_not_begin_it(
    world: World, refusal: Exception
) -> None:
    world.executors.refusals = [refusal] * 100
    await adopt(world, claimed())
    assert world.executors.runs == [RUN]
    assert world.executors.buried == [claimed().execution_id]
    assert world.kube.phases["one"] == ["Running", "Crashed"]


async def test_the_earlier_leaders_dispatch_that_arrives_meanwhile_is_adopted_though_it_was_another_request(
    world: World,
) -> None:
    def arrive() -> Exception:
        world.executors.answer = ExecutionState(execution_id=claimed().execution_id, state="running")
        return OTHER_REQUEST

    world.executors.refusals = [arrive]
    await adopt(world, claimed())
    assert (world.executors.runs, world.executors.buried) == ([RUN], [])
    assert world.kube.phases["one"] == ["Running"]


async def test_it_is_sent_until_its_executor_has_answered(world: World) -> None:
    world.executors.refusals = [LOST_ANSWER, LOST_ANSWER]
    await adopt(world, claimed())
    assert world.executors.runs == [RUN] * 3
    assert len(world.executors.requests) == 1


async def test_what_can_not_be_made_into_a_request_any_more_is_rejected_once_it_can_never_begin(world: World) -> None:
    code = {"configMapKeyRef": {"name": "gone", "key": "main.py"}}
    await adopt(world, claimed(code=None, codeFrom=code))
    assert world.executors.requests == []
    assert world.executors.buried == [claimed().execution_id]
    assert world.kube.phases["one"] == ["Rejected"]
    assert world.kube.reason("one", "Finished") == "ConfigMapNotFound"


async def test_what_is_refused_in_a_run_that_has_ended_may_have_begun_and_is_not_called_rejected(world: World) -> None:
    def restart() -> Exception:
        world.executors.run_id = "b" * 32
        body = ErrorBody(error_code="Executor.ValidationError", description="no", request_id="r")
        return ExecutorRefusal(400, body)

    world.executors.refusals = [restart]
    await adopt(world, claimed())
    assert world.kube.phases["one"] == ["Running", "Crashed"]


async def test_one_that_is_cancelled_is_not_begun_and_has_not_crashed(world: World) -> None:
    await adopt(world, claimed(cancel=True))
    assert world.executors.requests == []
    assert world.executors.buried[:1] == [claimed().execution_id]
    assert world.kube.phases["one"] == ["Cancelled"]


async def test_one_that_was_cancelled_in_the_moment_before_is_not_begun(world: World) -> None:
    execution = claimed()
    world.kube.conflicts = 1
    world.kube.objects[names.execution_path("tenant", "one")] = body_of(execution, cancel=True)
    await adopt(world, execution)
    assert world.executors.requests == []
    assert world.kube.phases["one"] == ["Cancelled"]


async def test_one_that_was_deleted_in_the_moment_before_is_not_begun(world: World) -> None:
    world.kube.conflicts = 1
    await adopt(world, claimed())
    assert world.executors.requests == []
    assert world.kube.phases == {}
    assert len(world.pipeline.registry) == 0


@pytest.mark.parametrize("phase", ["Succeeded", "Crashed"])
async def test_one_that_has_ended_by_an_earlier_leaders_last_word_is_not_begun(world: World, phase: str) -> None:
    execution = claimed()
    world.kube.conflicts = 1
    world.kube.objects[names.execution_path("tenant", "one")] = body_of(execution, {"phase": phase})
    await adopt(world, execution)
    assert world.executors.requests == []
    assert world.kube.phases == {}
    assert len(world.pipeline.registry) == 0


async def test_one_whose_attempt_was_given_up_by_an_earlier_leaders_last_word_gets_its_next_attempt(
    world: World,
) -> None:
    execution = claimed(maxRetries=1)
    world.kube.conflicts = 1
    again = body_of(execution, {"phase": "Pending", "attempt": 1}, maxRetries=1)
    world.kube.objects[names.execution_path("tenant", "one")] = again
    await adopt(world, execution)
    assert world.executors.attempts == [2]
    assert world.kube.phases["one"] == ["Running"]
    assert world.pipeline.placement.holders("pod-1") == {"uid-one"}


async def test_an_earlier_leaders_last_word_is_heard_while_the_lost_attempt_is_asked_about(world: World) -> None:
    world.executors.answer = ExecutorUnreachable("no answer")
    execution = claimed(maxRetries=1)
    await adopt(world, execution)
    late = make_execution(status={"phase": "Pending", "attempt": 1}, maxRetries=1)
    world.pipeline.see(replace(late, resource_version="60"))
    await world.settle()
    assert world.executors.attempts == [2]


async def test_one_that_its_executor_was_seen_to_know_is_never_handed_over_again(world: World) -> None:
    execution = claimed(timeoutSeconds=10)
    world.executors.answer = ExecutionState(execution_id=execution.execution_id, state="running")
    await adopt(world, execution)
    world.executors.answer = None
    world.time = NOW + timedelta(seconds=10 + GRACE_S)
    world.check_times()
    await world.settle()
    assert world.executors.requests == []
    assert world.kube.phases["one"] == ["Crashed"]


async def test_one_that_was_dispatched_and_is_unknown_afterwards_is_not_handed_over_again(world: World) -> None:
    await world.start_one(timeoutSeconds=10)
    world.time = NOW + timedelta(seconds=11 + GRACE_S)
    world.check_times()
    await world.settle()
    assert len(world.executors.requests) == 1
    assert world.kube.phases["one"] == ["Running", "Crashed"]


async def test_a_claim_that_is_older_than_executors_remember_is_not_begun(world: World) -> None:
    world.time = NOW + AGAIN_WITHIN
    await adopt(world, claimed())
    assert world.executors.requests == []
    assert world.kube.phases["one"] == ["Crashed"]


async def test_one_whose_time_went_by_while_nobody_led_has_all_of_its_time_from_now_on(world: World) -> None:
    world.time = NOW + timedelta(hours=1)
    await adopt(world, claimed(timeoutSeconds=30))
    world.executors.answer = ExecutionState(execution_id=claimed().execution_id, state="running")
    world.time += timedelta(seconds=29 + GRACE_S)
    world.check_times()
    await world.settle()
    assert len(world.executors.requests) == 1
    assert world.kube.phases["one"] == ["Running"]


async def test_two_that_ask_at_the_same_moment_hand_it_over_once(world: World) -> None:
    world.add_pod()
    world.time = NOW + timedelta(hours=1)
    world.pipeline.see(claimed(timeoutSeconds=30))
    world.check_times()
    await world.settle()
    assert len(world.executors.requests) == 1
    assert world.kube.phases["one"] == ["Running"]


async def test_a_pool_that_is_gone_gives_no_bounds_and_so_no_run(world: World) -> None:
    world.add_pod()
    world.pipeline.lose_pool("default")
    world.pipeline.see(claimed())
    await world.settle()
    assert (world.executors.requests, world.kube.phases) == ([], {})
    world.pipeline.see_pool(make_pool(concurrency=1))
    await world.settle()
    assert len(world.executors.requests) == 1


async def test_an_executor_that_does_not_answer_is_not_claimed_on(world: World) -> None:
    world.executors.health = ExecutorUnreachable("GET: TimeoutError", silent=True)
    execution = await world.send_one()
    assert world.kube.phases == {}
    assert world.pipeline.pods.silent == {"pod-1"}
    tracked = world.pipeline.registry.get(execution.uid)
    assert tracked is not None
    assert tracked.attempt == 0
