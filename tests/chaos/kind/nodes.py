"""The nodes of the cluster, seen from outside: processes, networks, and the logs that outlive their pods."""

import contextlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from devcluster.cluster import Cluster
from devcluster.errors import DevclusterError, StepFailed
from tests.e2e.cluster import SYSTEM_NAMESPACE

KEPT: Final = "/var/chaos"
"""On each node: links to the logs of executors, which a pod's deletion does not remove."""
_START_S: Final = 240.0
_FIRST_MAPPED_UID: Final = 65_536
"""Pods with a user namespace of their own have uids from here on, half of which ps shows as negative numbers."""

_COLLECT = f"""
mkdir -p {KEPT}/logs {KEPT}/containers
echo $$ > {KEPT}/pid
while :; do
  for file in /var/log/pods/{SYSTEM_NAMESPACE}_executor-*/executor/*.log; do
    [ -f "$file" ] || continue
    pod=${{file%/executor/*}}
    to="{KEPT}/logs/${{pod##*/}}_${{file##*/}}_$(stat -c %i "$file")"
    [ -e "$to" ] || ln "$file" "$to"
  done
  for link in /var/log/containers/executor-*_{SYSTEM_NAMESPACE}_executor-*.log; do
    [ -L "$link" ] && touch "{KEPT}/containers/${{link##*/}}"
  done
  sleep 0.2
done
"""
_POD_PIDS = """
for file in $(grep -lE "$1" /proc/[0-9]*/cgroup 2>/dev/null); do
  pid=${file#/proc/}; pid=${pid%/cgroup}
  tr '\\0' ' ' < /proc/$pid/cmdline 2>/dev/null | grep -qE "$2" && echo $pid
done
true
"""
_HELD = f"""
for pid in $(ps -eo pid=,uid= | awk '$2 < 0 || $2 >= {_FIRST_MAPPED_UID} {{print $1}}'); do
  [ -e /proc/$pid/cmdline ] || continue
  echo process $pid
  for name in /proc/$pid/ns/*; do echo namespace $(readlink $name); done
  if tr '\\0' ' ' < /proc/$pid/cmdline | grep -q '^python -P -m executor_runtime'; then
    for fd in /proc/$pid/fd/*; do echo descriptor $pid$fd; done
    for file in /proc/$pid/root/tmp/results/*.json; do [ -f "$file" ] && echo spooled $pid$file; done
  fi
done
true
"""


@dataclass(frozen=True)
class Pod:
    """A pod of ours as it was last seen."""

    name: str
    uid: str
    node: str
    ip: str
    pool: str
    """Of an executor; empty for a controller."""
    ready: bool
    waiting: str
    """Why its container does not run."""
    container_id: str
    """Empty when it does not run."""
    deleting: bool


@dataclass(frozen=True)
class Nodes:
    """All of them; a node that is down fails every call about it. All block."""

    cluster: Cluster

    @property
    def control_plane(self) -> str:
        """The node with the API server and etcd."""
        return f"{self.cluster.name}-control-plane"

    @property
    def worker(self) -> str:
        """The node that may go."""
        return f"{self.cluster.name}-worker"

    @property
    def names(self) -> Sequence[str]:
        """Both."""
        return (self.control_plane, self.worker)

    @property
    def gateway(self) -> str:
        """The address at which pods find what listens on this machine."""
        found = json.loads(self.cluster.output("docker", "network", "inspect", "kind"))
        return next(str(entry["Gateway"]) for entry in found[0]["IPAM"]["Config"] if ":" not in entry["Gateway"])

    def run(self, node: str, script: str, *words: str) -> str:
        """What a shell script prints there."""
        return self.cluster.in_node(node, "sh", "-c", script, "sh", *words)

    def signal(self, pod: Pod, module: str, name: str) -> list[int]:
        """Sends a signal to the pod's ``python -m module``, from the node; its pid, nothing when there is none."""
        pids = self._pids(pod, f"^python -P -m {module}")
        for pid in pids:
            self.signal_pid(pod.node, pid, name)
        return pids

    def signal_pid(self, node: str, pid: int, name: str) -> None:
        """Sends a signal to a process of a node, if it is there."""
        self.run(node, 'kill -s "$1" "$2" 2>/dev/null; true', name, str(pid))

    def kill_static_pod(self, name: str) -> None:
        """SIGKILL to ``etcd`` or ``kube-apiserver``, and its kubelet starts it again.

        The kubelet is started anew too: it would wait for minutes with what has ended as often as here.
        """
        self.run(self.control_plane, 'pkill -KILL -x "$1"; sleep 2; systemctl restart kubelet', name)

    def filter(self, pod: Pod, *rule: str) -> None:
        """Changes iptables in the pod's network namespace; nothing where the pod or its node is gone."""
        with contextlib.suppress(StepFailed):
            for pid in self._pids(pod, "^/pause")[:1]:
                self.run(pod.node, 'pid=$1; shift; nsenter -t "$pid" -n iptables -w 5 "$@"', str(pid), *rule)

    def cut_off(self, node: str, *, cut: bool) -> None:
        """Drops all that comes into a node and goes out of it, or lets it through again."""
        change = "-I" if cut else "-D"
        for chain, way in (("INPUT", "-i"), ("OUTPUT", "-o"), ("FORWARD", "-i"), ("FORWARD", "-o")):
            self.run(node, 'iptables -w 5 "$@"', change, chain, way, "eth0", "-j", "DROP")

    def stop(self, node: str) -> None:
        """As a power cut."""
        self.cluster.output("docker", "kill", node)

    def start(self, node: str) -> None:
        """After ``stop``; returns once its kubelet says Ready, which may have to wait for the API server too."""
        self.cluster.output("docker", "start", node)
        self.collect(node)
        deadline = time.monotonic() + _START_S
        while True:
            try:
                self.cluster.finish()
                return
            except DevclusterError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(1)

    def collect(self, node: str) -> None:
        """Begins to keep the logs of executors there, and the names of their containers."""
        self.cluster.output("docker", "exec", "-d", node, "sh", "-c", _COLLECT)

    def stop_collecting(self, node: str) -> None:
        """Ends that, and removes what was kept."""
        self.run(node, f"[ -f {KEPT}/pid ] && kill $(cat {KEPT}/pid) 2>/dev/null; rm -rf {KEPT}")

    def held(self) -> list[str]:
        """Processes, namespaces, descriptors and spooled reports of executors, a line each: what, and which."""
        return [f"{line}@{node}" for node in self.names for line in self.run(node, _HELD).splitlines()]

    def _pids(self, pod: Pod, command: str) -> list[int]:
        uid = f"{pod.uid}|{pod.uid.replace('-', '_')}"
        return [int(pid) for pid in self.run(pod.node, _POD_PIDS, uid, command).split()]
