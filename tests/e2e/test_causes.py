"""Each cause for which Kubernetes, or a person with it, ends an executor pod: status, Events and the Control Plane."""

import json
from collections.abc import Iterator

import pytest
import yaml

from tests.e2e.cluster import EXECUTOR_PODS, Object, Tenant, Tools, condition, eventually
from tests.e2e.conftest import InNode
from tests.e2e.control_plane import ControlPlane
from tests.e2e.victims import SPARE, WAITS, Victim, await_running, leave, make_pool, on_spare_node

_SHORT_OF_MEMORY = {
    "evictionSoft": {"memory.available": "100Ti"},
    "evictionSoftGracePeriod": {"memory.available": "1s"},
    "evictionMaxPodGracePeriod": 10,
}
"""A soft threshold: a hard one is taken off what may be allocated, and no kubelet starts with one above its memory."""


@pytest.fixture
def spare_node(in_node: InNode, installed: Tools) -> str:
    """Its name."""
    (node,) = installed.items("nodes", selector=SPARE)
    return str(node["metadata"]["name"])


class NodePower:
    """The switch of a node that is a container."""

    def __init__(self) -> None:
        from devcluster.cluster import Cluster

        self._cluster, self.off = Cluster.current(), set[str]()

    def cut(self, node: str) -> None:
        self.off.add(node)
        self._cluster.output("docker", "kill", node)

    def restore(self, node: str) -> None:
        """Until it is Ready again, its pod network too."""
        self._cluster.output("docker", "start", node)
        eventually(self._is_finished, timeout_s=300, interval_s=1)
        self.off.discard(node)

    def _is_finished(self) -> bool:
        from devcluster.errors import DevclusterError

        try:
            self._cluster.finish()
        except DevclusterError:  # a node that starts does not do everything at once
            return False
        return True


@pytest.fixture
def node_power(in_node: InNode) -> Iterator[NodePower]:
    """What was cut is restored afterwards."""
    power = NodePower()
    yield power
    for node in list(power.off):
        power.restore(node)


def _change(tools: Tools, name: str, spec: Object) -> None:
    tools.kubectl("patch", "executorpool", name, "--type=merge", "-p", json.dumps({"spec": spec}))


def test_scaled_down(tenant: Tenant, pool_name: str, control_plane: ControlPlane) -> None:
    make_pool(tenant.tools, pool_name)
    victim = Victim(tenant, "scaled-down", pool=pool_name)
    tenant.tools.kubectl("scale", "executorpool", pool_name, "--replicas=0")
    victim.crashed("PodTerminated", f"pool {pool_name} was scaled down to 0", "may have run in part")
    victim.heard(control_plane, 143, "sigterm")
    status = tenant.tools.get("executorpool", pool_name)["status"]
    assert condition(status, "Available")["reason"] == "ScaledToZero"


def test_replaced_by_a_rollout(tenant: Tenant, pool_name: str, control_plane: ControlPlane) -> None:
    """What ends within ``drainSeconds`` ends as ever; what does not is told what happened."""
    tools = tenant.tools
    make_pool(tools, pool_name, drainSeconds=15)
    tenant.create("short", WAITS, pool=pool_name, timeoutSeconds=300)
    victim = Victim(tenant, "rolled-out", pool=pool_name)
    short = await_running(tenant, "short")
    _change(tools, pool_name, {"podTemplate": {"labels": {"generation": "two"}}})
    eventually(lambda: victim.pod not in {pod["metadata"]["name"] for pod in tools.pods(EXECUTOR_PODS)}, timeout_s=180)
    leave(tools, "go", short)
    assert tenant.finished("short")["returnValue"] == "done"
    victim.crashed("PodTerminated", f"a rollout of pool {pool_name} replaces it")
    victim.heard(control_plane, 143, "sigterm")
    assert tenant.run("after", "def handler(event): return 1", pool=pool_name)["podName"] != victim.pod


def test_drained(tenant: Tenant, pool_name: str, control_plane: ControlPlane, spare_node: str) -> None:
    make_pool(tenant.tools, pool_name, podTemplate=on_spare_node())
    victim = Victim(tenant, "drained", pool=pool_name)
    try:
        drain = ("drain", spare_node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=150s")
        tenant.tools.kubectl(*drain)
        victim.crashed("PodTerminated", f"node {spare_node} is drained")
        victim.heard(control_plane, 143, "sigterm")
    finally:
        tenant.tools.kubectl("uncordon", spare_node)


def test_driven_away_by_a_taint(tenant: Tenant, pool_name: str, control_plane: ControlPlane, spare_node: str) -> None:
    make_pool(tenant.tools, pool_name, podTemplate=on_spare_node())
    victim = Victim(tenant, "tainted", pool=pool_name)
    try:
        tenant.tools.kubectl("taint", "node", spare_node, "e2e=away:NoExecute")
        victim.crashed("PodTerminated", "taint", spare_node)
        victim.heard(control_plane, 143, "sigterm")
    finally:
        tenant.tools.kubectl("taint", "node", spare_node, "e2e=away:NoExecute-")


def test_preempted(
    tenant: Tenant, pool_name: str, control_plane: ControlPlane, spare_node: str, preemptor: Object
) -> None:
    requests = {"requests": {"cpu": "1500m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}}
    make_pool(tenant.tools, pool_name, podTemplate=on_spare_node(), resources=requests)
    victim = Victim(tenant, "preempted", pool=pool_name)
    tenant.apply(preemptor)
    victim.crashed("Evicted", victim.pod, "preempt")
    victim.heard(control_plane, 143, "sigterm")
    degraded = eventually(lambda: _degraded(tenant.tools, pool_name))
    assert degraded["reason"] == "Unschedulable"


def _degraded(tools: Tools, name: str) -> Object:
    found = condition(tools.get("executorpool", name).get("status", {}), "Degraded")
    return found if found.get("status") == "True" else {}


@pytest.fixture
def preemptor(installed: Tools, pool_name: str, request: pytest.FixtureRequest) -> Iterator[Object]:
    """A pod that fits on the spare node only when a pod of low priority goes."""
    priority: Object = {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": f"above-{pool_name}"},
        "value": 1000,
    }
    installed.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(priority))
    container = {
        "name": "preemptor",
        "image": request.config.getoption("--controller-image"),
        "command": ["sleep", "300"],
        "resources": {"requests": {"cpu": "1500m"}},
    }
    spec = {"priorityClassName": f"above-{pool_name}", "containers": [container], "terminationGracePeriodSeconds": 1}
    yield {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "preemptor"},
        "spec": {**spec, **on_spare_node()},
    }
    installed.kubectl("delete", "priorityclass", f"above-{pool_name}", "--wait=false")


def test_evicted_by_the_kubelet(
    tenant: Tenant, pool_name: str, control_plane: ControlPlane, spare_node: str, in_node: InNode
) -> None:
    """The kubelet believes its node short of memory from now on, and evicts."""
    make_pool(tenant.tools, pool_name, podTemplate=on_spare_node())
    victim = Victim(tenant, "evicted", pool=pool_name)
    settings = "/var/lib/kubelet/config.yaml"
    before = in_node(spare_node, "cat", settings)
    try:
        _set_up_kubelet(in_node, spare_node, settings, yaml.safe_dump({**yaml.safe_load(before), **_SHORT_OF_MEMORY}))
        victim.crashed("Evicted", victim.pod, "low on resource: memory")
        victim.heard(control_plane, 143, "sigterm")
    finally:
        _set_up_kubelet(in_node, spare_node, settings, before)
        eventually(lambda: _is_free_of(tenant.tools, spare_node, "memory-pressure"), timeout_s=180, interval_s=1)


def _set_up_kubelet(in_node: InNode, node: str, path: str, text: str) -> None:
    in_node(node, "sh", "-c", 'cat > "$0"', path, stdin=text)
    in_node(node, "systemctl", "restart", "kubelet")


def _is_free_of(tools: Tools, node: str, taint: str) -> bool:
    taints = tools.get("node", node)["spec"].get("taints", [])
    return not any(entry["key"] == f"node.kubernetes.io/{taint}" for entry in taints)


def test_a_node_that_is_lost(
    tenant: Tenant, pool_name: str, control_plane: ControlPlane, spare_node: str, node_power: NodePower
) -> None:
    """Its power fails: nobody says anything any more, and when it is back the pool is whole again."""
    make_pool(tenant.tools, pool_name, podTemplate=on_spare_node())
    victim = Victim(tenant, "lost", pool=pool_name)
    node_power.cut(spare_node)
    assert tenant.run("elsewhere", "def handler(event): return 1")["phase"] == "Succeeded"
    victim.crashed("ExecutorLost", "nothing was heard", victim.pod, spare_node)
    victim.heard(control_plane, -1, "error", timeout_s=240)
    degraded = eventually(lambda: _degraded(tenant.tools, pool_name), timeout_s=120)
    assert degraded["reason"] == "Unschedulable", "the pod that shall replace it"
    node_power.restore(spare_node)
    assert tenant.run("after", "def handler(event): return 1", pool=pool_name)["podName"] != victim.pod


def test_an_image_that_cannot_be_pulled(tenant: Tenant, pool_name: str, control_plane: ControlPlane) -> None:
    """The pool says so; what waits for it runs once the image is corrected."""
    tools = tenant.tools
    missing = {"image": "localhost/no-such-executor:1", "imagePullPolicy": "IfNotPresent"}
    tools.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(_pool_of(pool_name, **missing)))
    tenant.create("waits", "def handler(event): return 1", pool=pool_name)
    degraded = eventually(lambda: _degraded(tools, pool_name), timeout_s=120)
    assert degraded["reason"] in ("ErrImagePull", "ImagePullBackOff")
    assert "no-such-executor" in degraded["message"]
    assert "correct spec.image" in degraded["message"]
    eventually(lambda: condition(tenant.status("waits"), "Scheduled").get("reason") == "Queued")

    def is_told() -> bool:
        return any(
            event["involvedObject"]["name"] == pool_name and event["reason"] == degraded["reason"]
            for event in tools.items("events", "default")
        )

    eventually(is_told)
    _change(tools, pool_name, {"image": None, "imagePullPolicy": None})
    assert tenant.finished("waits")["phase"] == "Succeeded"
    eventually(lambda: not _degraded(tools, pool_name))


def _pool_of(name: str, **spec: object) -> Object:
    return {
        "apiVersion": "sandbox-executor.dev/v1alpha1",
        "kind": "ExecutorPool",
        "metadata": {"name": name},
        "spec": {"replicas": 1, **spec},
    }
