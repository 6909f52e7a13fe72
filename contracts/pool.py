"""The ``ExecutorPool`` resource: warm executor pods of one kind (cluster-scoped, like a RuntimeClass)."""

from typing import Annotated, Any, Final, Literal

from pydantic import Field, JsonValue

from contracts import bounds
from contracts.control_plane_api import ExitReason
from contracts.execution import ExecutionResources
from contracts.kube import ByteQuantity, Condition, DnsName, KubeModel, Timestamp, cel

_FREE_OBJECT: Final = {"x-kubernetes-preserve-unknown-fields": True}
_INT_OR_STRING: Final[dict[str, Any]] = {"x-kubernetes-int-or-string": True}

IsolationMode = Literal["strict", "best-effort"]
FreeObject = Annotated[dict[str, JsonValue], Field(json_schema_extra=_FREE_OBJECT)]
Quantities = dict[str, Annotated[str | int, Field(json_schema_extra=_INT_OR_STRING)]]


class LabelSelectorRequirement(KubeModel):
    """One expression of a ``metav1.LabelSelector``."""

    key: str = Field(max_length=317, description="The label.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"] = Field(description="How key and values relate.")
    values: list[str] | None = Field(default=None, description="For In and NotIn.")


class LabelSelector(KubeModel):
    """A ``metav1.LabelSelector``; an empty one selects everything."""

    match_labels: dict[str, str] | None = Field(default=None, description="Labels that it has, with these values.")
    match_expressions: list[LabelSelectorRequirement] | None = Field(default=None, description="All of which hold.")


class Isolation(KubeModel):
    """How strong a sandbox must be before a pod takes work."""

    mode: IsolationMode = Field(
        default="strict",
        description="strict: a pod that cannot isolate fully does not start. best-effort: it starts and says so.",
    )
    runtime_class_name: DnsName | None = Field(default=None, description="For example gvisor or kata.")


class ResourceRequirements(KubeModel):
    """Requests and limits of the executor container, as in a pod."""

    requests: Quantities | None = Field(default=None, description="What the scheduler sets aside for each pod.")
    limits: Quantities | None = Field(default=None, description="What a pod may use; its Executions share the memory.")


class PoolEnvVar(KubeModel):
    """An environment variable of the executor container. User code does not see it."""

    name: Literal["LOG_LEVEL", "DEBUG", "TZ"] = Field(description="One of those that change nothing for user code.")
    value: str = Field(max_length=bounds.MAX_ENV_VALUE_BYTES, description="Its value.")


ISOLATION_ANNOTATIONS: Final = (
    "container.apparmor.security.beta.kubernetes.io/",
    "container.seccomp.security.alpha.kubernetes.io/",
    "seccomp.security.alpha.kubernetes.io/",
    "io.kubernetes.cri-o.",
    "seccomp-profile.kubernetes.cri-o.io",
    "io.katacontainers.",
    "dev.gvisor.",
    "k8s.v1.cni.cncf.io/",
)
"""Starts of annotations that Kubernetes, a runtime or a network plugin reads as isolation: profiles, user
namespaces, devices, more networks."""

_ANNOTATION_RULE: Final = (
    "self.all(key, !(" + " || ".join(f"key.startsWith('{start}')" for start in ISOLATION_ANNOTATIONS) + "))",
    "isolation is the operator's: leave out annotations for AppArmor, seccomp, CRI-O, Kata, gVisor and further networks"
    " (spec.isolation has what can be chosen)",
)


class PodTemplate(KubeModel):
    """Where the pods run. Nothing here touches isolation."""

    labels: dict[str, str] | None = Field(default=None, description="Labels of the pods, beside the operator's.")
    annotations: dict[str, str] | None = Field(
        default=None,
        max_length=64,
        description="Annotations of the pods; none that a runtime reads as isolation.",
        json_schema_extra=cel(_ANNOTATION_RULE),
    )
    node_selector: dict[str, str] | None = Field(default=None, description="As in a pod.")
    tolerations: list[FreeObject] | None = Field(default=None, description="As in a pod.")
    affinity: FreeObject | None = Field(default=None, description="As in a pod.")
    topology_spread_constraints: list[FreeObject] | None = Field(default=None, description="As in a pod.")
    priority_class_name: DnsName | None = Field(default=None, description="As in a pod.")
    image_pull_secrets: list[DnsName] | None = Field(
        default=None, description="Names of Secrets in the operator's namespace."
    )


class PoolLimits(KubeModel):
    """Upper bounds for Executions of this pool; one that asks for more is Rejected."""

    timeout_seconds: int | None = Field(
        default=None, ge=bounds.MIN_TIMEOUT_S, le=bounds.MAX_TIMEOUT_S, description="Of spec.timeoutSeconds."
    )
    memory: ByteQuantity | None = Field(default=None, description="Of spec.resources.memory.")
    cpu_seconds: int | None = Field(default=None, ge=1, le=86_400, description="Of spec.resources.cpuSeconds.")
    processes: int | None = Field(default=None, ge=1, le=32_768, description="Of spec.resources.processes.")
    open_files: int | None = Field(default=None, ge=16, le=1_048_576, description="Of spec.resources.openFiles.")
    file_size: ByteQuantity | None = Field(default=None, description="Of spec.resources.fileSize.")
    workspace: ByteQuantity | None = Field(default=None, description="Of spec.resources.workspace.")
    workspace_entries: int | None = Field(
        default=None, ge=1, le=bounds.MAX_WORKSPACE_ENTRIES, description="Of spec.resources.workspaceEntries."
    )
    tmp: ByteQuantity | None = Field(default=None, description="Of spec.resources.tmp.")


class PoolDefaults(KubeModel):
    """What an Execution of this pool gets for what it leaves out."""

    ttl_seconds_after_finished: int | None = Field(
        default=None, ge=0, le=31_536_000, description="Of spec.ttlSecondsAfterFinished; kept for ever without either."
    )
    resources: ExecutionResources | None = None


class ExecutorPoolSpec(KubeModel):
    """How many warm pods of which kind, and who may use them."""

    allowed_namespaces: LabelSelector | None = Field(
        default=None, description="Namespaces whose Executions may use the pool; all when left out."
    )
    replicas: int = Field(default=1, ge=0, le=10_000, description="Executor pods.")
    image: str | None = Field(default=None, max_length=1024, description="Default: the operator's executor image.")
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = Field(
        default=None, description="As in a pod. Default: the operator's."
    )
    concurrency: int = Field(default=4, ge=1, le=256, description="Executions at a time in each pod.")
    warm_sandboxes: int | None = Field(
        default=None,
        ge=0,
        le=256,
        description="Sandboxes that each pod starts ahead of Executions, each for one; about 6 MB each. Default: 4.",
    )
    warm_javascript: int | None = Field(
        default=None,
        ge=0,
        le=64,
        description="Sandboxes in which node waits, in each pod, while JavaScript is asked for (within five minutes); "
        "about 40 MB each. Default: 1.",
    )
    queue_limit: int = Field(default=10_000, ge=0, le=1_000_000, description="Executions that may wait for a slot.")
    isolation: Isolation = Field(default_factory=Isolation)
    drain_seconds: int = Field(
        default=30, ge=0, le=3600, description="How long a pod that is to go lets its Executions end."
    )
    resources: ResourceRequirements | None = None
    env: list[PoolEnvVar] | None = Field(
        default=None,
        max_length=16,
        description="Environment variables of the executor container; user code does not see them.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    pod_template: PodTemplate | None = None
    limits: PoolLimits | None = None
    defaults: PoolDefaults | None = None


class PoolContainer(KubeModel):
    """One run of an executor container: running, or the last of its pod that has ended, or one whose end is untold."""

    pod_name: str = Field(description="Its pod.")
    pod_uid: str = Field(description="The uid of that pod.")
    container_id: str = Field(description="As the container runtime names it; differs after every restart.")
    port: int = Field(ge=1, le=65_535, description="Where its executor listens.")
    ready_time: Timestamp | None = Field(default=None, description="When it took work first.")
    exit_time: Timestamp | None = Field(default=None, description="When it ended.")
    exit_code: int | None = Field(default=None, description="As the kubelet or the executor says; -1 when nobody does.")
    exit_reason: ExitReason | None = Field(default=None, description="How it ended.")
    reported: Literal["Ready", "Exited"] | None = Field(
        default=None, description="What the Control Plane has heard of it last."
    )


MAX_STATUS_CONTAINERS: Final = 500


class ExecutorPoolStatus(KubeModel):
    """What the pool has, for people and for ``/scale``."""

    observed_generation: int | None = Field(
        default=None, ge=0, description="The metadata.generation that was acted on last."
    )
    replicas: int = Field(default=0, ge=0, description="Pods that there are.")
    ready_replicas: int = Field(default=0, ge=0, description="Pods that take work.")
    busy_slots: int = Field(default=0, ge=0, description="Executions that run.")
    free_slots: int = Field(default=0, ge=0, description="Executions that could begin at once.")
    queued: int = Field(default=0, ge=0, description="Executions that wait for a slot.")
    selector: str | None = Field(default=None, description="Selects the pods, for the scale subresource.")
    isolation: str | None = Field(default=None, description="The weakest level that a ready pod reports.")
    containers: list[PoolContainer] | None = Field(
        default=None,
        max_length=MAX_STATUS_CONTAINERS,
        description="The runs of executor containers; the first 500.",
    )
    conditions: list[Condition] | None = Field(
        default=None,
        description="Available: a pod takes work. Degraded: something is wrong, and what.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
