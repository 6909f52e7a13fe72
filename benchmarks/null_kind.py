"""NullExecutions, and the pod that tends them on a cluster: the Executions' schema under another name.

So the API server has the same work with both (bounds, validation, selectable fields), and both operators run side by
side without a common object.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from benchmarks import null_operator
from benchmarks.collection import Api, Collection, Object, make_name
from benchmarks.null_operator import NULL_GROUP, PLURAL, collection_path
from contracts.kube import EXECUTION_PLURAL, GROUP, VERSION

KIND = "NullExecution"
_CRDS = Path(__file__).resolve().parents[1] / "deploy" / "crds"
_NAME = "null-operator"
_SERVED_S = 30.0
_RULES = [
    {"apiGroups": [NULL_GROUP], "resources": [PLURAL], "verbs": ["get", "list", "watch"]},
    {"apiGroups": [NULL_GROUP], "resources": [f"{PLURAL}/status"], "verbs": ["patch"]},
]


def make_crd() -> Object:
    """The CustomResourceDefinition of NullExecutions."""
    crd: Object = yaml.safe_load((_CRDS / f"{EXECUTION_PLURAL}.{GROUP}.yaml").read_text())
    crd["metadata"]["name"] = f"{PLURAL}.{NULL_GROUP}"
    crd["spec"]["group"] = NULL_GROUP
    crd["spec"]["names"] = {"kind": KIND, "listKind": f"{KIND}List", "plural": PLURAL, "singular": KIND.lower()}
    return crd


def make_null(spec: Object) -> Object:
    """One of them."""
    version = f"{NULL_GROUP}/{VERSION}"
    return {"apiVersion": version, "kind": KIND, "metadata": {"name": make_name("null")}, "spec": spec}


@asynccontextmanager
async def open_pod(api: Api, namespace: str, image: str) -> AsyncIterator[None]:
    """The null operator in a pod of the controller's image, with the rights that it needs; all removed afterwards."""
    cluster_wide, namespaced = _make_cluster_wide(namespace), _make_namespaced(namespace, image)
    try:
        for path, body in cluster_wide:
            await Collection(api, path).call("POST", body=body)
        await _wait_served(Collection(api, collection_path(namespace)))
        for path, body in namespaced:
            await Collection(api, path).call("POST", body=body)
        yield
    finally:
        for path, body in reversed(cluster_wide):
            await Collection(api, path).call("DELETE", body["metadata"]["name"])


async def _wait_served(nulls: Collection) -> None:
    async with asyncio.timeout(_SERVED_S):
        while True:
            with contextlib.suppress(RuntimeError):
                await nulls.call("GET")
                return
            await asyncio.sleep(0.1)


def _make_cluster_wide(namespace: str) -> list[tuple[str, Object]]:
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": _NAME}
    subject = {"kind": "ServiceAccount", "name": _NAME, "namespace": namespace}
    return [
        ("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", make_crd()),
        (f"{rbac}/clusterroles", {"metadata": {"name": _NAME}, "rules": _RULES}),
        (f"{rbac}/clusterrolebindings", {"metadata": {"name": _NAME}, "roleRef": role, "subjects": [subject]}),
    ]


def _make_namespaced(namespace: str, image: str) -> list[tuple[str, Object]]:
    core, metadata = f"/api/v1/namespaces/{namespace}", {"name": _NAME}
    source = Path(null_operator.__file__).read_text()
    return [
        (f"{core}/serviceaccounts", {"metadata": metadata}),
        (f"{core}/configmaps", {"metadata": metadata, "data": {"null_operator.py": source}}),
        (f"{core}/pods", _make_pod(image)),
    ]


def _make_pod(image: str) -> dict[str, Any]:
    """With what the controller's pod asks for, and the source where its interpreter finds it."""
    container = {
        "name": _NAME,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "/null/null_operator.py"],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        "volumeMounts": [{"name": "source", "mountPath": "/null"}],
    }
    volume = {"name": "source", "configMap": {"name": _NAME}}
    spec = {"serviceAccountName": _NAME, "containers": [container], "volumes": [volume]}
    return {"metadata": {"name": _NAME}, "spec": {**spec, "terminationGracePeriodSeconds": 1}}
