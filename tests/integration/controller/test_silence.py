"""A pod that is Ready for its kubelet, and an executor that cannot be reached."""

from controller import names
from tests.fakes.executor import FakeExecutor
from tests.integration.controller.apiserver import free_port
from tests.integration.controller.cluster import Cluster, Controller
from tests.integration.controller.test_way import find_condition


async def test_what_is_created_meanwhile_waits_and_runs_once_the_executor_answers(
    cluster: Cluster, controller: Controller
) -> None:
    port = free_port()
    await cluster.create_pool("default")
    await cluster.add_pod("pod-1", "default", port)
    await cluster.create_execution("first")  # never claimed: which run of the executor it would be for, nobody says
    degraded: dict[str, str] = {}
    while degraded.get("status") != "True":
        degraded = find_condition(await cluster.call("GET", names.pool_path("default")), "Degraded")
    assert degraded["reason"] == "ExecutorUnreachable"
    for name in ("first", "later-0", "later-1", "later-2"):
        if name != "first":
            await cluster.create_execution(name)
        waiting = await cluster.wait_for_phase(name, "Pending")
        assert find_condition(waiting, "Scheduled")["reason"] == "Queued"
    async with FakeExecutor(control_plane_url=controller.url, port=port):
        for name in ("first", "later-0", "later-1", "later-2"):
            ended = await cluster.wait_for_phase(name, "Succeeded")
            assert ended["status"]["attempt"] == 1
