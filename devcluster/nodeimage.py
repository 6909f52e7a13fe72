"""What the node image is made of: its parts, the texts in it, and the key of it all.

``assembly`` puts it together. What differs from kind's own base: no crictl, no fuse-overlayfs, no storage
provisioner and no CNI manifest (``cni`` writes one).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from devcluster import versions
from devcluster.cache import digest

PAUSE_C = """\
/* PID 1 of a pod: waits, reaps, and ends when it is told to. */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
static void leave(int s) { (void)s; _exit(0); }
static void reap(int s) { (void)s; while (waitpid(-1, 0, WNOHANG) > 0) {} }
int main(void) {
  signal(SIGINT, leave); signal(SIGTERM, leave); signal(SIGCHLD, reap);
  for (;;) pause();
}
"""

ENABLE_UNITS = """\
set -e
find /lib/systemd/system/sysinit.target.wants/ -name systemd-tmpfiles-setup.service -delete
rm -f /lib/systemd/system/multi-user.target.wants/* /etc/systemd/system/*.wants/*
rm -f /lib/systemd/system/local-fs.target.wants/* /lib/systemd/system/basic.target.wants/*
rm -f /lib/systemd/system/sockets.target.wants/*udev* /lib/systemd/system/sockets.target.wants/*initctl*
echo ReadKMsg=no >> /etc/systemd/journald.conf
ln -sf /usr/lib/systemd/systemd /sbin/init
systemctl enable kubelet.service containerd.service undo-mount-hacks.service
systemctl mask systemd-binfmt.service
mkdir -p /etc/kubernetes/manifests /opt/cni /kind/manifests /var/lib/kubelet/seccomp
ln -sfn /usr/lib/cni /opt/cni/bin
: > /etc/machine-id
"""

ENTRYPOINT = {
    "Entrypoint": ["/usr/local/bin/entrypoint", "/sbin/init"],
    "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "container=docker"],
    "StopSignal": "SIGRTMIN+3",
}
_RECIPE = 1
"""Raise it when the steps of ``assembly`` change in a way that the key does not see."""


@dataclass(frozen=True)
class NodeImage:
    """A finished image: its tag and the archive that ``docker load`` takes."""

    tag: str
    archive: Path


@dataclass(frozen=True)
class Parts:
    """What an image is put together from."""

    node_root: Path
    proxy_root: Path
    kubernetes: Path
    etcd: Path
    containerd: Path
    runc: Path
    coredns: Path
    base_files: Path


def containerd_config(original: str, *, pause: str, may_lower_oom_score: bool) -> str:
    """kind's configuration for this Kubernetes' pause image.

    Without CAP_SYS_RESOURCE no process can lower its oom_score_adj below its parent's, and containerd
    fails to start containers that ask for it unless it is told to clamp.
    """
    text = re.sub(r'registry\.k8s\.io/pause:[\w.]+"', f'{pause}"', original)
    if not may_lower_oom_score:
        text = text.replace("restrict_oom_score_adj = false", "restrict_oom_score_adj = true")
    return text


def base_runtime_spec(default_spec: str) -> str:
    """containerd's base specification without rlimits, which a node in a container cannot always set."""
    spec = json.loads(default_spec)
    spec["process"].pop("rlimits", None)
    return json.dumps(spec)


def control_plane_images(listing: str) -> dict[str, str]:
    """``kubeadm config images list`` → component → full name with tag."""
    names = [line.strip() for line in listing.splitlines() if line.strip()]
    return {name.rpartition("/")[2].partition(":")[0]: name for name in names}


def key(parts: Parts, *, may_lower_oom_score: bool) -> str:
    inputs = [str(path.name) for path in (parts.kubernetes, parts.etcd, parts.containerd)]
    inputs += [parts.runc.name, parts.coredns.name, parts.node_root.parent.name, parts.proxy_root.parent.name]
    recipe = [PAUSE_C, ENABLE_UNITS, ENTRYPOINT, _RECIPE, versions.KIND]
    return digest(inputs, recipe, may_lower_oom_score)
