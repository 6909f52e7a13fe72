"""Results that only an executor has, heartbeats, deletions, containers: what the rest of the controller sees."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from contracts.control_plane_api import ResultReport
from contracts.kube import Condition
from controller.relay import relay as relay_module
from controller.relay.heartbeats import AT_A_TIME, TIMEOUT_S
from controller.relay.relay import WHOLES_AT_A_TIME
from controller.report_tokens import ReportTokens
from controller.reports import Reports
from controller.resources import Execution
from controller.status import REPORTED
from controller.tracking import Ended, Stage, Tracked
from tests.unit.controller.builders import make_execution, make_pod, make_pool, make_report
from tests.unit.controller.relay.rig import HANG, Rig, make_ended
from tests.unit.executor_runtime.fake_time import settle

OUTPUT = "x" * 100_000
DOWN = "ClientConnectorError: refused"


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    made = Rig()
    made.pipeline.pods.see(make_pod())
    yield made
    await made.stop()


def end_large(rig: Rig, name: str = "one") -> tuple[Execution, ResultReport]:
    """One whose output is larger than its status keeps."""
    execution = rig.end(name, stdout=OUTPUT[-65_536:], stdoutBytes=len(OUTPUT), stdoutTruncated=True)
    return execution, make_report(execution_id=execution.execution_id, stdout=OUTPUT)


async def test_a_large_result_is_acknowledged_once_the_control_plane_has_it_whole(rig: Rig) -> None:
    await rig.start()
    execution, report = end_large(rig)
    assert rig.kube.condition("one")[:2] == ("Unknown", "WholeResultPending")
    assert await rig.relay.take_whole(execution.uid, report, 100_500)
    [said] = rig.client.results()
    assert (said["stdout"], said["stdout_truncated"]) == (OUTPUT, False)
    assert rig.kube.condition("one")[:2] == ("True", "Accepted")
    assert rig.settled == ["one"]
    await rig.time.advance(600)
    assert len(rig.client.calls) == 1
    assert await rig.relay.take_whole(execution.uid, report, 100_500), "a repeat is acknowledged, and told no more"
    assert len(rig.client.calls) == 1


async def test_until_then_the_executor_holds_it_and_what_the_status_keeps_is_not_told(rig: Rig) -> None:
    rig.client.program = [503, DOWN]
    await rig.start()
    execution, report = end_large(rig)
    for _ in range(2):
        assert not await rig.relay.take_whole(execution.uid, report, 100_500)
    await rig.time.advance(600)
    assert len(rig.client.calls) == 2
    assert rig.settled == []
    assert await rig.relay.take_whole(execution.uid, report, 100_500)
    assert rig.client.results()[-1]["stdout"] == OUTPUT


async def test_while_nobody_answers_the_executor_is_told_to_wait_without_a_call(rig: Rig) -> None:
    await rig.start()
    execution, report = end_large(rig)
    rig.client.always = DOWN
    for _ in range(5):
        assert not await rig.relay.take_whole(execution.uid, report, 100_500)
    assert rig.relay.must_wait(execution.uid)
    assert not await rig.relay.take_whole(execution.uid, report, 100_500)
    assert len(rig.client.calls) == 5
    status, reason, message = rig.kube.condition("one")
    assert (status, reason) == ("False", "WholeResultPending")
    assert message == f"5 attempts; the last one: {DOWN}"
    rig.client.always = 0
    await rig.time.advance(10)
    assert not rig.relay.must_wait(execution.uid)
    assert await rig.relay.take_whole(execution.uid, report, 100_500)


async def test_when_the_pod_that_held_it_is_gone_what_the_status_keeps_is_told_and_marked_so(rig: Rig) -> None:
    rig.client.program = [503]
    await rig.start()
    execution, report = end_large(rig)
    assert not await rig.relay.take_whole(execution.uid, report, 100_500)
    rig.pipeline.pods.lose("pod-1")
    await rig.time.advance(20)
    said = rig.client.results()[-1]
    assert (len(said["stdout"]), said["stdout_truncated"]) == (65_536, True)
    assert rig.kube.condition("one")[:2] == ("True", "ReportedTruncated")
    assert rig.settled == ["one"]


async def test_a_conflict_over_a_part_may_mean_that_the_whole_was_taken_and_the_answer_lost(rig: Rig) -> None:
    rig.client.program = [503, 409]
    await rig.start()
    execution, report = end_large(rig)
    assert not await rig.relay.take_whole(execution.uid, report, 100_500)
    rig.pipeline.pods.lose("pod-1")
    await rig.time.advance(20)
    status, reason, message = rig.kube.condition("one")
    assert (status, reason) == ("True", "Conflict")
    assert "or it has had the whole result, of which the status keeps a part, before" in message


async def test_a_pod_whose_container_ends_with_it_is_noticed_at_once(rig: Rig) -> None:
    pod = make_container_pod("a")
    rig.pipeline.pods.see(pod)
    rig.pipeline.containers.see(pod, ready=True)
    await rig.start()
    rig.client.program = [503]
    execution, report = end_large(rig)
    assert not await rig.relay.take_whole(execution.uid, report, 100_500)
    await rig.time.advance(1)
    rig.pipeline.pods.lose("pod-1")
    rig.pipeline.containers.lose("pod-1", pod)
    await rig.time.advance(0.1)
    assert rig.kube.condition("one")[:2] == ("True", "ReportedTruncated")


async def test_after_a_restart_it_still_waits_for_the_executor(rig: Rig) -> None:
    rig.client.program = [503]
    await rig.start()
    execution, report = end_large(rig)
    assert not await rig.relay.take_whole(execution.uid, report, 100_500)
    await rig.stop()
    second = rig.restart()
    second.pipeline.pods.see(make_pod())
    assert not await second.relay.take_whole(execution.uid, report, 100_500), "it has not listed yet"
    await second.start()
    await second.time.advance(60)
    assert len(rig.client.calls) == 1
    assert await second.relay.take_whole(execution.uid, report, 100_500)
    assert rig.client.results()[-1]["stdout"] == OUTPUT
    await second.stop()


async def test_an_executor_that_forgot_it_after_a_day_is_waited_for_no_longer(rig: Rig) -> None:
    await rig.start()
    end_large(rig)
    await rig.time.advance(24 * 3600 - 20)
    assert rig.client.calls == []
    await rig.time.advance(60)
    assert rig.kube.condition("one")[:2] == ("True", "ReportedTruncated")


async def test_one_that_is_too_large_for_the_control_plane_is_told_as_the_status_keeps_it(rig: Rig) -> None:
    rig.client.program = [413]
    await rig.start()
    execution, report = end_large(rig)
    assert await rig.relay.take_whole(execution.uid, report, 100_500)
    await rig.time.advance(1)
    assert [len(said["stdout"]) for said in rig.client.results()] == [100_000, 65_536]
    assert rig.kube.condition("one")[:2] == ("True", "ReportedTruncated")


async def test_an_executor_is_never_asked_to_hold_more_than_it_has_room_for(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "HELD_BYTES_PER_POD", 250_000)
    rig.client.always = DOWN
    await rig.start()
    held = []
    for number in range(4):
        execution, report = end_large(rig, str(number))
        held.append(not await rig.relay.take_whole(execution.uid, report, 100_000))
    assert held == [True, True, False, False]
    assert [rig.kube.condition(str(number))[1] for number in range(4)] == [
        "WholeResultPending",
        "WholeResultPending",
        "Pending",
        "Pending",
    ]
    await rig.stop()
    second = rig.restart()
    second.pipeline.pods.see(make_pod())
    rig.client.always = 0
    await second.start()
    await second.time.advance(30)
    assert [second.kube.condition(str(number))[1] for number in range(4)] == [
        "WholeResultPending",
        "WholeResultPending",
        "ReportedTruncated",
        "ReportedTruncated",
    ]
    await second.stop()


async def test_large_results_hold_memory_for_two_of_them_only_and_never_wait_for_each_other(rig: Rig) -> None:
    rig.client.always = HANG
    await rig.start()
    ended = [end_large(rig, str(number)) for number in range(4)]
    hanging = [asyncio.ensure_future(rig.relay.take_whole(execution.uid, report, 1)) for execution, report in ended[:2]]
    await settle()
    assert rig.client.most_under_way == WHOLES_AT_A_TIME
    assert [await rig.relay.take_whole(execution.uid, report, 1) for execution, report in ended[2:]] == [False, False]
    assert not await rig.relay.take_whole(ended[0][0].uid, ended[0][1], 1), "the first one is under way"
    rig.client.always = 0
    rig.client.released.set()
    assert await asyncio.gather(*hanging) == [True, True]


def track_running(rig: Rig, name: str = "one") -> Tracked:
    """An Execution that the pipeline has as running."""
    status = {"phase": "Running", "attempt": 1, "podName": "pod-1", "startTime": "2026-01-15T12:00:00Z"}
    execution = make_execution(name, status={**status, "executionId": f"exec_20260115_{name:0>8}"})
    tracked = rig.pipeline.registry.add(execution)
    tracked.stage = Stage.RUNNING
    return tracked


async def test_heartbeats_are_passed_on_but_not_more_often_than_executors_send_them(rig: Rig) -> None:
    await rig.start()
    tracked = track_running(rig)
    reports = Reports(rig.pipeline, ReportTokens(b"key"), rig.time.now, rig.relay)
    for second in range(20):
        await rig.time.advance(1)
        assert reports.beat(tracked.execution.execution_id, 1, {"second": second})
        await settle()
    sent = [json.loads(call.body) for call in rig.client.calls]
    assert [beat["progress"]["second"] for beat in sent] == [0, 3, 6, 9, 12, 15, 18]
    assert set(rig.client.paths()) == {"heartbeat"}


async def test_a_heartbeat_is_dropped_while_the_one_before_it_hangs_and_the_result_comes_after_it(rig: Rig) -> None:
    await rig.start()
    rig.client.program = [HANG]
    execution = make_ended()
    for _ in range(3):
        rig.relay.beat(execution.execution_id, None, rig.time.now())
        await settle()
    rig.end_as(execution, tell=True)
    await settle()
    assert rig.client.paths() == ["heartbeat"]
    rig.client.released.set()
    await settle()
    assert rig.client.paths() == ["heartbeat", "result"]
    dropped = rig.metrics.registry.get_sample_value("sandbox_controller_relay_heartbeats_dropped_total")
    assert dropped == 2


async def test_heartbeats_do_not_pile_up_and_stop_while_nobody_answers(rig: Rig) -> None:
    await rig.start()
    rig.client.always = HANG
    for number in range(100):
        rig.relay.beat(f"exec_20260115_{number:08d}", None, rig.time.now())
    await settle()
    assert rig.client.most_under_way == AT_A_TIME
    assert all(call.timeout_s == TIMEOUT_S for call in rig.client.calls)
    rig.client.always = DOWN
    rig.client.released.set()
    await settle()
    for number in range(20):
        rig.end(str(number))
    await rig.time.advance(1)
    assert rig.gauge("circuit_open") == 1
    before = len(rig.client.calls)
    rig.relay.beat("exec_20260115_00000099", None, rig.time.now())
    await settle()
    assert len(rig.client.calls) == before


async def test_a_progress_that_is_too_large_is_left_out(rig: Rig) -> None:
    rig.relay.beat("exec_20260115_00000001", {"text": "x" * 100_000}, rig.time.now())
    await settle()
    assert "progress" not in json.loads(rig.client.calls[0].body)


async def test_one_that_is_deleted_while_it_runs_is_told_as_cancelled(rig: Rig) -> None:
    await rig.start()
    tracked = track_running(rig)
    tracked.deleted = True
    tracked.pod_url = ""
    tracked.dispatched.set()
    rig.client.program = [503]
    rig.pipeline.stop(tracked)
    await rig.time.advance(2)
    assert [(said["status"], said["reason"]) for said in rig.client.results()] == [("failed", "Cancelled")] * 2
    assert len({call.idempotency_key for call in rig.client.calls}) == 1
    assert rig.gauge("pending", kind="farewell") == 0


async def test_one_that_is_deleted_while_it_waits_is_told_unless_another_has_its_id(rig: Rig) -> None:
    await rig.start()
    owner = make_ended("owner")
    rig.end_as(owner, tell=False)
    for name, execution_id in (("mine", "exec_20260115_mineonly"), ("other", owner.execution_id)):
        tracked = rig.pipeline.registry.add(make_execution(name, executionId=execution_id))
        rig.pipeline.lose(tracked.uid)
    await rig.time.advance(1)
    assert [said["execution_id"] for said in rig.client.results()] == ["exec_20260115_mineonly"]


def make_container_pod(container_id: str, **status: Any) -> Any:
    running = {"name": "executor", "state": {"running": {}}, "containerID": f"containerd://{container_id}"}
    return make_pod(containerStatuses=[{**running, "restartCount": 0, **status}])


async def test_each_run_of_a_container_is_told_ready_first_and_then_how_it_ended_once_each(rig: Rig) -> None:
    await rig.start()
    rig.client.program = [503, 204, 503, 503]
    runs = rig.pipeline.containers
    runs.see(make_container_pod("a"), ready=True)
    ended = {"terminated": {"exitCode": 137, "reason": "OOMKilled", "containerID": "containerd://a"}}
    for _ in range(3):
        runs.see(make_container_pod("a", state=ended), ready=False)
    runs.see(make_container_pod("b", lastState=ended, restartCount=1), ready=True)
    await rig.time.advance(20)
    keys = [call.idempotency_key for call in rig.client.calls]
    assert list(dict.fromkeys(keys)) == [
        "uid-pod-1-a-ready",
        "uid-pod-1-a-exited",
        "uid-pod-1-b-ready",
    ] or list(dict.fromkeys(keys)) == ["uid-pod-1-a-ready", "uid-pod-1-b-ready", "uid-pod-1-a-exited"]
    exited = next(json.loads(call.body) for call in rig.client.calls if call.path.endswith("exited"))
    assert (exited["container_id"], exited["exit_code"], exited["exit_reason"]) == ("a", 137, "oom_killed")
    rows = runs.rows("default") or []
    assert [(row.container_id, row.reported) for row in rows] == [("b", "Ready"), ("a", "Exited")]


async def test_what_is_untold_of_containers_survives_a_restart_in_the_status_of_the_pool(rig: Rig) -> None:
    rig.client.always = DOWN
    await rig.start()
    runs = rig.pipeline.containers
    pods = {name: replace(make_container_pod(name), name=name, uid=f"uid-{name}") for name in ("a", "b")}
    for pod in pods.values():
        runs.see(pod, ready=True)
    runs.lose("a", pods["a"])
    rows = runs.rows("default")
    await rig.stop()
    rig.client.calls.clear()
    rig.client.always = 0

    second = rig.restart()
    pool = make_pool()
    status = pool.status.model_copy(update={"containers": rows})
    second.pipeline.see_pool(replace(pool, status=status))
    second.pipeline.containers.see(pods["b"], ready=True)
    second.pipeline.containers.listed({"uid-b"})
    await second.start()
    await second.time.advance(12)
    assert sorted(call.idempotency_key for call in rig.client.calls) == [
        "uid-a-a-exited",
        "uid-a-a-ready",
        "uid-b-b-ready",
    ]
    await second.stop()


async def test_nothing_is_removed_before_it_is_told(rig: Rig) -> None:
    execution = make_ended()
    assert rig.relay.is_waiting(execution)
    conditions = [
        Condition(type=REPORTED, status="True", reason="Accepted", last_transition_time=rig.time.now()),
    ]
    told = replace(execution, status=execution.status.model_copy(update={"conditions": conditions}))
    assert not rig.relay.is_waiting(told)
    assert not rig.relay.is_waiting(make_execution("waiting"))


async def test_a_repeated_large_report_is_found_by_its_execution_id(rig: Rig) -> None:
    await rig.start()
    rig.client.program = [503]
    execution, report = end_large(rig)
    tracked = rig.pipeline.registry.add(execution)
    rig.pipeline.registry.give_id(tracked)
    rig.pipeline.registry.drop(tracked, Ended(execution.uid, 1, "Succeeded", ("Completed", 0)))
    reports = Reports(rig.pipeline, ReportTokens(b"key"), rig.time.now, rig.relay)
    assert await reports.take(execution.execution_id, 1, report, 100_500) == 503
    assert not reports.must_wait(execution.execution_id)
    assert await reports.take(execution.execution_id, 1, report, 100_500) == 200
    small = make_report(execution_id=execution.execution_id)
    assert await reports.take(execution.execution_id, 1, small, 100) == 200
