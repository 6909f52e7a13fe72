"""What a pool's status says, as a pure function of its Deployment, its pods and the slots."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from contracts.pool import ExecutorPoolStatus, PoolContainer
from controller import names
from controller.conditions import make_condition, merge_conditions
from controller.placement import PoolCount
from controller.resources import Pod, Pool
from controller.termination import last_words

AVAILABLE: Final = "Available"
DEGRADED: Final = "Degraded"
_PULL_REASONS: Final = frozenset({"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull"})
_CREATE_REASONS: Final = frozenset({"CreateContainerError", "CreateContainerConfigError", "RunContainerError"})
_MESSAGE_LENGTH: Final = 1000


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a pool is degraded: a stable word, and what a person can do."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class PoolView:
    """All that a pool's status is made of."""

    pool: Pool
    deployment: Mapping[str, Any] | None
    pods: tuple[Pod, ...]
    taking_work: int
    count: PoolCount
    isolation: tuple[str, ...]
    apply_error: str = ""
    silent: tuple[str, ...] = ()
    containers: list[PoolContainer] | None = None


def make_status(view: PoolView, now: datetime) -> ExecutorPoolStatus:
    """The pool's status as of ``now``; transition times stay where nothing has changed."""
    trouble = find_trouble(view)
    generation = view.pool.generation
    conditions = merge_conditions(
        view.pool.status.conditions,
        _available(view, now),
        make_condition(
            DEGRADED,
            "True" if trouble else "False",
            trouble.reason if trouble else "AsExpected",
            trouble.message if trouble else "every pod of the pool is as it should be",
            now,
            generation,
        ),
    )
    alive = [pod for pod in view.pods if not pod.finished]
    return ExecutorPoolStatus(
        observed_generation=generation,
        replicas=len(alive),
        ready_replicas=view.taking_work,
        busy_slots=view.count.busy,
        free_slots=view.count.free,
        queued=view.count.queued,
        selector=names.pod_selector(view.pool.name),
        isolation=_weakest(view.isolation),
        containers=view.containers,
        conditions=conditions,
    )


def _available(view: PoolView, now: datetime) -> Any:
    generation = view.pool.generation
    if view.taking_work:
        message = f"{view.taking_work} of {view.pool.spec.replicas} pods take work"
        return make_condition(AVAILABLE, "True", "PodsReady", message, now, generation)
    if view.pool.spec.replicas == 0:
        message = "spec.replicas is 0: Executions wait until there are pods"
        return make_condition(AVAILABLE, "False", "ScaledToZero", message, now, generation)
    return make_condition(AVAILABLE, "False", "NoPodReady", "no pod takes work yet", now, generation)


def find_trouble(view: PoolView) -> Trouble | None:
    """The most telling thing that is wrong with a pool, with what to do about it."""
    if view.apply_error:
        return Trouble("DeploymentRefused", f"the API server refused the pool's Deployment: {view.apply_error}")
    for pod in view.pods:
        if not pod.deleting and (trouble := _pod_trouble(pod)) is not None:
            return trouble
    if view.silent:
        return Trouble(
            "ExecutorUnreachable",
            f"the controller gets no answer from the executor on pod {', '.join(view.silent)}; "
            "look at the NetworkPolicies and at the network of its node"[:_MESSAGE_LENGTH],
        )
    return _deployment_trouble(view.deployment)


def _pod_trouble(pod: Pod) -> Trouble | None:
    waiting = f"pod {pod.name}: {pod.waiting_reason}: {pod.waiting_message}"[:_MESSAGE_LENGTH]
    if pod.waiting_reason in _PULL_REASONS:
        hint = "; correct spec.image, or give spec.podTemplate.imagePullSecrets"
        return Trouble(pod.waiting_reason, waiting + hint)
    if pod.waiting_reason in _CREATE_REASONS:
        return Trouble(pod.waiting_reason, waiting + _create_hint(pod))
    if pod.terminated is not None and not pod.ready and (pod.waiting_reason == "CrashLoopBackOff" or pod.restarts):
        return _ended_trouble(pod)
    if pod.unschedulable:
        return Trouble("Unschedulable", f"pod {pod.name} finds no node: {pod.unschedulable}"[:_MESSAGE_LENGTH])
    return None


def _create_hint(pod: Pod) -> str:
    if "seccomp" in pod.waiting_message.lower():
        return "; put the seccomp profile on every node (the chart's profile installer does)"
    if "secret" in pod.waiting_message.lower():
        return "; the Secret that the chart makes for the executors is missing"
    return ""


def _ended_trouble(pod: Pod) -> Trouble:
    """An executor that does not start says why in one line, which the kubelet keeps as the message."""
    assert pod.terminated is not None
    line = last_words(pod.terminated.message)
    reason = "IsolationUnavailable" if "isolation" in line.lower() else "ExecutorFailing"
    if pod.terminated.reason == "OOMKilled":
        reason, line = "OutOfMemory", "the executor ran out of memory; raise spec.resources.limits.memory"
    told = line or f"exit code {pod.terminated.exit_code}; see kubectl logs {pod.name} --previous"
    return Trouble(reason, f"pod {pod.name} does not start: {told}"[:_MESSAGE_LENGTH])


def _deployment_trouble(deployment: Mapping[str, Any] | None) -> Trouble | None:
    conditions: Iterable[Mapping[str, Any]] = ((deployment or {}).get("status") or {}).get("conditions") or ()
    for condition in conditions:
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            return Trouble(str(condition.get("reason", "FailedCreate")), str(condition.get("message", "")))
    return None


def _weakest(levels: tuple[str, ...]) -> str | None:
    if not levels:
        return None
    return "reduced" if "reduced" in levels else levels[0]
