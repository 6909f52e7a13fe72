"""The module that Kubernetes is built from, and the keys of builds."""

from dataclasses import replace

import pytest

from devcluster.gobuild import CONTAINERD, RUNC, kubernetes, module_file, staging_modules

GOMOD = """\
module k8s.io/kubernetes

require k8s.io/utils v0.0.1

replace (
\tk8s.io/client-go => ./staging/src/k8s.io/client-go
\tk8s.io/api => ./staging/src/k8s.io/api
\tk8s.io/other => k8s.io/other v1.0.0
)
"""


def test_only_modules_replaced_by_staging_folders_are_listed() -> None:
    assert staging_modules(GOMOD) == ["k8s.io/api", "k8s.io/client-go"]


def test_each_is_replaced_by_the_version_that_was_published_with_this_kubernetes() -> None:
    text = module_file(["k8s.io/api"], "1.34.4", "3.6.5")
    assert "\tk8s.io/api => k8s.io/api v0.34.4\n" in text
    assert "\tk8s.io/kubernetes v1.34.4\n" in text
    assert "\tgo.etcd.io/etcd/server/v3 v3.6.5\n" in text


def test_the_version_is_linked_in() -> None:
    flags = kubernetes("1.34.4").ldflags
    for stamp in ("gitVersion=v1.34.4", "gitMajor=1", "gitMinor=34"):
        assert f"-X k8s.io/component-base/version.{stamp}" in flags


def test_all_but_runc_are_built_without_cgo() -> None:
    assert CONTAINERD.env == kubernetes().env == {"CGO_ENABLED": "0"}
    assert RUNC.env == {"CGO_ENABLED": "1"}
    assert "-extldflags -static" in RUNC.ldflags


@pytest.mark.parametrize("change", [{"version": "9"}, {"ldflags": "-s"}, {"tags": "x"}, {"env": {}}])
def test_any_change_of_the_build_is_another_entry_of_the_cache(change: dict[str, object]) -> None:
    assert replace(RUNC, **change).key != RUNC.key  # type: ignore[arg-type]
