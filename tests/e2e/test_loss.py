"""Pods and controllers that go away: every Execution still ends once, with the truth."""

import json

from tests.e2e.cluster import (
    CONTROLLER,
    CONTROLLER_PODS,
    SYSTEM_NAMESPACE,
    Object,
    Tenant,
    Tools,
    condition,
    eventually,
)
from tests.e2e.victims import WAITS, await_running, leave, make_pool

_HEALTH = "import urllib.request\nprint(urllib.request.urlopen('http://127.0.0.1:8080/health').read().decode())"
_SLEEPS = "import time\ndef handler(event):\n    time.sleep(event)\n    return 'slept'\n"


def test_an_execution_whose_pod_is_killed_is_crashed_and_says_so(tenant: Tenant) -> None:
    tenant.create("orphan", _SLEEPS, timeoutSeconds=300, event=200)
    status = eventually(lambda: (s := tenant.status("orphan")).get("phase") == "Running" and s)
    tenant.tools.kubectl("delete", "pod", status["podName"], "-n", SYSTEM_NAMESPACE, "--wait=false", "--grace-period=1")
    ended = tenant.finished("orphan")
    assert ended["phase"] == "Crashed"
    assert condition(ended, "Finished")["reason"] in ("PodTerminated", "ContainerKilled")
    assert "may have run in part" in condition(ended, "Finished")["message"]
    assert ended["podName"] == status["podName"]
    assert tenant.run("next", "def handler(event): return 1")["phase"] == "Succeeded", "the pool goes on"


def test_a_pod_that_is_deleted_lets_what_runs_on_it_end(tenant: Tenant) -> None:
    tenant.create("drained", _SLEEPS, timeoutSeconds=60, event=8)
    status = eventually(lambda: (s := tenant.status("drained")).get("phase") == "Running" and s)
    tenant.tools.kubectl("delete", "pod", status["podName"], "-n", SYSTEM_NAMESPACE, "--wait=false")
    ended = tenant.finished("drained")
    assert (ended["phase"], ended["returnValue"], ended["podName"]) == ("Succeeded", "slept", status["podName"])
    after = tenant.run("after", "def handler(event): return 1")
    assert after["podName"] != status["podName"], "a pod that is to go takes no new work"


def test_a_controller_that_is_killed_and_comes_back_finishes_what_ran_and_what_waited(tenant: Tenant) -> None:
    tenant.create("through", _SLEEPS, timeoutSeconds=120, event=8)
    eventually(lambda: tenant.status("through").get("phase") == "Running")
    leader = tenant.tools.leader()
    tenant.tools.kubectl("delete", "pod", leader, "-n", SYSTEM_NAMESPACE, "--grace-period=0", "--force")
    tenant.create("while-away", "def handler(event): return 1")

    assert tenant.finished("through", timeout_s=120)["returnValue"] == "slept"
    assert tenant.finished("while-away")["phase"] == "Succeeded"


def test_a_pod_that_drains_keeps_a_result_that_nobody_takes_yet(tenant: Tenant, pool_name: str) -> None:
    """No controller is there when the code ends, and the pod has nothing to do any more but to tell it."""
    tools = tenant.tools
    make_pool(tools, pool_name, drainSeconds=300)
    tenant.create("untold", WAITS, timeoutSeconds=300, pool=pool_name)
    running = await_running(tenant, "untold")
    pod = running["podName"]
    try:
        _scale_controllers(tools, 0)
        tools.kubectl("delete", "pod", pod, "-n", SYSTEM_NAMESPACE, "--wait=false")
        leave(tools, "go", running)
        eventually(lambda: _is_left_with(tools, pod, unsent=1))
    finally:
        _scale_controllers(tools, 2)
    ended = tenant.finished("untold")
    assert (ended["phase"], ended["returnValue"], ended["podName"]) == ("Succeeded", "done", pod)


def _scale_controllers(tools: Tools, replicas: int) -> None:
    tools.kubectl("scale", f"deployment/{CONTROLLER}", f"--replicas={replicas}", "-n", SYSTEM_NAMESPACE)
    if replicas:
        tools.kubectl("rollout", "status", f"deployment/{CONTROLLER}", "-n", SYSTEM_NAMESPACE, "--timeout=150s")
    else:
        tools.kubectl("wait", "--for=delete", "pod", "-l", CONTROLLER_PODS, "-n", SYSTEM_NAMESPACE, "--timeout=150s")


def _is_left_with(tools: Tools, pod: str, unsent: int) -> bool:
    health: Object = json.loads(tools.in_pod(pod, "python3", "-c", _HEALTH))
    return bool(health["active_executions"] == 0 and health["unsent_reports"] == unsent)
