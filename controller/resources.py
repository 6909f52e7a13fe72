"""Kubernetes objects as the controller sees them: parsed once, at the edge, into frozen values.

Pods are read leniently (they are Kubernetes' own), Executions and ExecutorPools by the
models of ``contracts``, which the API server has already enforced.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from contracts.execution import TERMINAL_PHASES, ExecutionSpec, ExecutionStatus
from contracts.ids import derive_execution_id
from contracts.pool import ExecutorPoolSpec, ExecutorPoolStatus
from contracts.tracing import TRACE_ANNOTATION
from controller import names

Body = Mapping[str, Any]
_DISRUPTIONS: Final = {
    "DeletionByTaintManager": "node {node} has a taint that it does not tolerate, as one that cannot be reached has",
    "EvictionByEvictionAPI": "node {node} is drained, or somebody else has evicted it through the API",
    "DeletionByPodGC": "node {node} is no longer there",
}
"""Reasons of the condition DisruptionTarget, but for evictions
(https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions)."""


def parse_time(text: str) -> datetime:
    """An RFC 3339 time as Kubernetes writes it."""
    return datetime.fromisoformat(text)


@dataclass(frozen=True, slots=True)
class Execution:
    """One ``Execution`` object, as it was read."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    generation: int
    created: datetime
    deleting: bool
    spec: ExecutionSpec
    status: ExecutionStatus
    traceparent: str = ""
    """What its creator says of the trace that it belongs to, as it was found: tenants write it."""

    @property
    def execution_id(self) -> str:
        """The id that executors know it by; the same after every restart."""
        return self.status.execution_id or self.spec.execution_id or derive_execution_id(self.created.date(), self.uid)

    @property
    def session_id(self) -> str | None:
        """The session as an executor knows it: tenants share executors, and no namespace's name has a dot."""
        return f"{self.namespace}.{self.spec.session_id}" if self.spec.session_id else None

    @property
    def session(self) -> str:
        """The session's key for placement, another one in each pool; empty when there is none."""
        return f"{self.spec.pool}/{self.session_id}" if self.session_id else ""

    @property
    def ended(self) -> bool:
        """Whether its phase is one that never changes again."""
        return self.status.phase in TERMINAL_PHASES

    @property
    def order(self) -> tuple[datetime, int, str]:
        """Its place in the queue: creation, then the resource version where that is a number."""
        version = int(self.resource_version) if self.resource_version.isdigit() else 0
        return (self.created, version, self.uid)


def parse_execution(body: Body) -> Execution:
    """An ``Execution`` from the API server.

    Raises:
        pydantic.ValidationError: the spec or status is not one of ours (an older or newer CRD).
    """
    metadata = body["metadata"]
    return Execution(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata.get("resourceVersion", ""),
        generation=metadata.get("generation", 1),
        created=parse_time(metadata["creationTimestamp"]),
        deleting="deletionTimestamp" in metadata,
        spec=ExecutionSpec.model_validate(body["spec"]),
        status=ExecutionStatus.model_validate(body.get("status") or {}),
        traceparent=(metadata.get("annotations") or {}).get(TRACE_ANNOTATION, ""),
    )


@dataclass(frozen=True, slots=True)
class Pool:
    """One ``ExecutorPool`` object, as it was read."""

    name: str
    uid: str
    generation: int
    spec: ExecutorPoolSpec
    status: ExecutorPoolStatus
    resource_version: str = ""


def parse_pool(body: Body) -> Pool:
    """An ``ExecutorPool`` from the API server.

    Raises:
        pydantic.ValidationError: as for an Execution.
    """
    metadata = body["metadata"]
    return Pool(
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata.get("generation", 1),
        spec=ExecutorPoolSpec.model_validate(body.get("spec") or {}),
        status=ExecutorPoolStatus.model_validate(body.get("status") or {}),
        resource_version=metadata.get("resourceVersion", ""),
    )


@dataclass(frozen=True, slots=True)
class TerminatedContainer:
    """How one run of the executor container ended, from ``containerStatuses``."""

    exit_code: int
    reason: str
    message: str
    finished: datetime | None
    container_id: str = ""


@dataclass(frozen=True, slots=True)
class Pod:
    """One executor pod, as it was read."""

    name: str
    uid: str
    pool: str
    node: str
    ip: str
    port: int
    phase: str
    ready: bool
    deleting: bool
    restarts: int
    running: bool
    terminated: TerminatedContainer | None
    waiting_reason: str
    waiting_message: str
    evicted: str
    unschedulable: str
    capacity: int | None = None
    container_id: str = ""
    """Which run of the executor container runs now, as the runtime names it; empty when none does."""
    resource_version: str = ""
    gone_by: datetime | None = None
    """When the kubelet should have ended it, of a pod that is marked for deletion."""
    template: str = ""
    """Which of its Deployment's templates it was made from, as Kubernetes hashes them."""
    leaving: str = ""
    """Why it is to go, in words; empty when it is not, or nobody knows (``departures``)."""

    @property
    def url(self) -> str:
        """Where its executor listens."""
        host = f"[{self.ip}]" if ":" in self.ip else self.ip
        return f"http://{host}:{self.port}"

    @property
    def finished(self) -> bool:
        """Whether none of its containers will ever run again."""
        return self.phase in ("Failed", "Succeeded")


def parse_pod(body: Body) -> Pod | None:
    """An executor pod; None when the pod is not one of ours."""
    metadata, status = body["metadata"], body.get("status") or {}
    slug = (metadata.get("labels") or {}).get(names.POOL_LABEL)
    if slug is None:
        return None
    container = _named(status.get("containerStatuses"), names.EXECUTOR_CONTAINER)
    state, last = container.get("state") or {}, container.get("lastState") or {}
    waiting = state.get("waiting") or {}
    conditions = {item["type"]: item for item in status.get("conditions") or []}
    return Pod(
        name=metadata["name"],
        uid=metadata["uid"],
        pool=(metadata.get("annotations") or {}).get(names.POOL_ANNOTATION, slug),
        node=(body.get("spec") or {}).get("nodeName", ""),
        ip=status.get("podIP", ""),
        port=_port(body),
        phase=status.get("phase", "Pending"),
        ready=conditions.get("Ready", {}).get("status") == "True",
        deleting="deletionTimestamp" in metadata,
        restarts=container.get("restartCount", 0),
        running="running" in state,
        terminated=_terminated(state.get("terminated") or last.get("terminated")),
        waiting_reason=waiting.get("reason", ""),
        waiting_message=waiting.get("message", ""),
        evicted=_eviction(status, conditions),
        unschedulable=_unschedulable(conditions),
        capacity=_capacity(body),
        container_id=_container_id(container) if "running" in state else "",
        resource_version=metadata.get("resourceVersion", ""),
        gone_by=parse_time(metadata["deletionTimestamp"]) if "deletionTimestamp" in metadata else None,
        template=(metadata.get("labels") or {}).get("pod-template-hash", ""),
        leaving=_disruption(conditions, (body.get("spec") or {}).get("nodeName", "")),
    )


def _terminated(state: Body | None) -> TerminatedContainer | None:
    if not state:
        return None
    finished = state.get("finishedAt")
    return TerminatedContainer(
        exit_code=state.get("exitCode", -1),
        reason=state.get("reason", ""),
        message=(state.get("message") or "").strip(),
        finished=parse_time(finished) if finished else None,
        container_id=_container_id(state),
    )


def _container_id(status: Body) -> str:
    """Without the runtime's name in front (``containerd://``)."""
    return str(status.get("containerID") or "").rpartition("//")[2]


def _eviction(status: Body, conditions: Mapping[str, Body]) -> str:
    """Why the pod was evicted or preempted, in words; empty when it was not."""
    if status.get("reason") == "Evicted":
        return str(status.get("message") or "the kubelet evicted the pod")
    disruption = conditions.get("DisruptionTarget", {})
    if disruption.get("status") == "True" and disruption.get("reason") not in _DISRUPTIONS:
        return str(disruption.get("message") or disruption.get("reason") or "the pod was disrupted")
    return ""


def _disruption(conditions: Mapping[str, Body], node: str) -> str:
    """What else than an eviction Kubernetes gives as the reason why the pod is to go, in words."""
    disruption = conditions.get("DisruptionTarget", {})
    words = _DISRUPTIONS.get(str(disruption.get("reason"))) if disruption.get("status") == "True" else None
    return words.format(node=node) if words else ""


def _unschedulable(conditions: Mapping[str, Body]) -> str:
    scheduled = conditions.get("PodScheduled", {})
    return str(scheduled.get("message", "")) if scheduled.get("status") == "False" else ""


def _named(items: Any, name: str) -> Body:
    found: Body = next((item for item in items or [] if item.get("name") == name), {})
    return found


def _port(body: Body) -> int:
    container = _named((body.get("spec") or {}).get("containers"), names.EXECUTOR_CONTAINER)
    port = _named(container.get("ports"), names.EXECUTOR_PORT_NAME).get("containerPort", names.EXECUTOR_PORT)
    return int(port)


def _capacity(body: Body) -> int | None:
    """The concurrency that the pod was made with: during a rollout it differs from the pool's."""
    container = _named((body.get("spec") or {}).get("containers"), names.EXECUTOR_CONTAINER)
    value = str(_named(container.get("env"), names.CONCURRENCY_VARIABLE).get("value", ""))
    return int(value) if value.isdigit() else None
