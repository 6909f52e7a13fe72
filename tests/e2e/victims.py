"""Executions whose executor is about to end, and all that is said of it afterwards: status, Events, Control Plane."""

from typing import Any

import yaml

from tests.e2e.cluster import (
    EXECUTOR_PODS,
    SYSTEM_NAMESPACE,
    CommandFailed,
    Object,
    Tenant,
    Tools,
    condition,
    eventually,
    pool,
)
from tests.e2e.control_plane import ControlPlane, told

SPARE = "devcluster/spare"
"""Label and taint of the node that a test may stop, fill up or drain."""
SLEEPS = "import time\ndef handler(event):\n    time.sleep(200)\n"
WAITS = """
import os, time
def handler(event):
    while not os.path.exists('go'):
        time.sleep(0.05)
    return 'done'
"""
"""Until ``leave`` has put a file ``go`` into its workspace."""
_LEAVE = """
import glob, sys, time
file, *ids = sys.argv[1:]
while not all(found := [glob.glob(f"/workspace/{name}-*") for name in ids]):
    time.sleep(0.05)
for workspace in sum(found, []):
    open(f"{workspace}/{file}", "w").close()
"""
_SMALL = {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}}


def await_running(tenant: Tenant, name: str, attempt: int = 1) -> Object:
    """Waits until this attempt is claimed; the status."""

    def look() -> Object:
        status = tenant.status(name)
        return status if (status.get("phase"), status.get("attempt")) == ("Running", attempt) else {}

    return dict(eventually(look, timeout_s=180))


class Victim:
    """An Execution that runs, and the pod that it runs on."""

    def __init__(self, tenant: Tenant, name: str, **spec: Any) -> None:
        self.tenant, self.name = tenant, name
        tenant.create(name, **{"code": SLEEPS, "timeoutSeconds": 300, **spec})
        status = await_running(tenant, name)
        self.pod, self.node, self.execution_id = status["podName"], status["nodeName"], status["executionId"]
        self.pod_uid, self.container = eventually(self._find_container)

    def _find_container(self) -> tuple[str, str] | None:
        """The pod and its container, once the kubelet shows it: an executor that was started again works sooner."""
        found = self.tenant.tools.get("pod", self.pod, SYSTEM_NAMESPACE)
        container = found["status"]["containerStatuses"][0]
        if "running" not in container["state"]:
            return None
        return found["metadata"]["uid"], container["containerID"].rpartition("//")[2]

    def _is_seen(self) -> bool:
        """Whether the kubelet shows its end too: the next to run on its pod would take this container for its own."""
        pods = self.tenant.tools.pods(EXECUTOR_PODS)
        shown = [pod["status"]["containerStatuses"][0] for pod in pods if pod["metadata"]["uid"] == self.pod_uid]
        running = [container["containerID"] for container in shown if "running" in container["state"]]
        return not any(name.endswith(self.container) for name in running)

    def crashed(self, reason: str, *words: str, timeout_s: int = 240) -> Object:
        """Waits for its end: Crashed for this reason, with a message for a person, which an Event has too."""
        status = self.tenant.finished(self.name, timeout_s=timeout_s)
        finished = condition(status, "Finished")
        assert (status["phase"], finished["reason"]) == ("Crashed", reason), finished
        assert (status["podName"], status["attempt"]) == (self.pod, 1)
        assert condition(status, "Succeeded")["status"] == "False"
        assert all(word in finished["message"] for word in words), finished["message"]

        def is_told() -> bool:
            events = self.tenant.tools.items("events", self.tenant.namespace)
            mine = [event for event in events if event["involvedObject"]["name"] == self.name]
            return any(finished["message"] in event["message"] and event["type"] == "Warning" for event in mine)

        eventually(is_told)
        print(f"\n{self.name}: {reason}: {finished['message']}")
        return status

    def heard(self, control_plane: ControlPlane, code: int, reason: str, timeout_s: float = 120) -> None:
        """The Control Plane has one result, as the status has it, and one exit of the container; and Events have it."""
        status = told(self.tenant, self.name)
        results = [entry for entry in control_plane.calls("result", self.execution_id) if entry["answered"] == 201]
        finished = condition(status, "Finished")
        said = [(entry["body"]["status"], entry["body"]["reason"], entry["body"]["message"]) for entry in results]
        assert said == [("crashed", finished["reason"], finished["message"])]
        exits = eventually(lambda: control_plane.calls("exited", self.container), timeout_s=timeout_s, interval_s=0.5)
        assert [(entry["body"]["exit_code"], entry["body"]["exit_reason"]) for entry in exits] == [(code, reason)]
        assert exits[0]["body"]["pod_name"] == self.pod

        def find_event() -> str:
            events = self.tenant.tools.items("events", "default")
            mine = [event["message"] for event in events if event["reason"] == "ContainerExited"]
            return next((text for text in mine if self.pod in text and f"({reason}, exit code {code})" in text), "")

        print(f"  container_exited {code} {reason}; {eventually(find_event)}")
        eventually(self._is_seen, interval_s=0.5)


def leave(tools: Tools, file: str, *statuses: Object) -> None:
    """Puts an empty file into the workspaces of Executions that run on one pod, once all of these are there."""
    (pod,) = {status["podName"] for status in statuses}
    words = ("python3", "-c", _LEAVE, file, *(status["executionId"] for status in statuses))

    def is_left() -> bool:
        try:
            tools.in_pod(pod, *words)
        except CommandFailed:  # a container that was started again works before its kubelet shows it
            return False
        return True

    eventually(is_left, interval_s=0.5)


def make_pool(tools: Tools, name: str, **spec: Any) -> None:
    """A pool of one small pod, ready, that lets Executions end for one second."""
    fields = {"replicas": 1, "concurrency": 4, "drainSeconds": 1, "resources": _SMALL, **spec}
    tools.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(pool(name, **fields)))
    eventually(lambda: is_whole(tools, name), timeout_s=180, interval_s=0.5)


def is_whole(tools: Tools, name: str) -> bool:
    """Whether as many pods take work as its spec says, and no other is there."""
    found = tools.get("executorpool", name)
    pods = tools.pods(f"{EXECUTOR_PODS},sandbox-executor.dev/pool={name}")
    return bool(found.get("status", {}).get("readyReplicas") == found["spec"]["replicas"] == len(pods))


def on_spare_node(**template: Any) -> Object:
    """A pool's ``podTemplate`` that puts its pods on the spare node; nothing of a lost node holds them there long."""
    tolerations = [
        {"key": SPARE, "operator": "Exists"},
        *(
            {"key": f"node.kubernetes.io/{what}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0}
            for what in ("not-ready", "unreachable")
        ),
    ]
    return {"nodeSelector": {SPARE: ""}, "tolerations": tolerations, **template}
