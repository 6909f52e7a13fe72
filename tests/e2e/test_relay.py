"""A Control Plane in the cluster hears of everything once, also of what ended while it was away."""

from tests.e2e.cluster import DEFAULT_PODS, SYSTEM_NAMESPACE, Object, Tenant, Tools, condition, eventually
from tests.e2e.control_plane import ControlPlane, assert_heard, told


def test_a_result_is_told_as_it_stands_in_the_status(tenant: Tenant, control_plane: ControlPlane) -> None:
    tenant.run("told", "def handler(event):\n    print('said')\n    return {'a': None}\n")
    status = told(tenant, "told")
    assert condition(status, "Reported")["reason"] == "Accepted"
    assert_heard(control_plane, status)


def test_what_ended_while_it_was_away_is_told_when_it_is_back(tenant: Tenant, control_plane: ControlPlane) -> None:
    control_plane.scale(0)
    names = [f"away-{number}" for number in range(6)]
    for name in names:
        assert tenant.run(name, f"def handler(event): return {name!r}")["phase"] == "Succeeded"
    assert condition(tenant.status(names[0]), "Reported").get("status") != "True"
    control_plane.scale(1)
    for name in names:
        assert_heard(control_plane, told(tenant, name, timeout_s=240))


def test_a_result_that_is_larger_than_the_status_is_told_whole(tenant: Tenant, control_plane: ControlPlane) -> None:
    tenant.run("large", "def handler(event):\n    print('x' * 300_000 + 'end')\n    return 1\n")
    status = told(tenant, "large")
    assert status["stdoutTruncated"]
    assert condition(status, "Reported")["reason"] == "Accepted"
    (entry,) = [entry for entry in control_plane.calls("result", status["executionId"]) if entry["answered"] == 201]
    assert not entry["body"].get("stdout_truncated")
    assert entry["body"]["stdout"].endswith("end\n")


def test_each_run_of_an_executor_container_is_told_ready_and_exited(
    tenant: Tenant, control_plane: ControlPlane
) -> None:
    tools = tenant.tools
    name = tools.pods(DEFAULT_PODS)[0]["metadata"]["name"]

    def heard(kind: str) -> list[Object]:
        return [entry["body"] for entry in control_plane.calls(kind) if entry["body"]["pod_name"] == name]

    control_plane.scale(1)
    tools.kubectl("delete", "pod", name, "-n", SYSTEM_NAMESPACE, "--wait=false")
    exited = eventually(lambda: heard("exited"), timeout_s=180, interval_s=1)
    assert [(body["exit_code"], body["exit_reason"]) for body in exited] == [(143, "sigterm")]
    status = eventually(lambda: _other_pods(tools, name), timeout_s=240, interval_s=1)
    fresh = {row["containerId"] for row in status if row.get("reported") == "Ready"}
    assert fresh
    eventually(lambda: {"ContainerReady", "ContainerExited"} <= _reasons_of_pools(tools))


def _reasons_of_pools(tools: Tools) -> set[str]:
    events = tools.items("events", "default")
    return {event["reason"] for event in events if event["involvedObject"]["kind"] == "ExecutorPool"}


def _other_pods(tools: Tools, gone: str) -> list[Object]:
    """The rows of the default pool's containers, once two pods other than this one are told as ready."""
    rows = tools.get("executorpool", "default").get("status", {}).get("containers", [])
    others = [row for row in rows if row["podName"] != gone and row.get("reported") == "Ready"]
    return others if len(others) == 2 else []
