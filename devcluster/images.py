"""Builds the repository's images, and loads them into the nodes.

On an ordinary engine that is ``docker build`` and ``kind load docker-image``. With an engine of our own
``buildah`` builds, and the image goes to the nodes as an archive.
"""

from __future__ import annotations

import re
from pathlib import Path

from devcluster import provision, state
from devcluster.buildah import Build, Buildah
from devcluster.cache import locked
from devcluster.cluster import Cluster
from devcluster.commands import output
from devcluster.layout import Layout
from devcluster.progress import Step, say

_CTR = ("ctr", "--namespace", "k8s.io", "images")
_ID_LABEL = "sandbox-executor.dev/image-id"


def build(layout: Layout, wanted: Build) -> None:
    """Build one image where ``load`` finds it."""
    if provision.decide_engine(state.load(layout.state_file)) == "own":
        with locked(layout.cache / "locks" / "buildah.lock", "building an image"):
            Buildah(layout.cache).build(wanted, layout.build_logs)
        return
    Step(
        f"building the image {wanted.tag}",
        ["docker", "build", *wanted.words, wanted.context],
        layout.build_logs / "image.log",
        "2 min, seconds when only code has changed",
    ).run()


def save(layout: Layout, tag: str, target: Path) -> None:
    """Write an image that ``build`` has built to an OCI archive (one of Docker 25 or newer is one, too)."""
    if provision.decide_engine(state.load(layout.state_file)) == "own":
        with locked(layout.cache / "locks" / "buildah.lock", "saving an image"):
            Buildah(layout.cache).save(tag, target, "oci-archive")
        return
    output(["docker", "save", "--output", target, tag], timeout_s=600)


def load(cluster: Cluster, tags: list[str]) -> None:
    """Copy images into every node."""
    if cluster.state.engine == "docker":
        _kind_load(cluster, "docker-image", ", ".join(tags), *tags)
        return
    layout = cluster.layout
    with locked(layout.cache / "locks" / f"load-{layout.ident}.lock", "loading an image"):
        for tag in tags:
            _load_archive(cluster, Buildah(layout.cache), tag)


def _load_archive(cluster: Cluster, buildah: Buildah, tag: str) -> None:
    """A node that already has this very image (a label on it says so) is not sent it again."""
    name, image_id = full_name(tag), buildah.image_id(tag)
    nodes = cluster.output(cluster.kind_path, "get", "nodes", "--name", cluster.name).split()
    before = {node: _loaded(cluster, node) for node in nodes}
    if all(images.get(name) == image_id for images in before.values()):
        say(f"{tag} is in the nodes already")
        return
    packed = cluster.layout.state / "load.tar"
    buildah.save(tag, packed)
    try:
        _kind_load(cluster, "image-archive", tag, str(packed))
    finally:
        packed.unlink()
    for node, images in before.items():
        cluster.in_node(node, *_CTR, "label", name, f"{_ID_LABEL}={image_id}")
        _forget(cluster, node, images.get(name))


def _loaded(cluster: Cluster, node: str) -> dict[str, str]:
    """Full name → image id, of all that were loaded by us."""
    listing = cluster.in_node(node, *_CTR, "ls", f'labels."{_ID_LABEL}"')
    return loaded_images(listing)


def loaded_images(listing: str) -> dict[str, str]:
    """``ctr images ls`` → full name → our label's value."""
    found = re.findall(rf"^(\S+) .*\b{re.escape(_ID_LABEL)}=(\w+)", listing, re.MULTILINE)
    return dict(found)


def _forget(cluster: Cluster, node: str, old_id: str | None) -> None:
    """Names that would keep an image's earlier versions on the node for ever; running pods keep theirs."""
    names = cluster.in_node(node, *_CTR, "ls", "-q").split()
    gone = [name for name in names if name.startswith("import-") or name == f"sha256:{old_id}"]
    if gone:
        cluster.in_node(node, *_CTR, "rm", *gone)


def full_name(tag: str) -> str:
    """As a container engine completes it: ``a/b`` → ``docker.io/a/b:latest``."""
    first, slash, _ = tag.partition("/")
    if not slash:
        tag = f"docker.io/library/{tag}"
    elif not ("." in first or ":" in first or first == "localhost"):
        tag = f"docker.io/{tag}"
    return tag if ":" in tag.rpartition("/")[2] else f"{tag}:latest"


def _kind_load(cluster: Cluster, what: str, about: str, *names: str) -> None:
    env = cluster.environment
    Step(
        f"loading {about} into the nodes",
        env.command(cluster.kind_path, "load", what, "--name", cluster.name, *names),
        cluster.layout.logs / "kind-load.log",
        "15 s",
        env.variables,
    ).run()
