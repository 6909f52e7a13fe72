"""How Executions end otherwise: cancelled, deleted, crashed, refused."""

import base64
from typing import Any

import pytest

from controller import names
from tests.integration.controller.cluster import NAMESPACE, TENANT, Cluster, Controller, eventually, first_within
from tests.integration.controller.conftest import StartExecutor
from tests.integration.controller.stopwatch import Stopwatch
from tests.integration.controller.test_way import find_condition


async def run_one(cluster: Cluster, start_executor: StartExecutor, name: str, **options: Any) -> tuple[Any, str]:
    """An Execution that runs on a recording executor; the executor and the execution id."""
    await cluster.create_pool("default", concurrency=1)
    executor = await start_executor(auto=False, concurrency=1)
    await cluster.create_execution(name, **options)
    running = await cluster.wait_for_phase(name, "Running")
    execution_id = running["status"]["executionId"]
    await eventually(lambda: execution_id in executor.runs, what="the dispatch")
    return executor, execution_id


async def cancel(cluster: Cluster, name: str) -> None:
    path = names.execution_path("default", name)
    await cluster.call("PATCH", path, {"spec": {"cancel": True}}, kind="application/merge-patch+json")


async def test_deleting_a_running_one_kills_its_sandbox_and_frees_the_slot(
    cluster: Cluster, controller: Controller, start_executor: StartExecutor
) -> None:
    """Within two seconds: that is whoever watches, and nobody who compares lists."""
    await cluster.create_pool("default", concurrency=1)
    executor = await start_executor(auto=False, concurrency=1)

    async def delete_running(number: int) -> float:
        name = f"doomed-{number}"
        await cluster.create_execution(name)
        execution_id = str((await cluster.wait_for_phase(name, "Running"))["status"]["executionId"])
        await eventually(lambda: execution_id in executor.runs, what="the dispatch")
        watch = Stopwatch(controller.pids)
        await cluster.delete(names.execution_path("default", name))
        await eventually(lambda: executor.runs[execution_id].cancelled, what="the sandbox to be killed")
        return watch.read()

    await first_within(2, delete_running)
    executor.auto = True
    await cluster.create_execution("next")
    await cluster.wait_for_phase("next", "Succeeded")
    for doomed in executor.received[:-1]:
        assert await executor.end(doomed, status="failed", reason="Cancelled", exit_code=137) == 404


async def test_cancelling_a_running_one_ends_it_cancelled(cluster: Cluster, start_executor: StartExecutor) -> None:
    executor, execution_id = await run_one(cluster, start_executor, "stopped")
    await cancel(cluster, "stopped")
    await eventually(lambda: executor.runs[execution_id].cancelled, what="the sandbox to be killed")
    answer = await executor.end(execution_id, status="failed", reason="Cancelled", exit_code=137, stdout="part")
    assert answer == 201
    ended = await cluster.wait_for_phase("stopped", "Cancelled")
    assert ended["status"]["stdout"] == "part"


async def test_cancelling_one_that_waits_ends_it_at_once_and_it_never_runs(
    cluster: Cluster, start_executor: StartExecutor
) -> None:
    executor, execution_id = await run_one(cluster, start_executor, "busy")
    await cluster.create_execution("queued")
    await cluster.wait_for_phase("queued", "Pending")
    await cancel(cluster, "queued")
    await cluster.wait_for_phase("queued", "Cancelled")
    assert await executor.end(execution_id) == 201
    await cluster.wait_for_phase("busy", "Succeeded")
    assert executor.received == [execution_id]


@pytest.mark.parametrize(
    ("exit_code", "why", "reason"),
    [
        (137, "OOMKilled", "OutOfMemory"),
        (143, "Error", "PodTerminated"),
        (137, "Error", "ContainerKilled"),
        (3, "Error", "ExecutorError"),
    ],
)
async def test_what_ran_in_a_container_that_ended_has_crashed(
    cluster: Cluster, start_executor: StartExecutor, exit_code: int, why: str, reason: str
) -> None:
    executor, execution_id = await run_one(cluster, start_executor, "victim")
    ended = {"exitCode": exit_code, "reason": why, "finishedAt": "2026-01-01T00:00:09Z", "startedAt": None}
    await cluster.set_pod_status("pod-1", ready=False, state={"terminated": ended})
    crashed = await cluster.wait_for_phase("victim", "Crashed")
    assert find_condition(crashed, "Finished")["reason"] == reason
    assert crashed["status"]["error"]["errorCode"] == f"Controller.{reason}"
    assert await executor.end(execution_id) == 409


async def test_what_ran_in_a_restarted_container_has_crashed_and_the_pod_takes_work_again(
    cluster: Cluster, start_executor: StartExecutor
) -> None:
    executor, _ = await run_one(cluster, start_executor, "victim")
    executor.forget()
    executor.auto = True
    last = {"terminated": {"exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-01-01T00:00:09Z"}}
    await cluster.set_pod_status("pod-1", restartCount=1, lastState=last)
    crashed = await cluster.wait_for_phase("victim", "Crashed")
    assert find_condition(crashed, "Finished")["reason"] == "OutOfMemory"
    await cluster.create_execution("after")
    await cluster.wait_for_phase("after", "Succeeded")


async def test_what_ran_on_a_deleted_pod_has_crashed(cluster: Cluster, start_executor: StartExecutor) -> None:
    await run_one(cluster, start_executor, "victim")
    await cluster.delete(names.core_path(NAMESPACE, "pods", "pod-1"))
    crashed = await cluster.wait_for_phase("victim", "Crashed")
    assert find_condition(crashed, "Finished")["reason"] == "ExecutorLost"


async def test_only_the_executions_own_token_reports_and_the_answers_tell_repeats_apart(
    cluster: Cluster, controller: Controller, start_executor: StartExecutor
) -> None:
    executor, execution_id = await run_one(cluster, start_executor, "reported")
    token = executor.runs[execution_id].request["report_token"]
    good = {**_result(execution_id), "metrics": {"duration_ms": 1.0}}
    for wrong in ("", "x" * 64, controller.internal_token, controller.execute_token):
        assert await executor.report(execution_id, wrong, good) == 401
    assert await executor.report("exec_20260101_aaaaaaaa", token, good) == 401
    assert await executor.report(execution_id, token, {**good, "exit_code": "0"}) == 422
    without = {key: value for key, value in good.items() if key != "exit_code"}
    assert await executor.report(execution_id, token, without) == 422
    assert (await cluster.read_execution("reported"))["status"]["phase"] == "Running"
    assert await executor.report(execution_id, token, {**good, "unknown": 1}) == 201
    assert (await cluster.read_execution("reported"))["status"]["phase"] == "Succeeded"
    assert await executor.report(execution_id, token, good) == 200
    assert await executor.report(execution_id, token, {**good, "status": "failed", "exit_code": 1}) == 409


def _result(execution_id: str) -> dict[str, Any]:
    return {
        "execution_id": execution_id,
        "status": "success",
        "reason": "Completed",
        "exit_code": 0,
        "execution_time": 0.1,
    }


async def test_a_ten_megabyte_stream_is_cut_to_its_end(cluster: Cluster, start_executor: StartExecutor) -> None:
    executor, execution_id = await run_one(cluster, start_executor, "loud")
    assert await executor.end(execution_id, stdout="é" * 5_000_000, return_value="x" * 70_000) == 201
    status = (await cluster.wait_for_phase("loud", "Succeeded"))["status"]
    assert len(status["stdout"].encode()) == 65_536
    assert (status["stdoutBytes"], status["stdoutTruncated"], status["returnValueTruncated"]) == (
        10_000_000,
        True,
        True,
    )


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"timeoutSeconds": 61}, "OverPoolLimit"),
        ({"resources": {"memory": "2Gi"}}, "OverPoolLimit"),
        ({"resources": {"memory": "1Mi"}}, "InvalidResources"),
        ({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}, "SecretsNotAllowed"),
        ({"code": None, "codeFrom": {"configMapKeyRef": {"name": "none", "key": "k"}}}, "ConfigMapNotFound"),
    ],
)
async def test_what_may_not_run_is_rejected_with_the_reason(
    cluster: Cluster, start_executor: StartExecutor, spec: dict[str, Any], reason: str
) -> None:
    await cluster.create_pool("default", limits={"timeoutSeconds": 60, "memory": "1Gi"})
    executor = await start_executor()
    await cluster.create_execution("refused", **spec)
    rejected = await cluster.wait_for_phase("refused", "Rejected")
    assert find_condition(rejected, "Finished")["reason"] == reason
    assert find_condition(rejected, "Succeeded")["status"] == "False"
    assert rejected["status"]["error"]["solution"]
    assert executor.received == []
    about = [event.get("objectRef") or {} for event in cluster.server.audited()]
    assert not [seen for seen in about if seen.get("resource") == "secrets" and seen.get("namespace") == TENANT]


async def test_secrets_config_maps_and_bounds_reach_the_executor_where_they_are_allowed(
    cluster: Cluster, start_executor: StartExecutor, controller: Controller
) -> None:
    namespace, value = "with-secrets", "s3cret-value"
    secret = {"metadata": {"name": "keys"}, "data": {"k": base64.b64encode(value.encode()).decode()}}
    await cluster.call("POST", names.core_path(namespace, "secrets"), secret)
    code = {"metadata": {"name": "code"}, "data": {"main.py": "def handler(event): return 1"}}
    await cluster.call("POST", names.core_path(namespace, "configmaps"), code)
    await cluster.create_pool("default", limits={"processes": 50})
    executor = await start_executor()
    await cluster.create_execution(
        "fed",
        namespace,
        code=None,
        codeFrom={"configMapKeyRef": {"name": "code", "key": "main.py"}},
        env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "k"}}}, {"name": "B", "value": "b"}],
        resources={"memory": "256Mi"},
    )
    await cluster.wait_for_phase("fed", "Succeeded", namespace=namespace)
    [run] = executor.runs.values()
    assert run.request["code"] == code["data"]["main.py"]
    assert run.request["env_vars"] == {"A": value, "B": "b"}
    assert run.request["limits"]["memory_bytes"] == 256 * 1024 * 1024
    assert run.request["limits"]["processes"] == 50
    assert value not in controller.log


async def test_a_namespace_that_the_pool_does_not_select_is_rejected(
    cluster: Cluster, start_executor: StartExecutor
) -> None:
    await cluster.create_pool("default", allowedNamespaces={"matchLabels": {"team": "blue"}})
    await start_executor()
    await cluster.create_execution("outsider")
    rejected = await cluster.wait_for_phase("outsider", "Rejected")
    assert find_condition(rejected, "Finished")["reason"] == "NamespaceNotAllowed"


async def test_an_execution_id_that_another_namespace_uses_is_rejected(
    cluster: Cluster, start_executor: StartExecutor
) -> None:
    executor, execution_id = await run_one(cluster, start_executor, "owner", executionId="exec_20260101_samesame")
    await cluster.create_execution("thief", "with-secrets", executionId=execution_id)
    rejected = await cluster.wait_for_phase("thief", "Rejected", namespace="with-secrets")
    assert find_condition(rejected, "Finished")["reason"] == "DuplicateExecutionId"
    assert await executor.end(execution_id) == 201


async def test_a_full_queue_rejects(cluster: Cluster, start_executor: StartExecutor) -> None:
    await cluster.create_pool("default", concurrency=1, queueLimit=1)
    await start_executor(auto=False, concurrency=1)
    await cluster.create_execution("runs")
    await cluster.wait_for_phase("runs", "Running")
    await cluster.create_execution("waits")
    await cluster.wait_for_phase("waits", "Pending")
    await cluster.create_execution("too-many")
    rejected = await cluster.wait_for_phase("too-many", "Rejected")
    assert find_condition(rejected, "Finished")["reason"] == "QueueFull"


async def test_a_finished_one_is_deleted_after_its_time(cluster: Cluster, start_executor: StartExecutor) -> None:
    await cluster.create_pool("default")
    executor = await start_executor()
    await cluster.wait_for_slots()
    await cluster.create_execution("brief", ttlSecondsAfterFinished=1)
    await cluster.check_writes("brief", "create", "update status", "update status", "delete")
    assert executor.answers == [201]
    [run] = executor.runs.values()
    assert run.ended_at is not None
    deleted_at = cluster.server.timed_writes_on("executions", "brief")[-1][1]
    assert deleted_at - run.ended_at >= 1
    assert (await cluster.call("GET", names.executions_path(TENANT)))["items"] == []


async def test_how_an_earlier_run_of_a_container_ended_is_not_told_of_this_one(
    cluster: Cluster, start_executor: StartExecutor
) -> None:
    await cluster.create_pool("default")
    await start_executor(auto=False)
    broken = {"terminated": {"exitCode": 134, "reason": "Error", "finishedAt": "2026-01-01T00:00:09Z"}}
    await cluster.set_pod_status("pod-1", restartCount=1, lastState=broken)
    await cluster.create_execution("vanished")
    await cluster.wait_for_phase("vanished", "Running")
    await cluster.delete(names.core_path(NAMESPACE, "pods", "pod-1"))
    crashed = await cluster.wait_for_phase("vanished", "Crashed")
    assert find_condition(crashed, "Finished")["reason"] == "ExecutorLost"
