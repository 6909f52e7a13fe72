"""The controller that leads, and the ways in which it goes."""

from collections.abc import Callable

from tests.e2e.cluster import CONTROLLER, CONTROLLER_PODS, SYSTEM_NAMESPACE, Tools


def is_redundant(tools: Tools) -> bool:
    """Whether one of two controllers leads, and both are ready."""
    status = tools.get("deployment", CONTROLLER, SYSTEM_NAMESPACE)["status"]
    alive = {pod["metadata"]["name"] for pod in tools.pods(CONTROLLER_PODS)}
    return status.get("readyReplicas") == status.get("replicas") == 2 and tools.leader() in alive


def delete_leader(tools: Tools) -> None:
    """It is told to end, and hands over."""
    tools.kubectl("delete", "pod", tools.leader(), "-n", SYSTEM_NAMESPACE, "--wait=false")


def kill_leader(tools: Tools, in_node: Callable[..., str]) -> None:
    """SIGKILL from its node: nothing is said, and the Lease is not given back."""
    pod = tools.get("pod", tools.leader(), SYSTEM_NAMESPACE)
    container = pod["status"]["containerStatuses"][0]["containerID"].rpartition("//")[2]
    in_node(pod["spec"]["nodeName"], "ctr", "-n", "k8s.io", "task", "kill", "-s", "SIGKILL", container)
