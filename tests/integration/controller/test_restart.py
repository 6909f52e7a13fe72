"""What a controller finds when it comes back: nothing runs twice, nothing is lost."""

from controller import names
from tests.fakes.executor import FakeExecutor
from tests.integration.controller.cluster import Cluster, Controller, eventually
from tests.integration.controller.conftest import StartExecutor
from tests.integration.controller.test_end import run_one
from tests.integration.controller.test_way import find_condition


async def test_a_running_one_is_adopted_and_counts_against_its_slot(
    cluster: Cluster, own_controller: Controller, start_executor: StartExecutor
) -> None:
    executor, execution_id = await run_one(cluster, start_executor, "survivor")
    await own_controller.stop(kill=True)
    await cluster.create_execution("behind")
    await own_controller.start()
    await cluster.wait_for_phase("behind", "Pending")
    assert executor.received == [execution_id]
    executor.auto = True
    assert await executor.end(execution_id) == 201
    await cluster.wait_for_phase("survivor", "Succeeded")
    await cluster.wait_for_phase("behind", "Succeeded")
    assert executor.received.count(execution_id) == 1


async def test_what_happened_meanwhile_is_found_out(
    cluster: Cluster, own_controller: Controller, start_executor: StartExecutor
) -> None:
    await cluster.create_pool("default")
    ids = {}

    async def run(name: str, executor: FakeExecutor) -> None:
        await cluster.create_execution(name)
        ids[name] = (await cluster.wait_for_phase(name, "Running"))["status"]["executionId"]
        await eventually(lambda: ids[name] in executor.runs, what="the dispatch")

    restarted = await start_executor("pod-1", concurrency=1, auto=False)
    await run("forgotten", restarted)
    executor = await start_executor("pod-2", auto=False)
    for name in ("ended", "cancelled"):
        await run(name, executor)
    assert await own_controller.stop() == 0
    executor.runs[ids["ended"]].result = {
        "execution_id": ids["ended"],
        "status": "failed",
        "reason": "HandlerRaised",
        "exit_code": 1,
        "execution_time": 0.1,
        "metrics": {"duration_ms": 1.0},
    }
    restarted.forget()
    await cluster.call(
        "PATCH",
        names.execution_path("default", "cancelled"),
        {"spec": {"cancel": True}},
        kind="application/merge-patch+json",
    )
    await own_controller.start()
    ended = await cluster.wait_for_phase("ended", "Failed")
    assert find_condition(ended, "Finished")["reason"] == "HandlerRaised"
    crashed = await cluster.wait_for_phase("forgotten", "Crashed")
    assert find_condition(crashed, "Finished")["reason"] == "ExecutorLost"
    await eventually(lambda: executor.runs[ids["cancelled"]].cancelled, what="the cancelled one to be killed")
    assert (len(restarted.received), len(executor.received)) == (1, 2)


async def test_what_was_claimed_and_never_dispatched_runs_now(
    cluster: Cluster, own_controller: Controller, start_executor: StartExecutor
) -> None:
    await cluster.create_pool("default")
    executor = await start_executor(refuse=10**6)
    await cluster.create_execution("claimed", maxRetries=1)
    claimed = await cluster.wait_for_phase("claimed", "Running")
    assert claimed["status"]["executorRun"] == executor.run_id
    await own_controller.stop(kill=True)
    executor.refuse = 0
    await own_controller.start()
    ended = await cluster.wait_for_phase("claimed", "Succeeded")
    assert executor.received == [ended["status"]["executionId"]]
    assert (ended["status"]["attempt"], executor.tombstones) == (1, {})
    assert ended["status"]["startTime"] > claimed["status"]["startTime"]


async def test_what_was_deleted_meanwhile_is_killed(
    cluster: Cluster, own_controller: Controller, start_executor: StartExecutor
) -> None:
    executor, execution_id = await run_one(cluster, start_executor, "gone")
    await own_controller.stop(kill=True)
    await cluster.delete(names.execution_path("default", "gone"))
    await own_controller.start()
    await eventually(lambda: executor.runs[execution_id].cancelled, what="the orphan to be killed")


async def test_a_report_whose_answer_was_lost_is_answered_as_a_repeat_after_a_restart(
    cluster: Cluster, own_controller: Controller, start_executor: StartExecutor
) -> None:
    executor, execution_id = await run_one(cluster, start_executor, "told")
    assert await executor.end(execution_id) == 201
    await own_controller.stop(kill=True)
    await own_controller.start()
    run = executor.runs[execution_id]
    assert run.result is not None
    assert await executor.report(execution_id, run.request["report_token"], run.result) == 200
    other = {**run.result, "status": "failed", "reason": "NonZeroExit", "exit_code": 1}
    assert await executor.report(execution_id, run.request["report_token"], other) == 409


async def test_an_id_that_an_ended_execution_has_had_is_not_given_again(
    cluster: Cluster, own_controller: Controller, start_executor: StartExecutor
) -> None:
    executor, execution_id = await run_one(cluster, start_executor, "first", executionId="exec_20260101_onceonly")
    assert await executor.end(execution_id) == 201
    await own_controller.stop()
    await own_controller.start()
    await cluster.create_execution("second", "with-secrets", executionId=execution_id)
    rejected = await cluster.wait_for_phase("second", "Rejected", namespace="with-secrets")
    assert find_condition(rejected, "Finished")["reason"] == "DuplicateExecutionId"


async def test_a_pod_that_went_meanwhile_took_its_executions_with_it(
    cluster: Cluster, own_controller: Controller, start_executor: StartExecutor
) -> None:
    await run_one(cluster, start_executor, "orphan")
    await own_controller.stop(kill=True)
    await cluster.delete(names.core_path("sandbox-system", "pods", "pod-1"))
    await own_controller.start()
    crashed = await cluster.wait_for_phase("orphan", "Crashed")
    assert find_condition(crashed, "Finished")["reason"] == "ExecutorLost"


async def test_another_attempt_runs_on_the_very_executor_that_has_forgotten_the_first(
    cluster: Cluster, own_controller: Controller, start_executor: StartExecutor
) -> None:
    executor, execution_id = await run_one(cluster, start_executor, "again", maxRetries=1)
    executor.forget()
    last = {"terminated": {"exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-01-01T00:00:09Z"}}
    await cluster.set_pod_status("pod-1", restartCount=1, lastState=last)
    await eventually(lambda: execution_id in executor.runs, what="the second attempt")
    assert executor.runs[execution_id].attempt == 2
    assert executor.tombstones == {execution_id: 1}
    assert await executor.end(execution_id) == 201
    ended = await cluster.wait_for_phase("again", "Succeeded")
    assert ended["status"]["attempt"] == 2
