"""The controller behind a network that drops, delays, repeats, reorders and forgets: nothing is lost or run twice."""

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller import names
from tests.fakes.executor import FakeExecutor
from tests.integration.controller.apiserver import ApiServer
from tests.integration.controller.cluster import TENANT, Cluster, Controller, eventually
from tests.integration.controller.conftest import make_controller
from tests.integration.controller.fault_proxy import FaultProxy, Object

MANY = 20
REPAIRED_S = 30.0
"""The resync of ``hurried`` comes every 2 s, as shipped every 60 s; the rest is for a busy machine."""


@pytest.fixture
async def proxy(api_server: ApiServer) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(api_server.url) as running:
        yield running


@pytest.fixture(scope="module")
def paused(controller: Controller) -> Iterator[None]:
    """The controller that other modules share is away while this one's tests run."""
    controller.stop_blocking()
    yield
    controller.start_blocking()


@pytest.fixture
async def behind(api_server: ApiServer, paused: None, proxy: FaultProxy, tmp_path: Path) -> AsyncIterator[Controller]:
    """A controller that reaches the API server through the proxy only."""
    process = make_controller(api_server, tmp_path)
    process.module = "tests.integration.controller.hurried"
    config = yaml.safe_load(process.kubeconfig.read_text())
    config["clusters"][0]["cluster"] = {"server": proxy.url}
    process.kubeconfig.write_text(yaml.safe_dump(config))
    try:
        await process.start()
        yield process
    finally:
        proxy.reconnect()
        proxy.breaks.clear()
        if process.process is not None:
            await process.stop()


@pytest.fixture
async def executor(behind: Controller, cluster: Cluster) -> AsyncIterator[FakeExecutor]:
    """A pool with one pod, whose executor ends nothing by itself."""
    await cluster.create_pool("default")
    async with FakeExecutor(control_plane_url=behind.url, auto=False) as fake:
        await cluster.add_pod("pod-1", "default", fake.port)
        yield fake


async def run(cluster: Cluster, executor: FakeExecutor, name: str) -> str:
    """Creates one, and waits until its executor has it; its execution id."""
    await cluster.create_execution(name)
    running = await cluster.wait_for_phase(name, "Running")
    execution_id = str(running["status"]["executionId"])
    await eventually(lambda: execution_id in executor.runs, what=f"the dispatch of {name}")
    return execution_id


def once(executor: FakeExecutor) -> bool:
    """Whether nothing was dispatched twice in a way that could run twice."""
    return len(executor.runs) == len(set(executor.received))


async def test_a_claim_whose_answer_was_lost_is_one_claim(
    cluster: Cluster, proxy: FaultProxy, executor: FakeExecutor, api_server: ApiServer
) -> None:
    proxy.lose_answers("PUT", "executions/status", times=2)
    execution_id = await run(cluster, executor, "claimed")
    proxy.lose_answers("PUT", "executions/status", times=2)
    assert await executor.end(execution_id) == 201
    ended = await cluster.wait_for_phase("claimed", "Succeeded")
    assert ended["status"]["attempt"] == 1
    assert executor.received == [execution_id]


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_server_that_refuses_for_a_while_is_asked_until_it_does_not(
    cluster: Cluster, proxy: FaultProxy, executor: FakeExecutor, status: int
) -> None:
    proxy.refuse("PUT", "executions/status", status, times=3)
    execution_id = await run(cluster, executor, "patient")
    proxy.drop("PUT", "executions/status", times=3)
    assert await executor.end(execution_id) == 201
    await cluster.wait_for_phase("patient", "Succeeded")
    assert executor.received == [execution_id]


async def test_a_stale_list_that_shows_an_ended_one_as_pending_starts_nothing(
    cluster: Cluster, proxy: FaultProxy, behind: Controller, executor: FakeExecutor
) -> None:
    created = await cluster.create_execution("old-news")
    stale = {
        "apiVersion": created["apiVersion"],
        "kind": "ExecutionList",
        "metadata": {"resourceVersion": created["metadata"]["resourceVersion"]},
        "items": [created],
    }
    await cluster.wait_for_phase("old-news", "Running")
    await eventually(lambda: executor.runs, what="the dispatch")
    (execution_id,) = executor.runs
    assert await executor.end(execution_id) == 201
    await cluster.wait_for_phase("old-news", "Succeeded")
    await behind.stop(kill=True)
    proxy.answer_list("executions", stale, times=4)
    await behind.start()
    marker = await run(cluster, executor, "afterwards")
    await asyncio.sleep(3)
    assert executor.received == [execution_id, marker]
    assert (await cluster.read_execution("old-news"))["status"]["phase"] == "Succeeded"


async def test_an_execution_whose_creation_was_not_told_runs_all_the_same(
    cluster: Cluster, proxy: FaultProxy, executor: FakeExecutor
) -> None:
    proxy.lose_events("executions", "ADDED", "unheard")
    await run(cluster, executor, "unheard")


async def test_a_cancellation_that_was_not_told_kills_all_the_same(
    cluster: Cluster, proxy: FaultProxy, executor: FakeExecutor
) -> None:
    execution_id = await run(cluster, executor, "uncancelled")
    proxy.lose_events("executions", "MODIFIED", "uncancelled")
    patch = {"spec": {"cancel": True}}
    path = names.execution_path(TENANT, "uncancelled")
    await cluster.call("PATCH", path, patch, kind="application/merge-patch+json")
    await eventually(lambda: executor.runs[execution_id].cancelled, what="the kill", timeout_s=REPAIRED_S)


async def test_a_deletion_that_was_not_told_kills_all_the_same(
    cluster: Cluster, proxy: FaultProxy, executor: FakeExecutor
) -> None:
    execution_id = await run(cluster, executor, "undeleted")
    proxy.lose_events("executions", "DELETED", "undeleted")
    await cluster.delete(names.execution_path(TENANT, "undeleted"))
    await eventually(lambda: executor.runs[execution_id].cancelled, what="the kill", timeout_s=REPAIRED_S)


async def test_a_pod_whose_end_was_not_told_takes_its_executions_with_it(
    cluster: Cluster, proxy: FaultProxy, executor: FakeExecutor
) -> None:
    await run(cluster, executor, "left-alone")
    proxy.lose_events("pods", "DELETED", "pod-1")
    await cluster.delete(names.core_path("sandbox-system", "pods", "pod-1"))
    await cluster.wait_for_phase("left-alone", "Crashed", timeout_s=REPAIRED_S)


async def test_a_pod_that_was_not_told_takes_work(
    cluster: Cluster, proxy: FaultProxy, behind: Controller, executor: FakeExecutor
) -> None:
    await cluster.delete(names.core_path("sandbox-system", "pods", "pod-1"))
    proxy.edit_events("pods", lambda event: [])
    async with FakeExecutor(control_plane_url=behind.url) as fake:
        await cluster.add_pod("pod-2", "default", fake.port)
        await cluster.create_execution("found")
        await cluster.wait_for_phase("found", "Succeeded", timeout_s=REPAIRED_S)


async def test_a_watch_that_is_told_to_begin_anew_does(
    cluster: Cluster, proxy: FaultProxy, executor: FakeExecutor
) -> None:
    status = {"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old"}
    await eventually(lambda: proxy.watching("executions"), what="the watch")
    while await proxy.tell("executions", {"type": "ERROR", "object": status}) == 0:  # noqa: ASYNC110
        await asyncio.sleep(0.01)  # it has just ended by itself, and is made anew
    await run(cluster, executor, "after-410")


async def test_a_compaction_of_etcd_loses_nothing(
    cluster: Cluster, proxy: FaultProxy, executor: FakeExecutor, api_server: ApiServer
) -> None:
    first = await run(cluster, executor, "before")
    await proxy.cut_off()
    await cluster.create_execution("meanwhile")
    await asyncio.to_thread(compact, api_server)
    proxy.reconnect()
    await cluster.wait_for_phase("meanwhile", "Running", timeout_s=REPAIRED_S)
    assert await executor.end(first) == 201
    await cluster.wait_for_phase("before", "Succeeded")


async def test_a_watch_that_falls_silent_costs_seconds(
    cluster: Cluster, proxy: FaultProxy, executor: FakeExecutor
) -> None:
    proxy.silent.update({"executions", "pods", "executorpools"})
    execution_id = await run(cluster, executor, "whispered")
    assert await executor.end(execution_id) == 201
    await cluster.wait_for_phase("whispered", "Succeeded", timeout_s=REPAIRED_S)


async def test_events_that_are_repeated_and_reordered_change_nothing(
    cluster: Cluster, proxy: FaultProxy, executor: FakeExecutor
) -> None:
    held: list[Object] = []

    def shuffle(event: Object) -> list[Object]:
        """Holds every other event back until the next one, and says each three times."""
        if event["type"] not in ("ADDED", "MODIFIED"):
            return [event]
        if not held:
            held.append(event)
            return []
        return [event, held.pop()] * 3

    proxy.edit_events("executions", shuffle)
    executor.auto = True
    names_of_all = [f"many-{number}" for number in range(MANY)]
    for name in names_of_all:
        await cluster.create_execution(name)
    for name in names_of_all:
        ended = await cluster.wait_for_phase(name, "Succeeded")
        assert ended["status"]["attempt"] == 1
    assert len(executor.runs) == MANY
    assert once(executor)


async def test_being_cut_off_from_the_server_loses_no_result(
    cluster: Cluster, proxy: FaultProxy, executor: FakeExecutor
) -> None:
    execution_id = await run(cluster, executor, "held")
    await proxy.cut_off()
    reporting = asyncio.ensure_future(executor.end(execution_id))
    await eventually(lambda: is_written_in_vain(proxy), what="the result to be written in vain")
    assert not reporting.done() or reporting.result() == 503
    proxy.reconnect()
    run_ = executor.runs[execution_id]
    answer: Any = await reporting
    if answer == 503:
        assert run_.result is not None
        answer = await executor.report(execution_id, run_.request["report_token"], run_.result)
    assert answer in (200, 201)
    await cluster.wait_for_phase("held", "Succeeded")


def is_written_in_vain(proxy: FaultProxy) -> bool:
    """Whether the controller has tried to write a status while it was cut off."""
    return any(call.method in ("PUT", "PATCH") and call.is_about("executions/status") for call in proxy.lost)


def compact(server: ApiServer) -> None:
    """Makes etcd forget all history (its JSON gateway, /v3/kv)."""
    revision = json.loads(_etcd(server, "/v3/kv/range", {"key": "AA=="}))["header"]["revision"]
    _etcd(server, "/v3/kv/compaction", {"revision": revision, "physical": True})


def _etcd(server: ApiServer, path: str, body: dict[str, Any]) -> bytes:
    url = f"http://127.0.0.1:{server.etcd_port}{path}"
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode()), timeout=10) as answer:
        found: bytes = answer.read()
        return found
