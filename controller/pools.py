"""The Deployment of a pool, as a pure function of the pool and the settings.

Isolation is written last and over everything: nothing in an ExecutorPool, above all not
its ``podTemplate``, can change those fields (``facts.md`` says what bubblewrap needs).
"""

from collections.abc import Mapping
from typing import Any, Final

from contracts.bounds import DEFAULT_WORKSPACE_BYTES, MAX_STREAM_BYTES, RETAINED_WORKSPACES_BYTES
from contracts.kube import API_VERSION, POOL_KIND, quantity_bytes
from contracts.outputs import OUTPUTS_VARIABLES
from contracts.pool import ISOLATION_ANNOTATIONS, PodTemplate
from controller import names
from controller.resources import Pool
from controller.settings import Settings

Manifest = dict[str, Any]

RUN_AS_ID: Final = 1000
_DRAIN_MARGIN_S: Final = 15
_DRAIN_COMMAND: Final = ("python", "-P", "-m", "executor_runtime.drain")
_DEFAULT_RESOURCES: Final = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}}
_WORKSPACE_PATH: Final = "/workspace"
_RESULTS_PATH: Final = "/tmp/results"
_VOLUMES: Final = {"workspace": _WORKSPACE_PATH, "tmp": "/tmp", "results": _RESULTS_PATH}
_MIB: Final = 1_048_576
_TOKENS_VOLUME: Final = "tokens"
_OPTIONAL_POD_FIELDS: Final = (
    "node_selector",
    "tolerations",
    "affinity",
    "topology_spread_constraints",
    "priority_class_name",
)


def build_deployment(pool: Pool, settings: Settings) -> Manifest:
    """The Deployment that ``apply`` is given; owned by the pool, so that it goes when the pool goes."""
    template = pool.spec.pod_template or PodTemplate()
    labels = names.pod_labels(pool.name)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": names.deployment_name(pool.name),
            "namespace": settings.operator_namespace,
            "labels": labels,
            "annotations": {names.POOL_ANNOTATION: pool.name},
            "ownerReferences": [_owner(pool)],
        },
        "spec": {
            "replicas": pool.spec.replicas,
            "selector": {"matchLabels": labels},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"}},
            "template": {
                "metadata": {
                    "labels": {**(template.labels or {}), **labels},
                    "annotations": {**_harmless(template.annotations), **_pod_annotations(pool)},
                },
                "spec": {**_placement(template), **_pod(pool, settings)},
            },
        },
    }


def _owner(pool: Pool) -> Manifest:
    return {
        "apiVersion": API_VERSION,
        "kind": POOL_KIND,
        "name": pool.name,
        "uid": pool.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def _pod_annotations(pool: Pool) -> dict[str, str]:
    return {
        names.POOL_ANNOTATION: pool.name,
        "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
    }


def _harmless(annotations: Mapping[str, str] | None) -> dict[str, str]:
    """The API server refuses the others already; a pool may be older than its rule."""
    return {key: value for key, value in (annotations or {}).items() if not key.startswith(ISOLATION_ANNOTATIONS)}


def _placement(template: PodTemplate) -> Manifest:
    """Where pods run: the only fields of a pod's spec that a pool's template reaches."""
    given = template.to_kube()
    fields = {_camel(name): given[_camel(name)] for name in _OPTIONAL_POD_FIELDS if _camel(name) in given}
    if template.image_pull_secrets:
        fields["imagePullSecrets"] = [{"name": name} for name in template.image_pull_secrets]
    return fields


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _pod(pool: Pool, settings: Settings) -> Manifest:
    pod: Manifest = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": True,
        "hostUsers": False,
        "hostNetwork": False,
        "hostPID": False,
        "hostIPC": False,
        "shareProcessNamespace": False,
        "terminationGracePeriodSeconds": pool.spec.drain_seconds + _DRAIN_MARGIN_S,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": RUN_AS_ID,
            "runAsGroup": RUN_AS_ID,
            "fsGroup": RUN_AS_ID,
            "seccompProfile": _seccomp(settings),
            **_apparmor(settings),
        },
        "containers": [_container(pool, settings)],
        "volumes": [
            *({"name": name, "emptyDir": {"sizeLimit": size}} for name, size in _volume_sizes(pool, settings).items()),
            _tokens_volume(settings),
        ],
    }
    if pool.spec.isolation.runtime_class_name is not None:
        pod["runtimeClassName"] = pool.spec.isolation.runtime_class_name
    return pod


def _volume_sizes(pool: Pool, settings: Settings) -> dict[str, str]:
    """Above what executors let in: a pod over one of these is evicted, and all that it runs with it.

    Of workspaces that is what each Execution may hold, what is kept of ended ones, and one more for what is written
    between two looks.
    """
    limits, defaults = pool.spec.limits, pool.spec.defaults
    given = (limits and limits.workspace) or (defaults and defaults.resources and defaults.resources.workspace)
    largest = quantity_bytes(given) if given else DEFAULT_WORKSPACE_BYTES
    workspaces = (pool.spec.concurrency + 1) * largest + RETAINED_WORKSPACES_BYTES
    return {"workspace": f"{-(-workspaces // _MIB)}Mi", "tmp": "256Mi", "results": _results_size(pool, settings)}


def _results_size(pool: Pool, settings: Settings) -> str:
    """Results that nobody has taken yet; with an object store what both streams have beyond the executor's memory."""
    beyond = max(settings.output_object_bytes - MAX_STREAM_BYTES, 0)
    if not settings.object_store_url or not beyond:
        return "1Gi"
    return f"{1024 + -(-pool.spec.concurrency * 2 * beyond // _MIB)}Mi"


def _seccomp(settings: Settings) -> Manifest:
    if settings.seccomp_profile:
        return {"type": "Localhost", "localhostProfile": settings.seccomp_profile}
    return {"type": "RuntimeDefault"}


def _apparmor(settings: Settings) -> Manifest:
    """Left out where the runtime is to choose: a kubelet without AppArmor refuses all but that and Unconfined."""
    kind, _, name = settings.apparmor_profile.partition("/")
    if not kind:
        return {}
    return {"appArmorProfile": {"type": kind, **({"localhostProfile": name} if name else {})}}


def _tokens_volume(settings: Settings) -> Manifest:
    keys = (names.INTERNAL_API_TOKEN_KEY, names.EXECUTE_API_TOKEN_KEY)
    items = [{"key": key, "path": key} for key in keys]
    secret = {"secretName": settings.executor_secret_name, "defaultMode": 0o440, "items": items}
    return {"name": _TOKENS_VOLUME, "secret": secret}


def _container(pool: Pool, settings: Settings) -> Manifest:
    resources = pool.spec.resources.to_kube() if pool.spec.resources else _DEFAULT_RESOURCES
    return {
        "name": names.EXECUTOR_CONTAINER,
        "image": pool.spec.image or settings.executor_image,
        "imagePullPolicy": pool.spec.image_pull_policy or settings.executor_image_pull_policy,
        "ports": [{"name": names.EXECUTOR_PORT_NAME, "containerPort": names.EXECUTOR_PORT, "protocol": "TCP"}],
        "env": _environment(pool, settings),
        "resources": resources,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "privileged": False,
            "procMount": "Unmasked",
            "readOnlyRootFilesystem": True,
        },
        "startupProbe": _probe(period_s=1, failures=60),
        "readinessProbe": _probe(period_s=2, failures=3),
        "livenessProbe": _probe(period_s=10, failures=6),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        **_draining(pool.spec.drain_seconds),
        "volumeMounts": [
            *({"name": name, "mountPath": path} for name, path in _VOLUMES.items()),
            {"name": _TOKENS_VOLUME, "mountPath": names.TOKENS_MOUNT_PATH, "readOnly": True},
        ],
    }


def _draining(seconds: int) -> Manifest:
    """Lets what runs end before SIGTERM, which ends it as Crashed."""
    if seconds == 0:
        return {}
    return {"lifecycle": {"preStop": {"exec": {"command": [*_DRAIN_COMMAND, str(seconds)]}}}}


def _probe(period_s: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": "/health", "port": names.EXECUTOR_PORT_NAME},
        "periodSeconds": period_s,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _environment(pool: Pool, settings: Settings) -> list[Manifest]:
    """Ours come after the pool's, and the pool's names are a closed list that holds none of ours."""
    host, port = names.service_variables(settings.service_name)
    literal = {
        "CONTROL_PLANE_URL": f"http://$({host}):$({port})",
        "EXECUTOR_PORT": str(names.EXECUTOR_PORT),
        names.CONCURRENCY_VARIABLE: str(pool.spec.concurrency),
        "ISOLATION_MODE": pool.spec.isolation.mode,
        "WORKSPACE_PATH": _WORKSPACE_PATH,
        "RESULTS_PATH": _RESULTS_PATH,
        "INTERNAL_API_TOKEN_FILE": f"{names.TOKENS_MOUNT_PATH}/{names.INTERNAL_API_TOKEN_KEY}",
        "EXECUTE_API_TOKEN_FILE": f"{names.TOKENS_MOUNT_PATH}/{names.EXECUTE_API_TOKEN_KEY}",
    }
    if pool.spec.warm_sandboxes is not None:
        literal["WARM_SANDBOXES"] = str(pool.spec.warm_sandboxes)
    if pool.spec.warm_javascript is not None:
        literal["WARM_JAVASCRIPT"] = str(pool.spec.warm_javascript)
    if settings.object_store_url:
        limits = (settings.output_object_bytes, settings.output_total_bytes)
        literal |= dict(zip(OUTPUTS_VARIABLES, map(str, limits), strict=True))
    downward = {"POD_NAME": "metadata.name", "CONTAINER_ID": "metadata.uid"}
    return [
        *(variable.to_kube() for variable in pool.spec.env or ()),
        *({"name": name, "value": value} for name, value in literal.items()),
        *({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in downward.items()),
    ]
