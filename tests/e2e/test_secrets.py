"""Secrets: read only where the chart allows it, once, and shown to nobody but the code that asked for them."""

import hashlib
import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.e2e.chart import upgraded
from tests.e2e.cluster import (
    CONTROLLER_PODS,
    DEFAULT_PODS,
    SYSTEM_NAMESPACE,
    Object,
    Tenant,
    Tools,
    condition,
    eventually,
    execution,
    pool,
)

CONTROLLER_USER = f"system:serviceaccount:{SYSTEM_NAMESPACE}:sandbox-executor-controller"
HASH = """
import hashlib, os, time
def handler(event):
    time.sleep(event or 0)
    return hashlib.sha256(os.environ["PASSWORD"].encode()).hexdigest()
"""
REFERENCE = [{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}]


def secret(value: str) -> Object:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}, "stringData": {"password": value}}


@pytest.fixture(scope="module")
def allowed(request: pytest.FixtureRequest, installed: Tools) -> Iterator[Tenant]:
    """A namespace that the chart names in ``secretNamespaces``; the controller logs all it can."""
    namespace = f"e2e-secrets-{secrets.token_hex(4)}"
    installed.kubectl("create", "namespace", namespace)
    with upgraded(installed, request.config, f"secretNamespaces={{{namespace}}}", "controller.logLevel=DEBUG"):
        yield Tenant(installed, namespace)
    installed.kubectl("delete", "namespace", namespace, "--wait=false")


@pytest.fixture
def secret_events(request: pytest.FixtureRequest, installed: Tools) -> Callable[[str], list[Object]]:
    """What the API server's audit log says that the controller did to Secrets of a namespace."""
    file = request.config.getoption("--audit-log")

    def log() -> str:
        if file is not None:
            return Path(file).read_text()
        from devcluster.cluster import Cluster

        return Cluster.current().audit_log()

    def read(namespace: str) -> list[Object]:
        *lines, _ = log().split("\n")  # what stands behind the last line's end is still being written
        events = [json.loads(line) for line in lines]
        return [
            found
            for found in events
            if found["objectRef"].get("namespace") == namespace and found["user"]["username"] == CONTROLLER_USER
        ]

    return read


def test_where_it_is_not_allowed_the_controller_does_not_even_ask(
    tenant: Tenant, allowed: Tenant, secret_events: Callable[[str], list[Object]]
) -> None:
    value = secrets.token_hex(16)
    tenant.apply(secret(value), execution("asks", HASH, env=REFERENCE))
    status = tenant.finished("asks")
    assert status["phase"] == "Rejected"
    assert condition(status, "Finished")["reason"] == "SecretsNotAllowed"

    # The same where it is allowed, and later: by then the log would hold what was done before.
    allowed.apply(secret(value), execution("asks", HASH, env=REFERENCE))
    assert allowed.finished("asks")["phase"] == "Succeeded"
    (read,) = eventually(lambda: secret_events(allowed.namespace))
    assert (read["verb"], read["objectRef"]["name"], read["responseStatus"]["code"]) == ("get", "db", 200)
    assert secret_events(tenant.namespace) == []


def test_a_secrets_value_is_in_no_log_event_status_or_argv(allowed: Tenant, pool_name: str) -> None:
    tools, value = allowed.tools, f"hush-{secrets.token_hex(24)}"
    digest = hashlib.sha256(value.encode()).hexdigest()
    loud = pool(
        pool_name,
        replicas=1,
        concurrency=2,
        env=[{"name": "LOG_LEVEL", "value": "DEBUG"}, {"name": "DEBUG", "value": "true"}],
        resources={"requests": {"cpu": "50m", "memory": "64Mi"}},
    )
    tools.kubectl("create", "-f", "-", stdin=yaml.safe_dump(loud))
    broken = "import os\ndef handler(event): return {}[0]\n"
    other_key = [{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "other"}}}]
    allowed.tools.kubectl("delete", "secret", "db", "-n", allowed.namespace, "--ignore-not-found")
    allowed.apply(
        secret(value),
        execution("runs", HASH, env=REFERENCE, pool=pool_name, event=5),
        execution("raises", broken, env=REFERENCE, pool=pool_name),
        execution("no-such-key", HASH, env=other_key, pool=pool_name),
    )
    running = eventually(lambda: (s := allowed.status("runs")).get("phase") == "Running" and s, timeout_s=180)
    processes = eventually(lambda: _with_a_sandbox(tools.processes(running["podName"])))
    statuses = [allowed.finished(name) for name in ("raises", "no-such-key", "runs")]

    assert [status["phase"] for status in statuses] == ["Failed", "Rejected", "Succeeded"]
    assert statuses[-1]["returnValue"] == digest, "the code had it"
    for name, text in {**_texts(tools, pool_name), "argv": "\n".join(processes)}.items():
        assert text, name
        assert value not in text, name


def _with_a_sandbox(processes: list[str]) -> list[str]:
    return processes if any("bwrap" in line for line in processes) else []


def _texts(tools: Tools, pool_name: str) -> dict[str, str]:
    """Everything that people and log collectors see."""
    logs = {
        f"logs of {pod['metadata']['name']}": tools.kubectl("logs", "-n", SYSTEM_NAMESPACE, pod["metadata"]["name"])
        for selector in (CONTROLLER_PODS, DEFAULT_PODS, f"sandbox-executor.dev/pool={pool_name}")
        for pod in tools.pods(selector)
    }
    kinds = ("executions", "executorpools", "events", "deployments", "pods", "configmaps")
    return {**logs, **{kind: tools.kubectl("get", kind, "-A", "-o", "yaml") for kind in kinds}}
