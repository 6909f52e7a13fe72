"""What a pool says about itself, and that a person can act on it."""

from datetime import timedelta
from typing import Any

import pytest

from contracts.kube import Condition
from controller.placement import PoolCount
from controller.pool_status import PoolView, make_status
from controller.resources import Pod
from tests.unit.controller.builders import NOW, make_pod, make_pool


def waiting(reason: str, message: str = "", last: Any = None) -> Pod:
    container = {
        "name": "executor",
        "state": {"waiting": {"reason": reason, "message": message}},
        "lastState": last or {},
        "restartCount": 2 if last else 0,
    }
    return make_pod(conditions=[], containerStatuses=[container])


def view(*pods: Pod, **fields: Any) -> PoolView:
    values: dict[str, Any] = {
        "pool": make_pool(replicas=1),
        "deployment": None,
        "pods": pods,
        "taking_work": sum(1 for pod in pods if pod.ready),
        "count": PoolCount(busy=1, free=3, queued=2),
        "isolation": (),
        **fields,
    }
    return PoolView(**values)


def find(conditions: list[Condition] | None, kind: str) -> Condition:
    return next(condition for condition in conditions or () if condition.type == kind)


_CRASHED = {"terminated": {"exitCode": 1, "message": "noise\nisolation: no user namespaces on this node"}}
_OOM = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
_UNSCHEDULABLE = [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes"}]


@pytest.mark.parametrize(
    ("pod", "reason", "word"),
    [
        (waiting("ImagePullBackOff", "not found"), "ImagePullBackOff", "spec.image"),
        (waiting("ErrImagePull"), "ErrImagePull", "imagePullSecrets"),
        (waiting("CreateContainerError", "cannot load seccomp profile"), "CreateContainerError", "every node"),
        (waiting("CreateContainerConfigError", 'secret "x" not found'), "CreateContainerConfigError", "Secret"),
        (waiting("CrashLoopBackOff", last=_CRASHED), "IsolationUnavailable", "no user namespaces"),
        (waiting("CrashLoopBackOff", last={"terminated": {"exitCode": 7}}), "ExecutorFailing", "kubectl logs"),
        (
            waiting("CrashLoopBackOff", last=_OOM),
            "OutOfMemory",
            "limits",
        ),
        (make_pod(phase="Pending", conditions=_UNSCHEDULABLE, containerStatuses=[]), "Unschedulable", "0/3 nodes"),
    ],
)
def test_what_is_wrong_with_a_pod_is_said_with_what_to_do(pod: Pod, reason: str, word: str) -> None:
    degraded = find(make_status(view(pod), NOW).conditions, "Degraded")
    assert (degraded.status, degraded.reason) == ("True", reason)
    assert word in degraded.message


def test_a_healthy_pool() -> None:
    status = make_status(view(make_pod(), isolation=("full",)), NOW)
    assert find(status.conditions, "Available").status == "True"
    assert find(status.conditions, "Degraded").status == "False"
    assert (status.replicas, status.ready_replicas, status.busy_slots, status.free_slots, status.queued) == (
        1,
        1,
        1,
        3,
        2,
    )
    assert status.isolation == "full"
    assert status.observed_generation == 3
    assert "sandbox-executor.dev/pool=default" in (status.selector or "")


def test_the_weakest_isolation_is_the_pools() -> None:
    assert make_status(view(make_pod(), isolation=("full", "reduced")), NOW).isolation == "reduced"


def test_a_pool_of_no_replicas_says_so() -> None:
    available = find(make_status(view(pool=make_pool(replicas=0)), NOW).conditions, "Available")
    assert (available.status, available.reason) == ("False", "ScaledToZero")


def test_a_refused_deployment_and_a_failed_creation_are_told() -> None:
    refused = find(make_status(view(apply_error="bad image name"), NOW).conditions, "Degraded")
    assert (refused.reason, "bad image name" in refused.message) == ("DeploymentRefused", True)
    failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "violates PodSecurity"}
    failed = find(make_status(view(deployment={"status": {"conditions": [failure]}}), NOW).conditions, "Degraded")
    assert (failed.reason, failed.message) == ("FailedCreate", "violates PodSecurity")


def test_executors_that_do_not_answer_are_told_with_where_to_look() -> None:
    degraded = find(make_status(view(make_pod(), silent=("pod-1",)), NOW).conditions, "Degraded")
    assert (degraded.status, degraded.reason) == ("True", "ExecutorUnreachable")
    assert "pod-1" in degraded.message
    assert "NetworkPolicies" in degraded.message


def test_a_condition_that_stays_keeps_its_time() -> None:
    first = make_status(view(make_pod()), NOW)
    pool = make_pool(replicas=1)
    seen = type(pool)(pool.name, pool.uid, pool.generation, pool.spec, first)
    again = make_status(view(make_pod(), pool=seen), NOW + timedelta(hours=1))
    assert find(again.conditions, "Available") == find(first.conditions, "Available")
