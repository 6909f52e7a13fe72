"""One kind cluster whose engine is up: created, finished, looked at, removed.

How the end-to-end tests use it
===============================
``make test`` runs ``python -m devcluster up`` and then the tests inside ``python -m devcluster run --``,
so that they are in the network namespace, if there is one, with DOCKER_HOST and KUBECONFIG set. The
session fixture hands pytest-kind the parts that it would otherwise download, and lets it create **or
reuse** the cluster::

    cluster = Cluster.current()
    kind = KindCluster(cluster.name, cluster.kubeconfig, **cluster.kind_arguments())
    kind.create(cluster.kind_config)     # finds the cluster that `up` made, else creates it
    cluster.finish()                     # pod network, Ready; quick on a finished cluster

Nobody has to delete it: ``devcluster down`` does, and a later run finds it warm.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devcluster import audit, cni, engine, state
from devcluster.commands import output, succeeds
from devcluster.environment import Environment, environment
from devcluster.errors import DevclusterError, StepFailed
from devcluster.layout import DEFAULT_NAME, Layout
from devcluster.progress import Step, say
from devcluster.state import State

_READY_S = 180.0
_CNI_FILE = "/etc/cni/net.d/10-bridge.conflist"
_WRITE_FILE = 'cat > "$0.tmp" && mv "$0.tmp" "$0"'


@dataclass(frozen=True)
class Cluster:
    """A cluster whose engine is up (``Cluster.current()``)."""

    layout: Layout
    state: State

    @staticmethod
    def current(name: str | None = None) -> Cluster:
        """The cluster ``name``, by default that of the surrounding ``devcluster run``.

        Raises DevclusterError when ``up`` has not run or its engine is gone.
        """
        layout = Layout.of(name or os.environ.get("DEVCLUSTER_NAME", DEFAULT_NAME))
        known = state.load(layout.state_file)
        if known is None or (known.engine == "own" and not engine.running(known)):
            raise DevclusterError(
                f"no cluster '{layout.name}' is up", hint=f"python -m devcluster up --name {layout.name}"
            )
        return Cluster(layout, known)

    @property
    def name(self) -> str:
        return self.layout.name

    @property
    def kubeconfig(self) -> Path:
        return self.layout.kubeconfig

    @property
    def kind_config(self) -> Path:
        return self.layout.kind_config

    @property
    def kind_path(self) -> Path:
        return self.layout.bin / "kind"

    @property
    def kubectl_path(self) -> Path:
        return self.layout.bin / "kubectl"

    @property
    def helm_path(self) -> Path:
        return self.layout.bin / "helm"

    @property
    def node_image(self) -> str | None:
        return self.state.node_image

    @property
    def environment(self) -> Environment:
        return environment(self.layout, self.state.engine)

    def kind_arguments(self) -> dict[str, Any]:
        """Keyword arguments of pytest-kind's ``KindCluster`` beside name and kubeconfig."""
        return {"image": self.node_image, "kind_path": self.kind_path, "kubectl_path": self.kubectl_path}

    def output(self, *words: str | Path, stdin: str | None = None, timeout_s: float = 120.0) -> str:
        """Run a command where it can reach the cluster."""
        env = self.environment
        return output(env.command(*words), env=env.variables, stdin=stdin, timeout_s=timeout_s)

    def kubectl(self, *words: str, timeout_s: float = 120.0) -> str:
        return self.output(self.kubectl_path, *words, timeout_s=timeout_s)

    def exists(self) -> bool:
        return self.name in self.output(self.kind_path, "get", "clusters").split()

    def healthy(self) -> bool:
        """The API server answers and every node is Ready; takes well under a second."""
        env = self.environment
        template = '{range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{"\\n"}{end}'
        words = env.command(self.kubectl_path, "get", "nodes", "--request-timeout=5s", "-o", f"jsonpath={template}")
        try:
            statuses = output(words, env=env.variables, timeout_s=10).split()
        except StepFailed:
            return False
        return len(statuses) == self.state.nodes and set(statuses) == {"True"}

    def finish(self) -> None:
        """What kind leaves undone: pod network (built image), seccomp folder, all Ready. Repeatable."""
        nodes = self._nodes_with_cidr()
        for node in nodes:
            self.in_node(node.name, "mkdir", "-p", "/var/lib/kubelet/seccomp")
            if self.state.built_image:
                self.in_node(node.name, "sh", "-c", _WRITE_FILE, _CNI_FILE, stdin=cni.conflist(node.pod_cidr))
                for route in cni.routes(node, nodes):
                    self.in_node(node.name, *route)
        wait = f"--timeout={_READY_S:.0f}s"
        self.kubectl("wait", "--for=condition=Ready", "node", "--all", wait, timeout_s=_READY_S + 10)
        dns = ("-n", "kube-system", "wait", "--for=condition=Available", "deployment/coredns")
        self.kubectl(*dns, wait, timeout_s=_READY_S + 10)
        state.save(self.layout.state_file, self.state.at("ready"))

    def create(self) -> None:
        """Create it and finish it; on failure keep kind's logs."""
        env = self.environment
        words: list[str | Path] = [
            *(self.kind_path, "create", "cluster", "--name", self.name, "--retain"),
            *("--config", self.kind_config, "--kubeconfig", self.kubeconfig),
            *(["--image", self.node_image] if self.node_image else []),
        ]
        log = self.layout.logs / "kind-create.log"
        title = f"creating the kind cluster '{self.name}' with {self.state.nodes} node(s)"
        try:
            Step(title, env.command(*words), log, "40 s", {**env.variables, **_NO_PROXY}).run()
            self.finish()
        except DevclusterError:
            self.export_logs()
            raise

    def remove_half_made(self) -> None:
        """What an ``up`` or a test run left that was killed: kind, and so pytest-kind, would take it for whole."""
        if self.exists():
            self.delete()

    def delete(self) -> None:
        words = ("delete", "cluster", "--name", self.name, "--kubeconfig", self.kubeconfig)
        self.output(self.kind_path, *words)

    def export_logs(self) -> Path:
        """``kind export logs`` into the logs folder, as far as it gets."""
        target = self.layout.logs / "kind"
        env = self.environment
        words = env.command(self.kind_path, "export", "logs", "--name", self.name, target)
        succeeds(words, env=env.variables, timeout_s=120)
        say(f"the nodes' logs are in {target}")
        return target

    def audit_log(self) -> str:
        """What the API server has noted about Secrets, one event (``audit.k8s.io/v1``) a line."""
        return self.in_node(f"{self.name}-control-plane", "cat", audit.LOG_FILE)

    def in_node(self, node: str, *words: str, stdin: str | None = None) -> str:
        """Run a command in the container that is the node."""
        return self.output("docker", "exec", "-i", node, *words, stdin=stdin)

    def _nodes_with_cidr(self) -> list[cni.Node]:
        """The controller manager hands out the ranges some seconds after a node has joined."""
        deadline = time.monotonic() + _READY_S
        while True:
            nodes = cni.nodes_from_list(self.kubectl("get", "nodes", "-o", "json"))
            if len(nodes) >= self.state.nodes and all(node.pod_cidr and node.address for node in nodes):
                return nodes
            if time.monotonic() > deadline:
                raise DevclusterError(f"nodes without a pod address range: {nodes}")
            time.sleep(0.5)


_NO_PROXY: Mapping[str, str] = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "")
