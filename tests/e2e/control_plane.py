"""A mock Control Plane in the cluster, and what it has heard."""

import json
import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from tests.e2e.chart import upgraded
from tests.e2e.cluster import REPOSITORY, SYSTEM_NAMESPACE, Object, Tenant, Tools, condition, eventually

NAME = "mock-control-plane"
PORT = 8000
_CODE = sorted((REPOSITORY / "mock_control_plane").glob("*.py"))


@dataclass(frozen=True)
class ControlPlane:
    """The mock Control Plane, in the operator's namespace."""

    tools: Tools

    def calls(self, kind: str, subject: str | None = None) -> list[Object]:
        """What it has received since it started: of a kind, about one execution or container."""
        path = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/services/{NAME}:{PORT}/proxy/"
        entries: list[Object] = json.loads(self.tools.kubectl("get", "--raw", path))
        return [entry for entry in entries if entry["kind"] == kind and subject in (None, entry["subject"])]

    def assert_one_exit_a_run(self) -> None:
        """Of no container run it was told twice that it has ended."""
        told_exits = Counter(entry["subject"] for entry in self.calls("exited"))
        assert {subject: count for subject, count in told_exits.items() if count > 1} == {}

    def scale(self, replicas: int) -> None:
        """Goes away with all that it knows, or comes back."""
        self.tools.kubectl("scale", f"deployment/{NAME}", f"--replicas={replicas}", "-n", SYSTEM_NAMESPACE)
        if replicas:
            self.tools.kubectl("rollout", "status", f"deployment/{NAME}", "-n", SYSTEM_NAMESPACE, "--timeout=150s")
        else:
            wait = ("--for=delete", "pod", "-l", f"app={NAME}", "-n", SYSTEM_NAMESPACE, "--timeout=150s")
            self.tools.kubectl("wait", *wait)


@contextmanager
def listening(tools: Tools, config: pytest.Config) -> Iterator[ControlPlane]:
    """Its code from a ConfigMap, on the controller's image; the release is told of it, and afterwards of nobody."""
    objects = yaml.safe_dump_all(manifests(config.getoption("--controller-image")))
    tools.kubectl("apply", "-f", "-", stdin=objects)
    found = ControlPlane(tools)
    try:
        found.scale(1)
        values = (f"controlPlane.url=http://{NAME}.{SYSTEM_NAMESPACE}:{PORT}", f"controlPlane.existingSecret={NAME}")
        with upgraded(tools, config, *values):
            yield found
    finally:
        tools.kubectl("delete", "-f", "-", "--ignore-not-found", "--wait=false", stdin=objects)


def manifests(image: str) -> list[Object]:
    """Secret, code, Deployment and Service."""
    metadata: Object = {"name": NAME, "namespace": SYSTEM_NAMESPACE, "labels": {"app": NAME}}
    token = "/var/run/secrets/mock"
    items = [{"key": path.name, "path": f"mock_control_plane/{path.name}"} for path in _CODE]
    container: Object = {
        "name": "mock",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-P", "-m", "mock_control_plane"],
        "env": [
            {"name": "PYTHONPATH", "value": "/mock"},
            {"name": "PORT", "value": str(PORT)},
            {"name": "INTERNAL_API_TOKEN_FILE", "value": f"{token}/token"},
        ],
        "ports": [{"containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/health", "port": PORT}, "periodSeconds": 1},
        "volumeMounts": [{"name": "code", "mountPath": "/mock"}, {"name": "token", "mountPath": token}],
    }
    pod: Object = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        "volumes": [
            {"name": "code", "configMap": {"name": NAME, "items": items}},
            {"name": "token", "secret": {"secretName": NAME}},
        ],
    }
    template = {"metadata": {"labels": {"app": NAME}}, "spec": pod}
    return [
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"token": secrets.token_hex(24)}},
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": {path.name: path.read_text() for path in _CODE},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": NAME}}, "template": template},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": {"app": NAME}, "ports": [{"port": PORT}]},
        },
    ]


def told(tenant: Tenant, name: str, timeout_s: float = 120) -> Object:
    """Waits until the Control Plane has heard how it ended; its status."""

    def look() -> Any:
        status = tenant.status(name)
        return status if condition(status, "Reported").get("status") == "True" else None

    status: Object = eventually(look, timeout_s=timeout_s)
    return status


def assert_heard(control_plane: ControlPlane, status: Object) -> None:
    """One result reached it, and it is the one in the status."""
    (entry,) = [entry for entry in control_plane.calls("result", status["executionId"]) if entry["answered"] == 201]
    body = entry["body"]
    assert (body["stdout"], body["return_value"]) == (status["stdout"], status.get("returnValue"))
    assert (body["exit_code"], body["reason"]) == (status["exitCode"], condition(status, "Finished")["reason"])
