"""Decides what this machine needs for a cluster, and gets or builds it.

Two questions, asked separately: which engine runs the nodes, and where the node image comes from. An
engine that answers is used as it is; an image that can be pulled is not built.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from devcluster import assembly, debian, engine, gobuild, gotoolchain, host, tools, versions
from devcluster.cache import Cache
from devcluster.commands import succeeds
from devcluster.errors import MissingTools
from devcluster.gobuild import GoBuilder
from devcluster.layout import RUN_ROOT, Layout
from devcluster.nodeimage import NodeImage, Parts
from devcluster.progress import Step, say
from devcluster.state import Engine, State
from devcluster.tools import Tools


@dataclass(frozen=True)
class Provision:
    """All that is needed before the first container starts."""

    engine: Engine
    tools: Tools
    node_image: str
    built: NodeImage | None
    """Set when ``node_image`` is one of ours and has to be loaded into the engine."""
    runc: Path | None
    """For an engine of our own."""


def decide_engine(known: State | None = None) -> Engine:
    """``own`` where one of ours is up or no other answers; ``DEVCLUSTER_ENGINE`` overrides."""
    if (wish := os.environ.get("DEVCLUSTER_ENGINE")) in ("own", "docker"):
        return "own" if wish == "own" else "docker"
    if known is not None and known.engine == "own" and engine.running(known):
        return "own"
    if os.environ.get("DOCKER_HOST", "").startswith(f"unix://{RUN_ROOT}/"):
        return "own"  # called from inside `devcluster run`
    return "docker" if succeeds(["docker", "version"]) else "own"


def provision(layout: Layout, known: State | None) -> Provision:
    """Raises MissingTools where a person has to install something first."""
    chosen = decide_engine(known)
    if chosen == "own" and host.missing_packages(host.ENGINE_NEEDS):
        host.require_root("starting a Docker Engine (none answers here)")
        host.ensure(host.ENGINE_NEEDS, layout.build_logs / "apt.log", "a Docker Engine")
        chosen = decide_engine(known)  # the package may have started one
    return _own(layout) if chosen == "own" else _ordinary(layout)


def _own(layout: Layout) -> Provision:
    host.require_root("a Docker Engine of our own (none answers here)")
    parts, image = _build_image(layout)
    builder = _builder(layout)
    return Provision("own", tools.built(builder), image.tag, image, parts.runc / "runc")


def _ordinary(layout: Layout) -> Provision:
    cache = Cache(layout.cache)
    wanted = os.environ.get("DEVCLUSTER_NODE_IMAGE", versions.PULLED_NODE_IMAGE)
    if _have_image(wanted, layout):
        return Provision("docker", tools.at_hand(cache, lambda: _builder(layout)), wanted, None, None)
    say(f"the node image {wanted} cannot be had, building one")
    host.require_root("building a node image")
    _, image = _build_image(layout)
    return Provision("docker", tools.at_hand(cache, lambda: _builder(layout)), image.tag, image, None)


def _have_image(image: str, layout: Layout) -> bool:
    if succeeds(["docker", "image", "inspect", image]):
        return True
    log = layout.build_logs / "pull.log"
    try:
        Step(f"pulling {image.partition('@')[0]}", ["docker", "pull", "-q", image], log, "1 min").run()
    except MissingTools:
        raise
    except Exception:
        return False
    return True


def _build_image(layout: Layout) -> tuple[Parts, NodeImage]:
    host.ensure(host.BUILD_NEEDS, layout.build_logs / "apt.log", "building the node image")
    cache, logs = Cache(layout.cache), layout.build_logs
    builder = _builder(layout)
    with ThreadPoolExecutor(1) as aside:  # waits for the network while Go keeps the processors busy
        roots = [aside.submit(debian.archive, root, cache, logs) for root in (debian.NODE, debian.PROXY)]
        for build in (
            gobuild.kubernetes(),
            gobuild.ETCD,
            gobuild.CONTAINERD,
            gobuild.RUNC,
            gobuild.COREDNS,
            gobuild.KIND,
            gobuild.HELM,
        ):
            builder.binaries(build)
        for root in roots:
            root.result()
    parts = assembly.collect(builder, cache, logs)
    unrestricted = host.has_cap_sys_resource()
    return parts, assembly.build(parts, cache, logs, may_lower_oom_score=unrestricted)


def _builder(layout: Layout) -> GoBuilder:
    cache = Cache(layout.cache)
    return GoBuilder(gotoolchain.find_go(cache), cache, layout.build_logs)
