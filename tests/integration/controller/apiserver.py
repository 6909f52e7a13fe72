"""A real API server on loopback: etcd and kube-apiserver, no kubelet, so that a test plays the nodes itself."""

import fcntl
import functools
import http.client
import json
import os
import random
import secrets
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TextIO

import yaml

ROOT = Path(__file__).resolve().parents[3]
_START_TIMEOUT_S = 90.0
_REQUEST_S = 60.0
_PORTS: Final = range(20_000, 30_000)
"""Below what the kernel gives to connections and to listeners that name no port, and below Kubernetes' NodePorts."""
_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "verbs": ["create", "update", "patch", "delete", "get"]}],
}


def find_binary(name: str) -> Path:
    """One of the Kubernetes binaries: from KUBE_ASSETS_DIR, the cluster builder's cache, or PATH."""
    folders = [Path(folder) for folder in (os.environ.get("KUBE_ASSETS_DIR", ""),) if folder]
    cache = Path(os.environ.get("XDG_CACHE_HOME", "") or Path.home() / ".cache") / "sandbox-executor"
    folders += sorted(cache.glob("go-*/*"), key=lambda folder: folder.stat().st_mtime, reverse=True)
    for folder in folders:
        for candidate in (folder / name, folder / "bin" / name):
            if os.access(candidate, os.X_OK) and candidate.is_file():
                return candidate
    found = shutil.which(name)
    if found is None:
        raise FileNotFoundError(
            f"{name} is not there: run `make cluster-up` once, or set KUBE_ASSETS_DIR to its folder"
        )
    return Path(found)


class ApiError(Exception):
    """The API server's refusal: HTTP status and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


@dataclass
class ApiServer:
    """etcd and kube-apiserver in a folder of their own; ``start`` and ``stop`` by the fixture."""

    folder: Path
    extra_user: str
    extra_token: str = field(default_factory=lambda: secrets.token_hex(16))
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    port: int = field(default_factory=lambda: free_port())
    audit_policy: Mapping[str, Any] = field(default_factory=lambda: _AUDIT_POLICY)
    etcd_port: int = field(default_factory=lambda: free_port())
    users: Mapping[str, str] = field(default_factory=dict)
    """Further ones, by name, with their tokens."""
    arguments: Sequence[str] = ()
    """Further ones for kube-apiserver."""
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _commands: dict[str, list[str]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig of its administrator."""
        return self.folder / "kubeconfig"

    @property
    def audit_log(self) -> Path:
        """One JSON line for each request but watches and lists."""
        return self.folder / "audit.log"

    def start(self) -> None:
        """Starts both, waits until the API server is ready, and writes the kubeconfig."""
        self._write_files()
        peer = free_port()
        self._run(
            "etcd",
            f"--data-dir={self.folder}/etcd",
            "--unsafe-no-fsync",
            f"--listen-client-urls=http://127.0.0.1:{self.etcd_port}",
            f"--advertise-client-urls=http://127.0.0.1:{self.etcd_port}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
        )
        self._run(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{self.etcd_port}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--cert-dir={self.folder}/certificates",
            "--service-cluster-ip-range=10.96.0.0/16",
            f"--token-auth-file={self.folder}/tokens.csv",
            "--authorization-mode=RBAC",
            "--disable-admission-plugins=ServiceAccount",
            f"--service-account-key-file={self.folder}/service-account.key",
            f"--service-account-signing-key-file={self.folder}/service-account.key",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--audit-policy-file={self.folder}/audit.yaml",
            f"--audit-log-path={self.audit_log}",
            *self.arguments,
        )
        self._wait()
        self.write_kubeconfig(self.kubeconfig, self.token)

    def stop(self) -> None:
        """Ends both, the API server first."""
        for process in reversed(self._processes.values()):
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @property
    def pids(self) -> list[int]:
        """Of the two processes."""
        return [process.pid for process in self._processes.values()]

    def kill(self, name: str) -> None:
        """SIGKILL to ``etcd`` or ``kube-apiserver``; ``restart`` brings it back."""
        self._processes[name].kill()
        self._processes[name].wait()

    def ended(self) -> list[str]:
        """Which of the two do not run."""
        return [name for name, process in self._processes.items() if process.poll() is not None]

    def restart(self, name: str) -> None:
        """Starts one again on its data, and waits for nothing."""
        self._spawn(name)

    def ready(self) -> bool:
        """Whether the API server says so."""
        try:
            request = urllib.request.Request(self.url + "/readyz")
            request.add_header("Authorization", f"Bearer {self.token}")
            urllib.request.urlopen(request, timeout=10, context=_no_verification()).close()
        except (OSError, http.client.HTTPException):
            return False
        return True

    def write_kubeconfig(self, path: Path, token: str) -> None:
        """A kubeconfig for a bearer token."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "clusters": [{"name": "test", "cluster": {"server": self.url, "insecure-skip-tls-verify": True}}],
            "users": [{"name": "test", "user": {"token": token}}],
        }
        path.write_text(yaml.safe_dump(config))

    def request(self, method: str, path: str, body: Any = None, *, kind: str = "application/json") -> Any:
        """One request as the administrator.

        Raises:
            ApiError: the server refused it.
            OSError: it is away, or went while it answered.
        """
        request = urllib.request.Request(self.url + path, method=method)
        request.add_header("Authorization", f"Bearer {self.token}")
        request.add_header("Content-Type", kind)
        data = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        try:
            with urllib.request.urlopen(request, data, timeout=_REQUEST_S, context=_no_verification()) as response:
                return json.loads(response.read())
        except http.client.HTTPException as error:
            raise ConnectionError(f"the API server broke off: {error!r}") from None
        except urllib.error.HTTPError as error:
            text = error.read().decode()
            try:
                message = json.loads(text).get("message", text)
            except ValueError:
                message = text
            raise ApiError(error.code, message) from None

    def audited(self) -> list[dict[str, Any]]:
        """What the audit log says so far. Of a request that was answered just now it may say nothing yet."""
        *lines, _being_written = self.audit_log.read_bytes().split(b"\n")
        return [json.loads(line) for line in lines]

    def writes_on(self, resource: str, name: str) -> list[str]:
        """The writes on one object since it was last created, as the audit log has them, such as ``update status``."""
        return [verb for verb, _ in self.timed_writes_on(resource, name)]

    def timed_writes_on(self, resource: str, name: str) -> list[tuple[str, float]]:
        """The same with when each was answered, in Unix seconds by the server's own stamp."""
        found: list[tuple[str, float]] = []
        for event in self.audited():
            about = event.get("objectRef") or {}
            if about.get("resource") == resource and about.get("name") == name and event["verb"] != "get":
                if event["verb"] == "create":
                    found.clear()
                at = datetime.fromisoformat(event["stageTimestamp"]).timestamp()
                found.append((f"{event['verb']} {about.get('subresource', '')}".strip(), at))
        return found

    def _write_files(self) -> None:
        users = {self.extra_user: self.extra_token, **self.users}
        lines = [f'{self.token},admin,admin,"system:masters"', *(f"{users[user]},{user},{user}" for user in users)]
        (self.folder / "tokens.csv").write_text("\n".join(lines) + "\n")
        (self.folder / "audit.yaml").write_text(yaml.safe_dump(self.audit_policy))
        subprocess.run(
            ["openssl", "genrsa", "-out", str(self.folder / "service-account.key"), "2048"],
            check=True,
            capture_output=True,
        )

    def _run(self, name: str, *arguments: str) -> None:
        self._commands[name] = [str(find_binary(name)), *arguments]
        self._spawn(name)

    def _spawn(self, name: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                self._commands[name], stdout=log, stderr=subprocess.STDOUT, cwd=self.folder
            )

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            for process in self._processes.values():
                if process.poll() is not None:
                    raise RuntimeError(f"a process of the API server ended: see the logs in {self.folder}")
            if self.ready():
                return
            time.sleep(0.2)
        raise RuntimeError(f"the API server was not ready in time: see the logs in {self.folder}")


def apply_crds(server: ApiServer) -> None:
    """Creates our CustomResourceDefinitions, and waits until they are served."""
    for file in sorted((ROOT / "deploy" / "crds").glob("*.yaml")):
        apply_crd(server, yaml.safe_load(file.read_text()))


def apply_crd(server: ApiServer, crd: Any) -> None:
    """Creates a CustomResourceDefinition, and waits until it is served."""
    server.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd)
    group, plural = crd["spec"]["group"], crd["spec"]["names"]["plural"]
    served = f"/apis/{group}/v1alpha1/{plural}"
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        try:
            server.request("GET", served)
            break
        except ApiError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _no_verification() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


_reserved: set[int] = set()


def free_port() -> int:
    """A port of loopback that is this process's until it ends, however often somebody binds it and lets it go.

    No listener that takes any port, and no connection, is given it meanwhile, and no other test process that asks here.

    Raises:
        RuntimeError: none is left.
    """
    for port in random.sample(_PORTS, len(_PORTS)):
        if port not in _reserved and _reserve(port):
            _reserved.add(port)
            return port
    raise RuntimeError(f"no port of {_PORTS} is free")


def _reserve(port: int) -> bool:
    try:
        fcntl.lockf(_open_locks(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


@functools.cache
def _open_locks() -> TextIO:
    """A byte for each port, locked by the process that has it; the kernel lets go of them when it ends."""
    return (Path(tempfile.gettempdir()) / f"sandbox-executor-test-ports-{os.getuid()}").open("a")
