"""A tenant's namespace, deleted while its Executions run, wait and are still being created."""

import threading
import time

from tests.e2e.cluster import CONTROLLER_PODS, EXECUTOR_PODS, CommandFailed, Tenant, Tools, eventually, execution
from tests.e2e.victims import make_pool

_GIVEN_UP_AFTER_S = 240
_LINGERS = """
import subprocess
def handler(event):
    subprocess.run(['sleep', '287.5'])
"""
_MARK = "sleep 287.5"
_RUNNING, _WAITING = 4, 12


def test_a_namespace_that_is_deleted_under_load_goes_away(tenant: Tenant, pool_name: str) -> None:
    tools = tenant.tools
    make_pool(tools, pool_name, concurrency=_RUNNING)
    restarts = _restarts(tools)
    tenant.apply(
        *(execution(f"one-{number}", _LINGERS, pool=pool_name, timeoutSeconds=300) for number in range(_RUNNING)),
        *(execution(f"waits-{number}", _LINGERS, pool=pool_name) for number in range(_WAITING)),
    )
    pod = eventually(lambda: _busy(tools, pool_name, _RUNNING), timeout_s=120)
    eventually(lambda: len(_lingering(tools, pod)) == _RUNNING)
    refused = threading.Event()
    creating = threading.Thread(target=_create_until_refused, args=(tenant, pool_name, refused))
    creating.start()

    began = time.monotonic()
    tools.kubectl(
        "delete", "namespace", tenant.namespace, f"--timeout={_GIVEN_UP_AFTER_S}s", timeout_s=_GIVEN_UP_AFTER_S + 10
    )
    gone_s = time.monotonic() - began
    creating.join(timeout=180)
    assert refused.is_set(), "Executions were created until the namespace took no more"
    eventually(lambda: not _lingering(tools, pod))
    eventually(lambda: _busy(tools, pool_name, 0))
    print(f"\ngone after {gone_s:.1f} s, sandboxes and slots free after {time.monotonic() - began:.1f} s")
    assert _restarts(tools) == restarts, "the controllers went on"
    tools.kubectl("create", "namespace", tenant.namespace)
    assert tenant.run("next", "def handler(event): return 1", pool=pool_name)["podName"] == pod


def _create_until_refused(tenant: Tenant, pool: str, refused: threading.Event) -> None:
    for number in range(1000):
        try:
            tenant.create(f"more-{number}", _LINGERS, pool=pool)
        except CommandFailed:
            refused.set()
            return


def _busy(tools: Tools, pool: str, slots: int) -> str:
    """The pool's pod, once so many of its slots are busy and, where none is, nothing waits."""
    status = tools.get("executorpool", pool)["status"]
    (pod,) = tools.pods(f"{EXECUTOR_PODS},sandbox-executor.dev/pool={pool}")
    as_wanted = status.get("busySlots", 0) == slots and (slots or not status.get("queued", 0))
    return str(pod["metadata"]["name"]) if as_wanted else ""


def _lingering(tools: Tools, pod: str) -> list[str]:
    return [line for line in tools.processes(pod) if line.strip() == _MARK]


def _restarts(tools: Tools) -> dict[str, int]:
    return {
        pod["metadata"]["name"]: pod["status"]["containerStatuses"][0]["restartCount"]
        for pod in tools.pods(CONTROLLER_PODS)
    }
