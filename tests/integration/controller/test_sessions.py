"""Sessions and retries through a real API server: where and how often things run."""

from typing import Any

from controller import names
from tests.integration.controller.cluster import NAMESPACE, Cluster, Controller, eventually
from tests.integration.controller.conftest import StartExecutor
from tests.integration.controller.test_way import find_condition


async def test_a_session_runs_in_order_on_one_pod_and_under_its_tenants_name(
    cluster: Cluster, start_executor: StartExecutor
) -> None:
    await cluster.create_pool("default")
    executors = [await start_executor(f"pod-{number}", delay_s=0.1) for number in (1, 2)]
    for number in range(6):
        await cluster.create_execution(f"step-{number}", sessionId="chat")
        await cluster.create_execution(f"other-{number}")
    ended = [await cluster.wait_for_phase(f"step-{number}", "Succeeded") for number in range(6)]
    assert len({item["status"]["podName"] for item in ended}) == 1
    (home,) = [fake for fake in executors if ended[0]["status"]["executionId"] in fake.runs]
    steps = [item["status"]["executionId"] for item in ended]
    assert [execution_id for execution_id in home.received if execution_id in steps] == steps
    assert {home.runs[execution_id].request["session_id"] for execution_id in steps} == {"default.chat"}
    times = [(item["status"]["startTime"], item["status"]["completionTime"]) for item in ended]
    assert all(before[1] <= after[0] for before, after in zip(times, times[1:], strict=False))


async def test_a_session_goes_on_where_it_was_after_a_restart_of_the_controller(
    cluster: Cluster, own_controller: Controller, start_executor: StartExecutor
) -> None:
    await cluster.create_pool("default")
    for number in (1, 2, 3):
        await start_executor(f"pod-{number}", concurrency=number)
    await cluster.create_execution("first", sessionId="chat")
    home = (await cluster.wait_for_phase("first", "Succeeded"))["status"]["podName"]
    await cluster.set_pod_status(home, ready=False)
    await own_controller.stop()
    await own_controller.start()
    await cluster.create_execution("second", sessionId="chat")
    await cluster.create_execution("free")
    assert (await cluster.wait_for_phase("free", "Succeeded"))["status"]["podName"] != home
    waiting = await cluster.wait_for_phase("second", "Pending")
    assert "session chat" in find_condition(waiting, "Scheduled")["message"]
    await cluster.set_pod_status(home, ready=True)
    assert (await cluster.wait_for_phase("second", "Succeeded"))["status"]["podName"] == home


async def lose(cluster: Cluster, pod: str) -> None:
    """Its container is killed, and stays away."""
    ended: dict[str, Any] = {"exitCode": 137, "signal": 9, "reason": "Error", "finishedAt": "2026-01-01T00:00:09Z"}
    await cluster.set_pod_status(pod, ready=False, restartCount=0, state={"terminated": ended})


async def test_a_lost_attempt_is_repeated_as_often_as_allowed_and_no_more(
    cluster: Cluster, start_executor: StartExecutor
) -> None:
    await cluster.create_pool("default")
    executors = {f"pod-{number}": await start_executor(f"pod-{number}", auto=False) for number in (1, 2)}
    await cluster.create_execution("again", maxRetries=1)
    first = (await cluster.wait_for_phase("again", "Running"))["status"]
    execution_id = first["executionId"]
    await eventually(lambda: execution_id in executors[first["podName"]].runs, what="the first attempt")
    lost = executors.pop(first["podName"])
    await lose(cluster, first["podName"])

    (second_pod, second) = next(iter(executors.items()))
    await eventually(lambda: execution_id in second.runs, what="the second attempt")
    running = (await cluster.wait_for_phase("again", "Running"))["status"]
    assert (running["attempt"], running["podName"]) == (2, second_pod)
    late = await lost.report(
        execution_id,
        lost.runs[execution_id].request["report_token"],
        {
            "execution_id": execution_id,
            "status": "success",
            "reason": "Completed",
            "exit_code": 0,
            "execution_time": 1.0,
            "metrics": {"duration_ms": 1.0},
        },
    )
    assert late == 409, "the lost attempt has no say any more"
    await cluster.wait_for_events("again", "Retrying")
    await cluster.delete(names.core_path(NAMESPACE, "pods", second_pod))
    crashed = await cluster.wait_for_phase("again", "Crashed")
    assert crashed["status"]["attempt"] == 2
    assert find_condition(crashed, "Finished")["reason"] == "ExecutorLost"


async def test_what_is_cancelled_is_not_repeated(cluster: Cluster, start_executor: StartExecutor) -> None:
    await cluster.create_pool("default")
    executor = await start_executor(auto=False)
    await cluster.create_execution("stopped", maxRetries=5)
    await cluster.wait_for_phase("stopped", "Running")
    await eventually(lambda: executor.runs, what="the dispatch")
    path = names.execution_path("default", "stopped")
    await cluster.call("PATCH", path, {"spec": {"cancel": True}}, kind="application/merge-patch+json")
    await eventually(lambda: next(iter(executor.runs.values())).cancelled, what="the kill")
    await lose(cluster, "pod-1")
    assert (await cluster.wait_for_phase("stopped", "Crashed", "Cancelled"))["status"]["attempt"] == 1
