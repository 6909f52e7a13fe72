"""The programs that tests run without a cluster: helm for the chart, etcd and kube-apiserver for the controller."""

from __future__ import annotations

from pathlib import Path

from devcluster import gobuild, gotoolchain, host
from devcluster.cache import Cache
from devcluster.gobuild import GoBuilder
from devcluster.layout import Layout
from devcluster.tools import place


def provide(layout: Layout) -> Path:
    """A folder that holds them, for ``KUBE_ASSETS_DIR`` and PATH; built the first time, then at once."""
    host.ensure(host.BUILD_NEEDS, layout.build_logs / "apt.log", "building the test tools")
    cache = Cache(layout.cache)
    builder = GoBuilder(gotoolchain.find_go(cache), cache, layout.build_logs)
    kubernetes = builder.binaries(gobuild.kubernetes())
    sources = [kubernetes / "kube-apiserver", kubernetes / "kubectl"]
    sources += [builder.binaries(gobuild.ETCD) / "etcd", builder.binaries(gobuild.HELM) / "helm"]
    folder = layout.cache / "test-tools"
    folder.mkdir(parents=True, exist_ok=True)
    for source in sources:
        target = folder / source.name
        if not target.exists() or not target.samefile(source):
            place(source, target)
    return folder
