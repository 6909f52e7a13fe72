"""What a test does around the log API: it plays the user, the controller, and whoever comes past the API server."""

import asyncio
import os
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp

from contracts.kube import API_VERSION
from controller import names
from log_api.group import GROUP, VERSION, VERSION_PATH
from tests.certificates import Pair
from tests.integration.controller.apiserver import ROOT, ApiError, ApiServer
from tests.integration.controller.cluster import NAMESPACE, make_pod, make_pod_status
from tests.memory import Peak
from tests.objects import TestStore
from tests.patience import PATIENCE_S, eventually

SERVICE = "sandbox-executor-log-api"
LOG_API_USER = "log-api"
TENANT_USER = "tenant"
OWN, OTHER = "team-a", "team-b"
API_SERVICE = f"/apis/apiregistration.k8s.io/v1/apiservices/{VERSION}.{GROUP}"
REQUEST_TIMEOUT_S = 15
"""Of the API server, for all that is no stream; its default is a minute."""
_ANSWER_S = 280.0
"""Within which a whole answer comes, also one of 100 MB."""
_MERGE = "application/merge-patch+json"
_STRATEGIC = "application/strategic-merge-patch+json"
Object = dict[str, Any]

CLUSTER_RULES = [{"apiGroups": ["sandbox-executor.dev"], "resources": ["executions"], "verbs": ["get", "watch"]}]
NAMESPACE_RULES = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
TENANT_RULES = [
    {"apiGroups": ["sandbox-executor.dev"], "resources": ["executions"], "verbs": ["get", "list", "watch", "create"]},
    {"apiGroups": [GROUP], "resources": ["executions/log", "executions/outputs"], "verbs": ["get"]},
]


def log_path(name: str, namespace: str = OWN, **query: str) -> str:
    """Where an Execution's output is asked for."""
    words = "&".join(f"{key}={value}" for key, value in query.items())
    return f"{VERSION_PATH}/namespaces/{namespace}/executions/{name}/log" + (f"?{words}" if words else "")


def outputs_path(name: str, namespace: str = OWN, /, **query: str) -> str:
    """Where an Execution's outputs are asked for."""
    words = urlencode(query)
    return f"{VERSION_PATH}/namespaces/{namespace}/executions/{name}/outputs" + (f"?{words}" if words else "")


@dataclass
class LogApiProcess:
    """``python -m log_api`` as a process of its own, with the rights that the chart gives it and no others."""

    folder: Path
    kubeconfig: Path
    serving: Pair
    token: str
    port: int
    health_port: int
    settings: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """All it has logged so far."""
        return (self.folder / "log-api.log").read_text()

    def start(self) -> None:
        """Starts it and waits until it serves."""
        token_file = self.folder / "token"
        token_file.write_text(self.token)
        environment = {
            "PATH": os.environ["PATH"],
            "KUBECONFIG": str(self.kubeconfig),
            "OPERATOR_NAMESPACE": NAMESPACE,
            "EXECUTE_API_TOKEN_FILE": str(token_file),
            "TLS_CERTIFICATE_FILE": str(self.serving.certificate),
            "TLS_KEY_FILE": str(self.serving.key),
            "PORT": str(self.port),
            "HEALTH_PORT": str(self.health_port),
            "MAX_STREAMS_PER_USER": "8",
            **self.settings,
        }
        with (self.folder / "log-api.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "log_api"], cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + PATIENCE_S
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the log API does not serve: {self.log[-4000:]}")
            time.sleep(0.05)

    def ready(self) -> bool:
        """Whether it says so."""
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.health_port}/readyz", timeout=2).close()
        except OSError:
            return False
        return True

    def metrics(self) -> str:
        """What Prometheus would be told."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.health_port}/metrics", timeout=PATIENCE_S) as answer:
            text: str = answer.read().decode()
            return text

    def stop(self) -> int:
        """Ends it; its exit code."""
        process, self.process = self.process, None
        assert process is not None
        process.terminate()
        try:
            return process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def peak(self) -> Peak:
        """The most memory that it takes from here on."""
        assert self.process is not None
        return Peak(self.process.pid)


@dataclass
class Aggregated:
    """The API server, the log API behind it, and who asks."""

    server: ApiServer
    log_api: LogApiProcess
    front_proxy: Pair
    wrong_name: Pair
    stranger: Pair
    """Of an authority that nobody trusts."""
    store: TestStore
    """An S3 server, which the log API reads from."""

    async def call(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """One request as the administrator, without blocking the loop."""
        return await asyncio.to_thread(lambda: self.server.request(method, path, body, **options))

    @asynccontextmanager
    async def ask(
        self, path: str, *, user: str = TENANT_USER, accept: str = "*/*"
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Through the API server, as a user of it."""
        headers = {"Authorization": f"Bearer {self.server.users[user]}", "Accept": accept}
        async with _session() as session, session.get(self.server.url + path, headers=headers, ssl=False) as answer:
            yield answer

    @asynccontextmanager
    async def ask_directly(
        self, path: str, certificate: Pair | None, headers: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Past the API server, straight to the log API."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if certificate is not None:
            context.load_cert_chain(certificate.certificate, certificate.key)
        url = f"https://127.0.0.1:{self.log_api.port}{path}"
        async with _session() as session, session.get(url, headers=headers, ssl=context) as answer:
            yield answer

    async def text(self, path: str) -> str:
        """A whole answer to the tenant, which must be a 200."""
        async with self.ask(path) as answer:
            text = await answer.text()
            assert answer.status == 200, text
            return text

    async def refusal(self, path: str) -> Object:
        """The Status that the tenant gets."""
        async with self.ask(path) as answer:
            found: Object = await answer.json()
            assert found["kind"] == "Status"
            assert found["code"] == answer.status
            return found

    async def create(self, name: str, namespace: str = OWN, **spec: Any) -> Object:
        """An Execution that no controller looks at."""
        body = {
            "apiVersion": API_VERSION,
            "kind": "Execution",
            "metadata": {"name": name},
            "spec": {"code": "print(1)", "language": "python", **spec},
        }
        made: Object = await self.call("POST", names.executions_path(namespace), body)
        return made

    async def set_status(self, name: str, namespace: str = OWN, **status: Any) -> None:
        """Plays the controller."""
        path = names.execution_path(namespace, name) + "/status"
        await self.call("PATCH", path, {"status": status}, kind=_MERGE)

    async def run(self, name: str, execution_id: str, pod: str = "pod-1", namespace: str = OWN, **spec: Any) -> str:
        """An Execution that runs on a pod; its uid."""
        made = await self.create(name, namespace, **spec)
        await self.set_status(name, namespace, phase="Running", executionId=execution_id, attempt=1, podName=pod)
        return str(made["metadata"]["uid"])

    async def add_pod(self, name: str, port: int, labels: Mapping[str, str] | None = None) -> None:
        """The pod that stands for an executor."""
        pod = make_pod(name, "default", port, 4)
        pod["metadata"]["labels"] |= labels or {}
        await self.call("POST", names.core_path(NAMESPACE, "pods"), pod)
        await self.call(
            "PATCH", names.core_path(NAMESPACE, "pods", name) + "/status", make_pod_status(), kind=_STRATEGIC
        )

    async def remove(self, path: str) -> None:
        """Deletes an object at once, if it is there."""
        try:
            await self.call("DELETE", path, {"gracePeriodSeconds": 0})
        except ApiError as error:
            if error.status != 404:
                raise

    async def wait_until_nobody_follows(self) -> None:
        """Until the log API has noticed that those who followed have gone."""

        async def is_calm() -> bool:
            return "sandbox_log_api_streams 0.0" in await asyncio.to_thread(self.log_api.metrics)

        await eventually(is_calm, "somebody follows still")

    async def wait_available(self, wanted: str) -> None:
        """Until the API server says that the group is available (``True``) or not (``False``)."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            found = await self.call("GET", API_SERVICE)
            conditions = {c["type"]: c for c in (found.get("status") or {}).get("conditions") or []}
            if conditions.get("Available", {}).get("status") == wanted:
                return
            assert time.monotonic() < deadline, (conditions, self.log_api.log[-2000:])
            await asyncio.sleep(0.2)


def _session() -> aiohttp.ClientSession:
    timeout = aiohttp.ClientTimeout(total=_ANSWER_S)
    return aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(force_close=True))


def grant(server: ApiServer) -> None:
    """The rights of the log API's ServiceAccount, and those of a tenant in one namespace."""
    rbac = "/apis/rbac.authorization.k8s.io/v1"

    def bind(path: str, kind: str, role: str, user: str) -> None:
        body = {
            "metadata": {"name": f"{user}-{role.replace(':', '-')}"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
            "subjects": [{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}],
        }
        server.request("POST", f"{rbac}/{path}", body)

    for namespace in (NAMESPACE, OWN, OTHER):
        server.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    server.request("POST", f"{rbac}/clusterroles", {"metadata": {"name": LOG_API_USER}, "rules": CLUSTER_RULES})
    server.request(
        "POST",
        f"{rbac}/namespaces/{NAMESPACE}/roles",
        {"metadata": {"name": LOG_API_USER}, "rules": NAMESPACE_RULES},
    )
    server.request("POST", f"{rbac}/namespaces/{OWN}/roles", {"metadata": {"name": TENANT_USER}, "rules": TENANT_RULES})
    bind("clusterrolebindings", "ClusterRole", LOG_API_USER, LOG_API_USER)
    bind("clusterrolebindings", "ClusterRole", "system:auth-delegator", LOG_API_USER)
    reader = "extension-apiserver-authentication-reader"
    bind("namespaces/kube-system/rolebindings", "Role", reader, LOG_API_USER)
    bind(f"namespaces/{NAMESPACE}/rolebindings", "Role", LOG_API_USER, LOG_API_USER)
    bind(f"namespaces/{OWN}/rolebindings", "Role", TENANT_USER, TENANT_USER)


def make_api_service(ca_bundle: str, port: int) -> Object:
    """As the chart makes it, but for the port."""
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": f"{VERSION}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "version": VERSION,
            "groupPriorityMinimum": 100,
            "versionPriority": 10,
            "caBundle": ca_bundle,
            "service": {"namespace": NAMESPACE, "name": SERVICE, "port": port},
        },
    }
