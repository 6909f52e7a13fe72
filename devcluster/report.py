"""What ``status`` and ``logs`` print: the state of every part, and where to look next."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from devcluster import engine, reaper, state
from devcluster.cluster import Cluster
from devcluster.errors import StepFailed
from devcluster.layout import Layout
from devcluster.state import State

_LOGS = {
    "containerd.log": "containerd of our engine",
    "dockerd.log": "dockerd of our engine",
    "node-image-load.log": "loading of the node image",
    "kind-create.log": "kind create cluster",
    "kind-load.log": "kind load (images into nodes)",
    "kind": "kind export logs, of the last `up` that failed",
}


def status(layout: Layout) -> tuple[str, bool]:
    """Text for a person, and whether the cluster is healthy."""
    known = state.load(layout.state_file)
    if known is None:
        left = reaper.leftovers(layout)
        condition = f"down, but left behind: {', '.join(left)} (`down` removes it)" if left else "down"
        return f"cluster:    '{layout.name}' is {condition}\nbuilds:     {layout.cache}\n", False
    cluster = Cluster(layout, known)
    up = known.engine == "docker" or engine.running(known)
    healthy = up and known.phase == "ready" and cluster.healthy()
    rows = [
        ("cluster", f"'{layout.name}', {_condition(known, up, healthy)}"),
        ("engine", _engine(layout, known, up)),
        ("node image", f"{known.node_image} ({'built here' if known.built_image else 'pulled'})"),
        *([("nodes", line) for line in _nodes(cluster)] if up else []),
        ("kubeconfig", str(layout.kubeconfig)),
        ("logs", str(layout.logs)),
        ("builds", str(layout.cache)),
    ]
    return "".join(f"{name + ':':<12}{text}\n" for name, text in rows), healthy


def _condition(known: State, up: bool, healthy: bool) -> str:
    if healthy:
        return "healthy"
    if not up:
        return "its engine is gone (`up` starts it afresh, `down` cleans up)"
    return f"not healthy, `up` came as far as: {known.phase}"


def _engine(layout: Layout, known: State, up: bool) -> str:
    if known.engine == "docker":
        return "the Docker engine of this machine"
    pids = ", ".join(f"{role} {process.pid}" for role, process in known.processes.items())
    return f"our own, {'running' if up else 'not running'} ({pids}; network namespace {layout.netns})"


def _nodes(cluster: Cluster) -> Iterator[str]:
    try:
        yield from cluster.kubectl("get", "nodes", "--no-headers", "--request-timeout=5s").splitlines()
    except StepFailed:
        yield "the API server does not answer"


def logs(layout: Layout) -> str:
    """One line a log that is there."""
    found = [(layout.logs / name, about) for name, about in _LOGS.items()]
    found += [(path, "build") for path in sorted(layout.build_logs.glob("*.log"))]
    return "".join(f"{about:<50} {path}\n" for path, about in found if Path(path).exists())
