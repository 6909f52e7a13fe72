"""``up`` and ``down``: from whatever an earlier run left to a healthy cluster, or to nothing.

Each step records how far it came before the next one starts, and each finds out for itself whether it is
done already; so ``up`` after a crash goes on, and only a cluster that was finished is ever reused.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from devcluster import audit, engine, host, kindconfig, provision, reaper, state
from devcluster.cache import locked
from devcluster.cluster import Cluster
from devcluster.commands import succeeds
from devcluster.engine import OwnEngine
from devcluster.layout import Layout
from devcluster.nodeimage import NodeImage
from devcluster.progress import Step, say
from devcluster.state import State

_PATIENCE_S = 90.0


def up(
    layout: Layout,
    *,
    nodes: int | None = None,
    patches: Sequence[Mapping[str, Any]] = (),
    engine_only: bool = False,
) -> Cluster:
    """A healthy cluster; returns at once when it is there. ``nodes`` None keeps what there is (or 1)."""
    with locked(layout.lock, f"the cluster '{layout.name}'"):
        known = state.load(layout.state_file)
        ready = _ready(layout, known, nodes)
        if ready is not None:
            return ready
        cluster = _engine_up(layout, known, nodes or (known.nodes if known else 1), patches)
        cluster.remove_half_made()
        if not engine_only:
            cluster.create()
        return Cluster.current(layout.name)


def _ready(layout: Layout, known: State | None, nodes: int | None) -> Cluster | None:
    if known is None or known.phase != "ready" or nodes not in (None, known.nodes):
        return None
    if known.engine == "own" and not engine.running(known):
        return None
    cluster = Cluster(layout, known)
    return cluster if _answers(cluster) else None


def _answers(cluster: Cluster) -> bool:
    """A cluster under load is slow, and must not be thrown away for it."""
    deadline = time.monotonic() + _PATIENCE_S
    while not cluster.healthy():
        if time.monotonic() > deadline or not cluster.exists():
            say(f"'{cluster.name}' does not answer, making it anew")
            return False
        say(f"'{cluster.name}' is there but not healthy, waiting")
        time.sleep(5)
    return True


def _engine_up(layout: Layout, known: State | None, nodes: int, patches: Sequence[Mapping[str, Any]]) -> Cluster:
    """Everything before ``kind create``: parts, engine, image, links, configuration."""
    parts = provision.provision(layout, known)
    docker = engine.docker_client() if parts.engine == "own" else None
    parts.tools.link_into(layout.bin, docker)
    started = _started_engine(layout, known, parts)
    final = State(
        engine=parts.engine,
        phase="creating",
        built_image=parts.built is not None,
        node_image=parts.node_image,
        nodes=nodes,
        processes=started.processes,
    )
    cluster = Cluster(layout, final)
    if parts.built is not None:
        _load_node_image(cluster, parts.built)
    layout.audit_policy.write_text(audit.policy())
    config = kindconfig.build_config(
        nodes=nodes,
        bridge_cni=parts.built is not None,
        cgroup_v1=host.is_cgroup_v1(host.mountinfo()),
        audit_policy=layout.audit_policy,
        patches=patches,
    )
    layout.kind_config.write_text(kindconfig.to_text(config))
    state.save(layout.state_file, final)
    return cluster


def _started_engine(layout: Layout, known: State | None, parts: provision.Provision) -> State:
    if parts.runc is None:
        return State(engine="docker", phase="engine")
    own = OwnEngine(layout, parts.runc)
    if known is not None and engine.running(known) and own.answers():
        return known
    say("starting Docker Engine in a network namespace of its own")
    started = own.start(known or State(engine="own", phase="starting"))
    driver = own.storage_driver()
    if driver != "overlay2":
        say(f"the engine uses the storage driver {driver}: slower and larger than overlay2")
    return started


def _load_node_image(cluster: Cluster, image: NodeImage) -> None:
    env = cluster.environment
    if succeeds(env.command("docker", "image", "inspect", image.tag), env=env.variables):
        return
    Step(
        "loading the node image into the engine",
        env.command("docker", "load", "-i", image.archive),
        cluster.layout.logs / "node-image-load.log",
        "20 s",
        env.variables,
    ).run()


def down(layout: Layout) -> None:
    """Nothing of the cluster is left but the cache; works whatever state it is in."""
    with locked(layout.lock, f"the cluster '{layout.name}'"):
        known = state.load(layout.state_file)
        if known is not None and known.engine == "docker":
            Cluster(layout, known).delete()
        if host.is_root():
            reaper.clean(layout, engine.processes(known))
        reaper.remove_folder(layout.state)
