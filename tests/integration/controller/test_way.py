"""The way of an Execution through a real API server: what is written, how often, in which order."""

import asyncio
from typing import Any
from urllib.parse import quote

from controller import names
from tests.integration.controller.cluster import NAMESPACE, Cluster, Controller, eventually
from tests.integration.controller.conftest import StartExecutor


def find_condition(item: dict[str, Any], kind: str) -> dict[str, Any]:
    conditions = (item.get("status") or {}).get("conditions") or []
    return next((condition for condition in conditions if condition["type"] == kind), {})


async def test_an_execution_ends_with_its_result_after_exactly_two_status_writes(
    cluster: Cluster, controller: Controller, start_executor: StartExecutor
) -> None:
    await cluster.create_pool("default")
    executor = await start_executor()
    await cluster.wait_for_slots()
    await cluster.create_execution("hello", event={"name": "world"})
    ended = await cluster.wait_for_phase("hello", "Succeeded")

    status = ended["status"]
    assert status["returnValue"] == {"ok": True, "nothing": None}
    assert status["stdout"] == "hello\n"
    assert (status["podName"], status["nodeName"], status["attempt"]) == ("pod-1", "node-1", 1)
    for kind in ("Scheduled", "Finished", "Succeeded"):
        assert find_condition(ended, kind)["status"] == "True"
    assert find_condition(ended, "Reported") == {}, "there is no Control Plane to report to"
    [run] = executor.runs.values()
    assert run.request["event"] == {"name": "world"}
    assert run.owner == ended["metadata"]["uid"], "its output is this Execution's alone"
    assert executor.tokens == [f"Bearer {controller.execute_token}"]
    await eventually(lambda: executor.answers == [201], what="the report to be answered")
    await cluster.check_writes("hello", "create", "update status", "update status")


async def test_forty_at_once_run_in_order_and_never_more_than_the_slots(
    cluster: Cluster, start_executor: StartExecutor
) -> None:
    await cluster.create_pool("default")
    executors = [await start_executor(f"pod-{number}", auto=False, delay_s=0.4) for number in (1, 2)]
    for number in range(8):
        await cluster.create_execution(f"before-{number}")
    await eventually(lambda: sum(executor.active for executor in executors) == 8, what="all slots to be taken")
    created = await asyncio.gather(*(cluster.create_execution(f"burst-{number:02d}") for number in range(40)))
    await eventually(lambda: queued(cluster) == 40, what="all to wait")
    for executor in executors:
        executor.auto = True
        assert [await executor.end(execution_id) for execution_id in list(executor.runs)[:4]] == [201] * 4
    ended = [await cluster.wait_for_phase(item["metadata"]["name"], "Succeeded") for item in created]
    assert [executor.most_active for executor in executors] == [4, 4]
    assert sum(len(executor.received) for executor in executors) == 48
    by_creation = sorted(zip(created, ended, strict=True), key=lambda pair: _order(pair[0]["metadata"]))
    starts = [pair[1]["status"]["startTime"] for pair in by_creation]
    assert starts == sorted(starts)


def queued(cluster: Cluster) -> int:
    """How many wait in the pool, by its status."""
    return int(cluster.server.request("GET", names.pool_path("default")).get("status", {}).get("queued", 0))


def _order(metadata: dict[str, Any]) -> tuple[str, int]:
    """The server stamps an object before it stores it: where a second turns, the two orders may differ."""
    return metadata["creationTimestamp"], int(metadata["resourceVersion"])


async def test_the_server_leaves_those_that_have_ended_out_of_what_is_watched(
    cluster: Cluster, start_executor: StartExecutor
) -> None:
    await cluster.create_pool("default")
    executor = await start_executor(auto=False)
    for number in range(4):
        await cluster.create_execution(f"one-{number}")
    await eventually(lambda: len(executor.runs) == 4, what="all to run")
    for execution_id in list(executor.runs)[:3]:
        assert await executor.end(execution_id) == 201
    path = names.executions_path("default")
    watched = await cluster.call("GET", f"{path}?fieldSelector={quote(names.UNFINISHED_SELECTOR)}")
    assert len((await cluster.call("GET", path))["items"]) == 4
    assert [item["status"]["phase"] for item in watched["items"]] == ["Running"]


async def test_one_without_a_pool_says_so_and_runs_once_the_pool_is_there(
    cluster: Cluster, start_executor: StartExecutor
) -> None:
    await cluster.create_execution("early", pool="later")
    waiting = await cluster.wait_for_phase("early", "Pending")
    scheduled = find_condition(waiting, "Scheduled")
    assert (scheduled["status"], scheduled["reason"]) == ("False", "PoolNotFound")
    assert "'later'" in scheduled["message"]
    assert "kubectl get executorpools" in scheduled["message"]
    await cluster.create_pool("later")
    await start_executor("pod-later", "later")
    await cluster.wait_for_phase("early", "Succeeded")
    await cluster.wait_for_events("early", "PoolNotFound", "Scheduled", "Finished")


async def test_one_that_waits_for_a_slot_says_so_once_and_does_not_block_another_pool(
    cluster: Cluster, start_executor: StartExecutor
) -> None:
    for pool in ("default", "other"):
        await cluster.create_pool(pool, concurrency=1)
    busy = await start_executor("pod-1", concurrency=1, auto=False)
    await start_executor("pod-2", "other", concurrency=1)
    first = await cluster.create_execution("first")
    await eventually(lambda: busy.runs, what="the dispatch")
    await cluster.create_execution("second")
    waiting = await cluster.wait_for_phase("second", "Pending")
    assert find_condition(waiting, "Scheduled")["reason"] == "Queued"
    await cluster.create_execution("elsewhere", pool="other")
    await cluster.wait_for_phase("elsewhere", "Succeeded")
    await asyncio.sleep(1.2)
    busy.auto = True
    await busy.end((await cluster.read_execution("first"))["status"]["executionId"])
    await cluster.wait_for_phase("second", "Succeeded")
    await cluster.check_writes("second", "create", "update status", "update status", "update status")
    assert first["metadata"]["name"] == "first"


async def test_an_executor_that_cannot_be_reached_gets_the_same_execution_again(
    cluster: Cluster, start_executor: StartExecutor
) -> None:
    await cluster.create_pool("default")
    executor = await start_executor()
    executor.refuse = 3
    await cluster.create_execution("retried")
    await cluster.wait_for_phase("retried", "Succeeded")
    assert len(executor.received) == 1
    assert executor.refuse == 0


async def test_the_pool_gets_a_deployment_that_the_api_server_takes_and_a_status(
    cluster: Cluster, start_executor: StartExecutor
) -> None:
    await cluster.create_pool("default", replicas=2, concurrency=3)
    path = f"{names.deployments_path(NAMESPACE)}/{names.deployment_name('default')}"

    def find() -> Any:
        try:
            return cluster.server.request("GET", path)
        except Exception:
            return None

    deployment = await eventually(find, what="the pool's Deployment")
    pod = deployment["spec"]["template"]["spec"]
    assert pod["hostUsers"] is False
    assert pod["containers"][0]["securityContext"]["procMount"] == "Unmasked"
    assert pod["securityContext"]["seccompProfile"]["localhostProfile"] == "sandbox-executor/executor.json"
    assert deployment["metadata"]["ownerReferences"][0]["name"] == "default"
    await start_executor(concurrency=3)

    def status() -> Any:
        found = cluster.server.request("GET", names.pool_path("default"))
        return found if found.get("status", {}).get("freeSlots") == 3 else None

    pool = await eventually(status, what="the pool's free slots")
    assert pool["status"]["isolation"] == "full"
    assert find_condition(pool, "Available")["status"] == "True"
    scale = await cluster.call("GET", names.pool_path("default") + "/scale")
    assert scale["spec"]["replicas"] == 2
    assert names.POOL_LABEL in scale["status"]["selector"]


async def test_a_pool_whose_image_cannot_be_pulled_says_so(cluster: Cluster, start_executor: StartExecutor) -> None:
    await cluster.create_pool("default")
    await start_executor()
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    await cluster.set_pod_status("pod-1", ready=False, phase="Pending", state=waiting)

    def degraded() -> Any:
        found = find_condition(cluster.server.request("GET", names.pool_path("default")), "Degraded")
        return found if found.get("status") == "True" else None

    condition = await eventually(degraded, what="the pool to be degraded")
    assert condition["reason"] == "ImagePullBackOff"
    assert "spec.image" in condition["message"]
