"""A pod that is Ready for its kubelet, and an executor that cannot be reached."""

from controller import names
from tests.fakes.executor import FakeExecutor
from tests.integration.controller.apiserver import free_port
from tests.integration.controller.cluster import TENANT, Cluster, Controller, eventually
from tests.integration.controller.test_way import find_condition


async def test_what_is_created_meanwhile_waits_and_runs_once_the_executor_answers(
    cluster: Cluster, controller: Controller
) -> None:
    port = free_port()
    await cluster.create_pool("default")
    await cluster.add_pod("pod-1", "default", port)
    await cluster.create_execution("first")  # never claimed: which run of the executor it would be for, nobody says

    def find_degraded() -> dict[str, str] | None:
        found: dict[str, str] = find_condition(cluster.server.request("GET", names.pool_path("default")), "Degraded")
        return found if found.get("status") == "True" else None

    assert (await eventually(find_degraded, what="the pool to be degraded"))["reason"] == "ExecutorUnreachable"
    for name in ("first", "later-0", "later-1", "later-2"):
        if name != "first":
            await cluster.create_execution(name)
        await eventually(lambda: why_waiting(cluster, name) == "Queued", what=f"{name} to wait")  # noqa: B023
    async with FakeExecutor(control_plane_url=controller.url, port=port):
        for name in ("first", "later-0", "later-1", "later-2"):
            ended = await cluster.wait_for_phase(name, "Succeeded")
            assert ended["status"]["attempt"] == 1


def why_waiting(cluster: Cluster, name: str) -> str:
    """The reason of its condition Scheduled; before its pool is seen that is another one."""
    found = cluster.server.request("GET", names.execution_path(TENANT, name))
    return str(find_condition(found, "Scheduled").get("reason", ""))
