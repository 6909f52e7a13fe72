"""What tests and `make check` run without a cluster: helm and kubeconform for the chart, etcd and kube-apiserver, and
an S3 server."""

from __future__ import annotations

from pathlib import Path

from devcluster import gobuild, gotoolchain, host, schemas
from devcluster.cache import Cache
from devcluster.gobuild import GoBuilder
from devcluster.layout import Layout
from devcluster.tools import place

SCHEMAS = "schemas"
"""The folder in it with the JSON schemas of ``devcluster.schemas``."""


def provide(layout: Layout) -> Path:
    """A folder that holds them, for ``KUBE_ASSETS_DIR`` and PATH; built the first time, then at once."""
    host.ensure(host.BUILD_NEEDS, layout.build_logs / "apt.log", "building the test tools")
    cache = Cache(layout.cache)
    builder = GoBuilder(gotoolchain.find_go(cache), cache, layout.build_logs)
    kubernetes = builder.binaries(gobuild.kubernetes())
    sources = [kubernetes / "kube-apiserver", kubernetes / "kubectl"]
    sources += [builder.binaries(gobuild.ETCD) / "etcd", builder.binaries(gobuild.HELM) / "helm"]
    sources.append(builder.binaries(gobuild.KUBECONFORM) / "kubeconform")
    sources.append(builder.binaries(gobuild.VERSITYGW) / "versitygw")
    folder = layout.cache / "test-tools"
    folder.mkdir(parents=True, exist_ok=True)
    for source in sources:
        target = folder / source.name
        if not target.exists() or not target.samefile(source):
            place(source, target)
    _point(folder / SCHEMAS, schemas.provide(builder))
    return folder


def _point(link: Path, target: Path) -> None:
    """Leads the link to the target, without a moment in which there is none."""
    if not link.is_symlink() or link.readlink() != target:
        temporary = link.with_name(f".{link.name}")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        temporary.replace(link)
