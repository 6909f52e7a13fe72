"""Objects that the API server takes from any tenant and that are hard on whoever reads or writes them after it."""

import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from contracts.kube import API_VERSION
from controller import names
from tests.integration.controller.apiserver import ApiError
from tests.integration.controller.cluster import TENANT, Cluster, eventually
from tests.integration.controller.conftest import StartExecutor

DEEPEST = 9_900
"""The API server reads JSON of ten thousand levels, and the object has some of its own."""
MIB = 1_048_576


@pytest.fixture
def _deep_json() -> Iterator[None]:
    """This process has to write and read such objects, too."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(10 * DEEPEST)
    yield
    sys.setrecursionlimit(before)


@pytest.mark.usefixtures("_deep_json")
async def test_an_event_of_many_levels_is_rejected_and_keeps_nobody_from_running(
    cluster: Cluster, start_executor: StartExecutor
) -> None:
    """Python's reader ends at a thousand levels: one such object was the end of every list and watch, for everybody."""
    await cluster.create_pool("default")
    await start_executor()
    try:
        for levels in (300, 1_100, DEEPEST):
            event: Any = []
            for _ in range(levels):
                event = [event]
            await cluster.create_execution(f"deep-{levels}", event=event)
        await cluster.create_execution("honest")
        await cluster.wait_for_phase("honest", "Succeeded")
        for levels in (300, 1_100, DEEPEST):
            rejected = await cluster.wait_for_phase(f"deep-{levels}", "Rejected")
            assert "spec.event" in rejected["status"]["error"]["description"]
            assert len(rejected["status"]["error"]["description"]) < 1000
    finally:
        for levels in (300, 1_100, DEEPEST):
            await cluster.delete(names.execution_path(TENANT, f"deep-{levels}"))


async def test_output_that_does_not_fit_beside_the_spec_is_cut(cluster: Cluster, start_executor: StartExecutor) -> None:
    """etcd keeps 1.5 MiB an object, and the API server writes each of these characters as six bytes."""
    await cluster.create_pool("default")
    executor = await start_executor(auto=False)
    created = await cluster.create_execution("wordy", code="#" * MIB, stdin="x" * 300_000)
    await eventually(lambda: executor.runs, what="the dispatch")
    [execution_id] = executor.runs
    assert await executor.end(execution_id, stdout="<" * 60_000 + "end", stderr="\x01" * 60_000) == 201
    ended = await cluster.wait_for_phase("wordy", "Succeeded")
    status = ended["status"]
    assert ended["metadata"]["uid"] == created["metadata"]["uid"]
    assert (status["stdout"][-4:], status["stdoutBytes"], status["stdoutTruncated"]) == ("<end", 60_003, True)
    assert 1000 < len(status["stderr"]) < 60_000


async def test_an_object_without_room_for_a_status_holds_no_slot(
    cluster: Cluster, start_executor: StartExecutor
) -> None:
    await cluster.create_pool("default", concurrency=1)
    executor = await start_executor(concurrency=1)
    await create_the_largest(cluster, "crammed")
    for number in range(3):
        await cluster.create_execution(f"honest-{number}")
        await cluster.wait_for_phase(f"honest-{number}", "Succeeded")
    crammed = await cluster.read_execution("crammed")
    assert "status" not in crammed
    assert len(executor.received) == 3
    await cluster.wait_for_events("crammed", "NoRoomForStatus")
    events = (await cluster.call("GET", names.core_path(TENANT, "events")))["items"]
    [told] = [event for event in events if event["reason"] == "NoRoomForStatus"]
    assert told["involvedObject"]["name"] == "crammed"
    assert "less than 1 MiB" in told["message"]


async def create_the_largest(cluster: Cluster, name: str) -> None:
    """As long as the API server takes it, to a hundred bytes: not enough for any status."""
    for missing in range(0, 20_000, 100):
        spec = {"code": "#" * MIB, "language": "python", "stdin": "x" * (524_000 - missing)}
        body = {"apiVersion": API_VERSION, "kind": "Execution", "metadata": {"name": name}, "spec": spec}
        with suppress(ApiError):  # "etcdserver: request is too large"
            await cluster.call("POST", names.executions_path(TENANT), body)
            return
    pytest.fail("nothing of this size was taken")
