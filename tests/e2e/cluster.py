"""What the end-to-end tests say to the cluster: kubectl and helm, as a person would use them."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]

REPOSITORY = Path(__file__).parents[2]
SYSTEM_NAMESPACE = "sandbox-executor-system"
RELEASE = "sandbox-executor"
CONTROLLER = "sandbox-executor-controller"
EXECUTOR_PODS = "app.kubernetes.io/component=executor"
DEFAULT_PODS = f"{EXECUTOR_PODS},sandbox-executor.dev/pool=default"
"""Not those of pools that earlier tests had: these go away when they like."""
CONTROLLER_PODS = "app.kubernetes.io/component=controller"
LOG_API_PODS = "app.kubernetes.io/component=log-api"
SCRIPTS = Path(sys.executable).parent
"""Where ``sandbox-run`` and ``kubectl-exn`` are."""


class CommandFailed(AssertionError):
    """A kubectl or helm command that should have worked did not; the message has what it said."""


@dataclass(frozen=True)
class Refused:
    """What kubectl printed when the API server refused."""

    message: str


@dataclass(frozen=True)
class Tools:
    """kubectl and helm on the cluster of the environment."""

    kubectl_path: str = "kubectl"
    helm_path: str = "helm"

    def kubectl(self, *words: str, stdin: str | None = None, timeout_s: float = 180, check: bool = True) -> str:
        """Standard output; raises CommandFailed, unless ``check`` is off."""
        return _run([self.kubectl_path, *words], stdin, timeout_s, check)

    def kubectl_says(self, *words: str) -> str:
        """Standard error of a command that works: the API server's warnings."""
        done = subprocess.run([self.kubectl_path, *words], capture_output=True, text=True, timeout=180, check=True)
        return done.stderr

    def helm(self, *words: str, timeout_s: float = 420) -> str:
        """Standard output; raises CommandFailed."""
        return _run([self.helm_path, *words], None, timeout_s)

    def get(self, kind: str, name: str, namespace: str | None = None) -> Object:
        """One object as JSON."""
        found: Object = json.loads(self.kubectl("get", kind, name, "-o", "json", *_in(namespace)))
        return found

    def items(self, kind: str, namespace: str | None = None, selector: str | None = None) -> list[Object]:
        """All objects of a kind."""
        words = ["get", kind, "-o", "json", *_in(namespace), *(["-l", selector] if selector else [])]
        found: list[Object] = json.loads(self.kubectl(*words))["items"]
        return found

    def pods(self, selector: str) -> list[Object]:
        """Pods of the operator's namespace that are not on their way out."""
        pods = self.items("pods", SYSTEM_NAMESPACE, selector)
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def lease_holder(self) -> str:
        """The run of a controller that leads; empty when none does."""
        lease = self.get("lease", CONTROLLER, SYSTEM_NAMESPACE)
        return str(lease["spec"].get("holderIdentity") or "")

    def leader(self) -> str:
        """The controller pod that leads; empty when none does."""
        return self.lease_holder().rpartition("_")[0]

    def in_pod(self, pod: str, *words: str) -> str:
        """What a command in an executor or controller pod prints."""
        return self.kubectl("exec", "-n", SYSTEM_NAMESPACE, pod, "--", *words)

    def processes(self, pod: str) -> list[str]:
        """Command lines of everything that runs in the pod, sandboxes included."""
        return self.in_pod(pod, "python3", "-c", _LIST_PROCESSES).splitlines()


_LIST_PROCESSES = """
import os
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        print(open(f"/proc/{pid}/cmdline").read().replace("\\0", " "))
    except OSError:
        pass
"""


def _in(namespace: str | None) -> list[str]:
    return ["-n", namespace] if namespace else []


def _run(words: Sequence[str], stdin: str | None, timeout_s: float, check: bool = True) -> str:
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False)
    if check and done.returncode != 0:
        raise CommandFailed(f"{' '.join(words[:6])} exited {done.returncode}: {done.stderr.strip()}")
    return done.stdout


@dataclass(frozen=True)
class Tenant:
    """A namespace of its own, and Executions in it."""

    tools: Tools
    namespace: str

    def create(self, name: str, code: str, **spec: Any) -> None:
        """Creates an Execution; further fields of its spec by keyword."""
        self.apply(execution(name, code, **spec))

    def apply(self, *objects: Object) -> None:
        """``kubectl create`` of objects in this namespace: no annotation, so large ones pass too."""
        self.tools.kubectl("create", "-n", self.namespace, "-f", "-", stdin=yaml.safe_dump_all(objects))

    def refuse(self, changed: Object) -> Refused:
        """What the API server says to an object that it must not take."""
        try:
            self.apply(changed)
        except CommandFailed as refusal:
            return Refused(str(refusal))
        raise AssertionError("the API server took it")

    def get(self, name: str) -> Object:
        """The Execution."""
        return self.tools.get("executions.sandbox-executor.dev", name, self.namespace)

    def status(self, name: str) -> Object:
        """Its status, empty before the controller has written one."""
        status: Object = self.get(name).get("status", {})
        return status

    def finished(self, *names: str, timeout_s: int = 120) -> Object:
        """Waits as a person would; the status of the last one named."""
        wanted = [f"exn/{name}" for name in names]
        wait = ("wait", "-n", self.namespace, "--for=condition=Finished", f"--timeout={timeout_s}s", *wanted)
        self.tools.kubectl(*wait, timeout_s=timeout_s + 10)
        return self.status(names[-1])

    def run(self, name: str, code: str, **spec: Any) -> Object:
        """Creates an Execution, waits for its end, and gives its status."""
        self.create(name, code, **spec)
        return self.finished(name, timeout_s=int(spec.get("timeoutSeconds", 30)) + 120)


def execution(name: str, code: str, **spec: Any) -> Object:
    """An Execution manifest."""
    return {
        "apiVersion": "sandbox-executor.dev/v1alpha1",
        "kind": "Execution",
        "metadata": {"name": name},
        "spec": {"language": "python", "code": code, **spec},
    }


def pool(name: str, **spec: Any) -> Object:
    """An ExecutorPool manifest."""
    return {
        "apiVersion": "sandbox-executor.dev/v1alpha1",
        "kind": "ExecutorPool",
        "metadata": {"name": name},
        "spec": spec,
    }


def condition(status: Object, kind: str) -> Object:
    """One condition of a status, empty when it is not there."""
    found: Object = next((entry for entry in status.get("conditions", []) if entry["type"] == kind), {})
    return found


def eventually(check: Callable[[], Any], timeout_s: float = 60, interval_s: float = 0.1) -> Any:
    """The first true value of ``check``; raises AssertionError with its last one when none comes in time."""
    deadline = time.monotonic() + timeout_s
    while True:
        if value := check():
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s: {check.__name__} gave {value!r}")
        time.sleep(interval_s)
