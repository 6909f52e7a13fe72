"""Debian root file systems by mmdebstrap, as cached tar archives.

Three of them: a node of the cluster, the few files that kube-proxy needs beside its binary, and the
Python base image for where the Dockerfile's own cannot be pulled.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from devcluster import versions
from devcluster.cache import Cache, digest
from devcluster.progress import Step

_OPTIONS = (
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-include=/usr/share/doc/*/copyright",
    '--aptopt=Dir::Cache::pkgcache ""',
    '--aptopt=Dir::Cache::srcpkgcache ""',
    '--aptopt=Acquire::Languages "none"',
)
"""They stay in the root, so that what is installed on top is as lean: each image is copied to each node."""


_ISOLATED = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
"""When this program is killed, mmdebstrap's processes and mounts go with the namespaces."""


@dataclass(frozen=True)
class Root:
    """``variant`` is mmdebstrap's; ``extract`` unpacks the packages without configuring them."""

    name: str
    variant: str
    packages: tuple[str, ...]
    usual: str

    @property
    def key(self) -> str:
        return digest(versions.DEBIAN_SUITE, self.variant, self.packages, _OPTIONS)


NODE = Root(
    "node",
    "minbase",
    (
        *("systemd", "dbus", "kmod", "mount", "util-linux", "procps", "bash", "curl", "jq"),
        *("conntrack", "iptables", "nftables", "iproute2", "ethtool", "libseccomp2", "pigz"),
        *("e2fsprogs", "ca-certificates", "containernetworking-plugins"),
    ),
    "40 s",
)
PROXY = Root("kube-proxy", "minbase", ("iptables",), "30 s")
"""Configured, because iptables is a link that its package makes (update-alternatives)."""
PYTHON = Root(
    "python",
    "minbase",
    ("python3", "python3-venv", "python3-pip", "ca-certificates"),
    "40 s",
)


def archive(root: Root, cache: Cache, logs: Path) -> Path:
    """A tar archive of this root."""

    def build(out: Path) -> None:
        Step(
            title=f"making the Debian root '{root.name}'",
            command=[
                *_ISOLATED,
                *("mmdebstrap", f"--variant={root.variant}", f"--include={','.join(root.packages)}"),
                *_OPTIONS,
                *(versions.DEBIAN_SUITE, out / "root.tar"),
            ],
            log=logs / f"debian-{root.name}.log",
            usual=root.usual,
            env={"TMPDIR": str(out)},
        ).run()
        for left in out.glob("mmdebstrap.*"):
            shutil.rmtree(left)

    return cache.get(f"debian-{root.name}", root.key, build, kept=1) / "root.tar"
