"""Every name, label, key and path of the Kubernetes objects that the controller makes or reads.

In one module, because two sides must agree on each: the chart, the builder of the
Deployments and the watch that finds the pods again.
"""

import hashlib
import re
from typing import Final

from contracts.execution import TERMINAL_PHASES
from contracts.kube import EXECUTION_PLURAL, GROUP, POOL_PLURAL, VERSION

FIELD_MANAGER: Final = "sandbox-executor"
COMPONENT_NAME: Final = "sandbox-executor-controller"

POOL_LABEL: Final = f"{GROUP}/pool"
POOL_ANNOTATION: Final = f"{GROUP}/pool-name"
EXECUTOR_LABELS: Final = {
    "app.kubernetes.io/name": "sandbox-executor",
    "app.kubernetes.io/component": "executor",
    "app.kubernetes.io/managed-by": COMPONENT_NAME,
}
EXECUTOR_SELECTOR: Final = ",".join(f"{key}={value}" for key, value in EXECUTOR_LABELS.items())

INTERNAL_API_PORT_NAME: Final = "internal-api"
"""Of the Service's port, in the chart."""

EXECUTOR_CONTAINER: Final = "executor"
EXECUTOR_PORT_NAME: Final = "http"
EXECUTOR_PORT: Final = 8080
CONCURRENCY_VARIABLE: Final = "MAX_CONCURRENT_EXECUTIONS"

INTERNAL_API_TOKEN_KEY: Final = "internal-api-token"  # noqa: S105 (a key's name)
EXECUTE_API_TOKEN_KEY: Final = "execute-api-token"  # noqa: S105
TOKENS_MOUNT_PATH: Final = "/var/run/secrets/sandbox-executor"

IN_SESSION_SELECTOR: Final = "spec.sessionId!="
"""Executions that have a session."""
UNFINISHED_SELECTOR: Final = ",".join(f"status.phase!={phase}" for phase in sorted(TERMINAL_PHASES))
"""The field selector that keeps ended Executions out of lists and watches."""

_LABEL_LENGTH: Final = 63
_POD_SUFFIX_LENGTH: Final = len("-0123456789-abcde")
"""What a Deployment adds to its name for its pods."""
_PREFIX: Final = "executor-"
_DIGEST_LENGTH: Final = 8


def pool_slug(pool: str) -> str:
    """The pool's name where only 37 characters without dots fit: the name itself, or a start of it and a digest."""
    room = _LABEL_LENGTH - _POD_SUFFIX_LENGTH - len(_PREFIX)
    if len(pool) <= room and "." not in pool:
        return pool
    digest = hashlib.sha256(pool.encode()).hexdigest()[:_DIGEST_LENGTH]
    start = re.sub(r"[^a-z0-9-]", "-", pool)[: room - _DIGEST_LENGTH - 1].rstrip("-")
    return f"{start}-{digest}"


def deployment_name(pool: str) -> str:
    """The Deployment of a pool; its pods' names fit a label and a host name (63 characters)."""
    return f"{_PREFIX}{pool_slug(pool)}"


def pod_labels(pool: str) -> dict[str, str]:
    """The labels of a pool's pods; no pod template can change them."""
    return {**EXECUTOR_LABELS, POOL_LABEL: pool_slug(pool)}


def pod_selector(pool: str) -> str:
    """The same as a selector in text, for ``/scale``."""
    return ",".join(f"{key}={value}" for key, value in sorted(pod_labels(pool).items()))


def service_variables(service: str) -> tuple[str, str]:
    """The environment variables with a Service's address and port that the kubelet injects into each pod."""
    stem = service.upper().replace("-", "_")
    return f"{stem}_SERVICE_HOST", f"{stem}_SERVICE_PORT"


def executions_path(namespace: str | None = None) -> str:
    """Where Executions are listed: in one namespace, or in all."""
    scope = f"/namespaces/{namespace}" if namespace else ""
    return f"/apis/{GROUP}/{VERSION}{scope}/{EXECUTION_PLURAL}"


def execution_path(namespace: str, name: str) -> str:
    """One Execution."""
    return f"{executions_path(namespace)}/{name}"


def pools_path() -> str:
    """Where ExecutorPools are listed."""
    return f"/apis/{GROUP}/{VERSION}/{POOL_PLURAL}"


def pool_path(name: str) -> str:
    """One ExecutorPool."""
    return f"{pools_path()}/{name}"


def deployments_path(namespace: str) -> str:
    """Where the Deployments of a namespace are listed."""
    return f"/apis/apps/v1/namespaces/{namespace}/deployments"


def endpoint_slice_path(namespace: str, service: str) -> str:
    """The EndpointSlice that leads a Service to the leader."""
    return f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices/{service}-leader"


def output_key(namespace: str, uid: str, attempt: int, sha256: str) -> str:
    """Where an output lies in the object store. Not by the execution id, which users choose, nor by its name."""
    return f"{output_prefix(namespace, uid)}{attempt}/{sha256}"


def output_prefix(namespace: str, uid: str) -> str:
    """Before the keys of all outputs of one Execution."""
    return f"{namespace}/{uid}/"


def core_path(namespace: str, plural: str, name: str = "") -> str:
    """A core/v1 collection of a namespace, or one object in it."""
    return f"/api/v1/namespaces/{namespace}/{plural}" + (f"/{name}" if name else "")


def namespace_path(name: str) -> str:
    """One Namespace."""
    return f"/api/v1/namespaces/{name}"
