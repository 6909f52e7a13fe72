"""Each way in which an executor's container ends, for real, and what its Executions and the Events say then."""

from typing import Any

from tests.e2e.cluster import SYSTEM_NAMESPACE, Tenant, condition, eventually
from tests.e2e.conftest import InNode

_SLEEPS = "import time\ndef handler(event):\n    time.sleep(200)\n"
_APPENDS = """
def handler(event):
    with open('log', 'a+') as file:
        file.write(str(event))
        file.seek(0)
        return file.read()
"""
_SIGKILL = 9
_SIGABRT = 6


class Victim:
    """An Execution that runs on a pod, and the executor's process as the node sees it."""

    def __init__(self, tenant: Tenant, in_node: InNode, name: str, **spec: Any) -> None:
        self.tenant, self.in_node, self.name = tenant, in_node, name
        tenant.create(name, **{"code": _SLEEPS, "timeoutSeconds": 300, **spec})
        status = eventually(lambda: (s := tenant.status(name)).get("phase") == "Running" and s, timeout_s=60)
        self.pod, self.node = status["podName"], status["nodeName"]

    def executor_pid(self) -> int:
        """Its pid in the node."""
        uid = self.tenant.tools.get("pod", self.pod, SYSTEM_NAMESPACE)["metadata"]["uid"]
        script = (
            "for p in /proc/[0-9]*; do "
            f"grep -qE '{uid}|{uid.replace('-', '_')}' $p/cgroup 2>/dev/null || continue; "
            "tr '\\0' ' ' < $p/cmdline 2>/dev/null | grep -q '^python -P -m executor_runtime $' && echo ${p#/proc/}; "
            "done; true"
        )
        (pid,) = self.in_node(self.node, "sh", "-c", script).split()
        return int(pid)

    def signal(self, number: int) -> None:
        """From the node, as its kernel or its administrator would."""
        self.in_node(self.node, "kill", f"-{number}", str(self.executor_pid()))

    def end(self) -> dict[str, Any]:
        """How the Execution ended: Crashed, and with words for a person."""
        ended = self.tenant.finished(self.name, timeout_s=120)
        assert ended["phase"] == "Crashed"
        assert ended["podName"] == self.pod
        finished = condition(ended, "Finished")
        assert condition(ended, "Succeeded")["status"] == "False"
        assert finished["message"], "a person is told what happened"
        told = [event["message"] for event in self.tenant.tools.items("events", self.tenant.namespace)]
        assert any(finished["message"] in message for message in told), told
        return dict(finished)


def test_a_killed_executor(tenant: Tenant, in_node: InNode) -> None:
    victim = Victim(tenant, in_node, "killed")
    victim.signal(_SIGKILL)
    assert victim.end()["reason"] == "ContainerKilled"


def test_an_executor_that_breaks(tenant: Tenant, in_node: InNode) -> None:
    victim = Victim(tenant, in_node, "broken")
    victim.signal(_SIGABRT)
    ended = victim.end()
    assert ended["reason"] == "ExecutorError"
    assert "134" in ended["message"]


def test_an_executor_that_is_terminated(tenant: Tenant, in_node: InNode) -> None:
    victim = Victim(tenant, in_node, "terminated")
    victim.signal(15)
    assert victim.end()["reason"] == "PodTerminated"


def test_a_pod_that_is_gone_at_once(tenant: Tenant, in_node: InNode) -> None:
    victim = Victim(tenant, in_node, "vanished")
    words = ("delete", "pod", victim.pod, "-n", SYSTEM_NAMESPACE, "--force", "--grace-period=0")
    tenant.tools.kubectl(*words)
    assert victim.end()["reason"] in ("ExecutorLost", "PodTerminated", "ContainerKilled")


def test_an_infrastructure_failure_is_repeated_when_that_is_asked_for(tenant: Tenant, in_node: InNode) -> None:
    code = "import time\ndef handler(event):\n    time.sleep(6)\n    return 'done'\n"
    victim = Victim(tenant, in_node, "again", code=code, maxRetries=1)
    victim.signal(_SIGKILL)
    ended = tenant.finished("again", timeout_s=120)
    assert (ended["phase"], ended["attempt"], ended["returnValue"]) == ("Succeeded", 2, "done")
    assert "Retrying" in [event["reason"] for event in tenant.tools.items("events", tenant.namespace)]


def test_a_session_keeps_its_files_and_its_order(tenant: Tenant) -> None:
    for number in range(4):
        tenant.create(f"step-{number}", _APPENDS, event=number, sessionId="notebook")
    ended = [tenant.finished(f"step-{number}") for number in range(4)]
    assert [one["returnValue"] for one in ended] == ["0", "01", "012", "0123"]
    assert len({one["podName"] for one in ended}) == 1
    other = tenant.run("other", "import os\ndef handler(event): return os.listdir('.')", sessionId="another")
    assert other["returnValue"] == []
