"""Pools and slots: waiting for a pool, and many Executions on few slots."""

import yaml

from tests.e2e.cluster import Tenant, condition, eventually, execution, pool


def test_an_execution_waits_for_its_pool_and_runs_when_it_is_created(tenant: Tenant, pool_name: str) -> None:
    tenant.create("early", "def handler(event): return 1", pool=pool_name)
    status = eventually(lambda: (s := tenant.status("early")).get("phase") == "Pending" and s)
    assert condition(status, "Scheduled")["status"] == "False"
    assert condition(status, "Scheduled")["reason"] == "PoolNotFound"
    assert pool_name in condition(status, "Scheduled")["message"]

    small = pool(pool_name, replicas=1, concurrency=1, resources={"requests": {"cpu": "100m", "memory": "128Mi"}})
    tenant.tools.kubectl("create", "-f", "-", stdin=yaml.safe_dump(small))
    assert tenant.finished("early", timeout_s=170)["phase"] == "Succeeded"


_SPAN = """
import time
def handler(event):
    start = time.time()
    time.sleep(0.3)
    return {"start": start, "end": time.time()}
"""


def test_forty_at_once_on_two_pods_with_four_slots_each(tenant: Tenant) -> None:
    names = [f"many-{number:02d}" for number in range(40)]
    tenant.apply(*(execution(name, _SPAN) for name in names))
    tenant.finished(*names, timeout_s=170)
    statuses = [tenant.status(name) for name in names]

    assert {status["phase"] for status in statuses} == {"Succeeded"}
    assert _most_at_once(statuses) <= 8
    pods = {status["podName"] for status in statuses}
    assert len(pods) == 2
    for pod in pods:
        assert _most_at_once([status for status in statuses if status["podName"] == pod]) <= 4
    placed = [status["startTime"] for status in statuses]
    assert placed == sorted(placed), "placed in the order of their creation"


def _most_at_once(statuses: list[dict[str, dict[str, float]]]) -> int:
    edges = [(status["returnValue"][edge], step) for status in statuses for edge, step in (("start", 1), ("end", -1))]
    running = most = 0
    for _, step in sorted(edges):
        running += step
        most = max(most, running)
    return most
