"""The chart on the cluster, a Control Plane for it, two pools, and an audit log of what is written."""

import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from devcluster import audit
from devcluster.cluster import Cluster
from devcluster.kindconfig import SPARE
from tests.chaos.kind.nodes import Nodes
from tests.chaos.kinds import NEIGHBOURS_POOL
from tests.e2e.cluster import RELEASE, REPOSITORY, SYSTEM_NAMESPACE, Object, Tools, eventually, pool

REPLICAS: Final = 2
SLOTS: Final = 4
EXECUTOR_IMAGE: Final = "sandbox-executor/executor:dev"
CONTROLLER_IMAGE: Final = "sandbox-executor/controller:dev"
_SECRET = "chaos-control-plane"
_SMALL: Final = {"requests": {"cpu": "50m", "memory": "128Mi"}}


@dataclass(frozen=True)
class Installation:
    """A namespace for Executions, and the token that the Control Plane accepts."""

    tenant: str
    token: str


@contextmanager
def installed(cluster: Cluster, nodes: Nodes, port: int) -> Iterator[Installation]:
    """All of it, removed afterwards; the Control Plane listens on ``port`` of this machine."""
    tools = Tools(str(cluster.kubectl_path), str(cluster.helm_path))
    made = Installation(f"chaos-{secrets.token_hex(4)}", secrets.token_hex(24))
    with _audited(cluster, nodes):
        _take(tools, nodes.worker)
        _remove(tools)  # what a run left that was killed: its executors' logs are not this one's
        try:
            _create(tools, nodes, made, port)
            yield made
        finally:
            tools.kubectl("delete", "namespace", made.tenant, "--ignore-not-found", "--wait=false")
            _remove(tools)
            tools.kubectl("taint", "node", nodes.worker, f"{SPARE}=:NoSchedule", "--overwrite")


def load_images(cluster: Cluster, *images: str) -> None:
    """Copies them into every node."""
    words = [sys.executable, "-m", "devcluster", "load-image", "--name", cluster.name, *images]
    subprocess.run(words, check=True, cwd=REPOSITORY)


@contextmanager
def _audited(cluster: Cluster, nodes: Nodes) -> Iterator[None]:
    """Every status of an Execution goes into the audit log meanwhile."""
    _set_policy(cluster, nodes, audit.policy(*audit.EXECUTIONS))
    try:
        yield
    finally:
        _set_policy(cluster, nodes, audit.policy())


def _set_policy(cluster: Cluster, nodes: Nodes, policy: str) -> None:
    """The API server reads its audit policy when it starts; the file is mounted, so it is written in place."""
    cluster.layout.audit_policy.write_text(policy)
    nodes.kill_static_pod("kube-apiserver")
    eventually(cluster.healthy, timeout_s=180, interval_s=1)


def _take(tools: Tools, worker: str) -> None:
    """The spare node takes pods too."""
    tools.kubectl("taint", "node", worker, f"{SPARE}:NoSchedule-", check=False)  # it fails where there is none


def _remove(tools: Tools) -> None:
    tools.helm("uninstall", RELEASE, "--namespace", SYSTEM_NAMESPACE, "--ignore-not-found", "--wait")
    tools.kubectl(
        "delete", "executorpools", "--all", "--wait=false", check=False
    )  # the first time there is no such kind
    words = ("delete", "namespace", SYSTEM_NAMESPACE, "--ignore-not-found", "--timeout=120s")
    tools.kubectl(*words, timeout_s=130)


def _create(tools: Tools, nodes: Nodes, made: Installation, port: int) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "privileged"}
    objects: list[Object] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM_NAMESPACE, "labels": labels}},
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": made.tenant}},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": _SECRET, "namespace": SYSTEM_NAMESPACE},
            "stringData": {"token": made.token},
        },
    ]
    _apply(tools, *objects)
    tools.helm(*_chart(f"http://{nodes.gateway}:{port}"))
    neighbours = {
        "replicas": 1,
        "concurrency": SLOTS,
        "warmJavascript": 0,  # started once somebody has asked, they would count as left over
        "resources": _SMALL,
        "podTemplate": {"nodeSelector": {"kubernetes.io/hostname": nodes.control_plane}},
    }
    _apply(tools, pool(NEIGHBOURS_POOL, **neighbours))
    wanted = {"default": REPLICAS, NEIGHBOURS_POOL: 1}
    eventually(lambda: {name: _ready(tools, name) for name in wanted} == wanted, timeout_s=180, interval_s=1)


def _apply(tools: Tools, *objects: Object) -> None:
    document = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
    tools.kubectl("apply", "-f", "-", stdin=json.dumps(document))


def _chart(control_plane: str) -> list[str]:
    values = {
        "controlPlane.url": control_plane,
        "controlPlane.existingSecret": _SECRET,
        "defaultPool.replicas": REPLICAS,
        "defaultPool.concurrency": SLOTS,
        "defaultPool.warmJavascript": 0,
        "defaultPool.drainSeconds": 5,
        "defaultPool.resources.requests.cpu": _SMALL["requests"]["cpu"],
        "defaultPool.resources.requests.memory": _SMALL["requests"]["memory"],
        "controller.resources.requests.cpu": "50m",
    }
    for part, image in (("controller", CONTROLLER_IMAGE), ("executor", EXECUTOR_IMAGE)):
        repository, _, tag = image.rpartition(":")
        values |= {f"{part}.image.repository": repository, f"{part}.image.tag": tag}
    sets = [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
    return [
        *("upgrade", "--install", RELEASE, str(REPOSITORY / "deploy/helm/sandbox-executor")),
        *("--namespace", SYSTEM_NAMESPACE, "--wait", "--timeout", "3m", *sets),
    ]


def _ready(tools: Tools, name: str) -> int:
    found: int = tools.get("executorpool", name).get("status", {}).get("readyReplicas", 0)
    return found
