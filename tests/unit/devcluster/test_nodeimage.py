"""The texts that go into the node image, and its key."""

import json
from dataclasses import replace
from pathlib import Path

from devcluster import nodeimage
from devcluster.nodeimage import Parts, base_runtime_spec, containerd_config, control_plane_images

CONFIG = """\
  sandbox_image = "registry.k8s.io/pause:3.10"
  restrict_oom_score_adj = false
"""
PAUSE = "registry.k8s.io/pause:3.10.1"
PARTS = Parts(
    node_root=Path("/c/debian-node/aaa/root.tar"),
    proxy_root=Path("/c/debian-proxy/bbb/root.tar"),
    kubernetes=Path("/c/go-kubernetes/1"),
    etcd=Path("/c/go-etcd/2"),
    containerd=Path("/c/go-containerd/3"),
    runc=Path("/c/go-runc/4"),
    coredns=Path("/c/go-coredns/5"),
    base_files=Path("/m/files"),
)


def test_the_pause_image_is_the_one_that_kubeadm_wants() -> None:
    text = containerd_config(CONFIG, pause=PAUSE, may_lower_oom_score=True)
    assert f'sandbox_image = "{PAUSE}"' in text
    assert "restrict_oom_score_adj = false" in text


def test_the_oom_score_is_clamped_only_where_it_cannot_be_lowered() -> None:
    assert "restrict_oom_score_adj = true" in containerd_config(CONFIG, pause=PAUSE, may_lower_oom_score=False)


def test_the_base_specification_has_no_rlimits_and_keeps_the_rest() -> None:
    spec = {"process": {"rlimits": [{"type": "RLIMIT_NOFILE"}], "cwd": "/"}, "root": {"path": "rootfs"}}
    assert json.loads(base_runtime_spec(json.dumps(spec))) == {"process": {"cwd": "/"}, "root": {"path": "rootfs"}}


def test_control_plane_images_are_found_by_component() -> None:
    listing = "registry.k8s.io/kube-proxy:v1.34.4\nregistry.k8s.io/coredns/coredns:v1.12.1\n\n"
    assert control_plane_images(listing) == {
        "kube-proxy": "registry.k8s.io/kube-proxy:v1.34.4",
        "coredns": "registry.k8s.io/coredns/coredns:v1.12.1",
    }


def test_the_key_changes_with_every_part_and_with_the_machines_rights() -> None:
    first = nodeimage.key(PARTS, may_lower_oom_score=True)
    assert nodeimage.key(PARTS, may_lower_oom_score=False) != first
    for part in ("node_root", "proxy_root", "kubernetes", "etcd", "containerd", "runc", "coredns"):
        changed = replace(PARTS, **{part: Path("/c/other/9/root.tar" if "root" in part else "/c/other/9")})
        assert nodeimage.key(changed, may_lower_oom_score=True) != first


def test_the_key_does_not_depend_on_where_the_cache_lies() -> None:
    moved = replace(PARTS, base_files=Path("/elsewhere"), etcd=Path("/d/go-etcd/2"))
    same = nodeimage.key(moved, may_lower_oom_score=True)
    assert same == nodeimage.key(PARTS, may_lower_oom_score=True)
