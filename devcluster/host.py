"""What this machine is and has: rights, cgroups, commands. Read, never assumed."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from devcluster.commands import succeeds
from devcluster.errors import MissingTools
from devcluster.progress import Step

CAP_SYS_RESOURCE = 24

PACKAGES = {
    "dockerd": "docker.io",
    "docker": "docker.io",
    "containerd": "containerd",
    "iptables": "iptables",
    "ip": "iproute2",
    "mount": "mount",
    "mmdebstrap": "mmdebstrap",
    "buildah": "buildah",
    "gcc": "gcc",
    "go": "golang-go",
    "pkg-config": "pkg-config",
    "libseccomp-dev": "libseccomp-dev",
    "libc6-dev": "libc6-dev",
    "debian-archive-keyring": "debian-archive-keyring",
    "ca-certificates": "ca-certificates",
}
"""Command (or file that must be there) → Debian package."""

_FILES = {
    "libseccomp-dev": Path("/usr/include/seccomp.h"),
    "libc6-dev": Path("/usr/include/stdlib.h"),
    "debian-archive-keyring": Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    "ca-certificates": Path("/etc/ssl/certs/ca-certificates.crt"),
}

ENGINE_NEEDS = ("dockerd", "docker", "containerd", "iptables", "ip", "mount")
ROOT_NEEDS = ("mmdebstrap", "debian-archive-keyring", "ca-certificates")
BUILD_NEEDS = (*ROOT_NEEDS, "gcc", "pkg-config", "libseccomp-dev", "libc6-dev")
SYSTEM_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin"


def is_root() -> bool:
    return os.geteuid() == 0


def capabilities(status: str) -> int:
    """The bounding set, from the text of /proc/self/status: what a child of root can have at most."""
    found = re.search(r"^CapBnd:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return int(found.group(1), 16) if found else 0


def has_cap_sys_resource(status_file: Path = Path("/proc/self/status")) -> bool:
    return bool(capabilities(status_file.read_text()) >> CAP_SYS_RESOURCE & 1)


def cgroup_mounts(mountinfo: str) -> dict[str, str]:
    """Mount point → ``cgroup2`` or the v1 options, from the text of /proc/self/mountinfo."""
    mounts: dict[str, str] = {}
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        if kind == "cgroup2":
            mounts[left.split()[4]] = kind
        elif kind == "cgroup":
            mounts[left.split()[4]] = options
    return mounts


def is_cgroup_v1(mountinfo: str) -> bool:
    """Whether any controller is on a v1 hierarchy: then runc and the kubelet use v1."""
    controllers = [o for o in cgroup_mounts(mountinfo).values() if o != "cgroup2" and "name=" not in o]
    return bool(controllers)


def mountinfo() -> str:
    return Path("/proc/self/mountinfo").read_text()


def find(command: str) -> Path | None:
    """Like ``which``, and in the sbin folders that a user's PATH may leave out."""
    found = shutil.which(command, path=f"{os.environ.get('PATH', '')}:{SYSTEM_FOLDERS}")
    return Path(found) if found else None


def missing_packages(needs: Iterable[str]) -> list[str]:
    absent = [need for need in needs if not _is_there(need)]
    return sorted({PACKAGES[need] for need in absent})


def _is_there(need: str) -> bool:
    if file := _FILES.get(need):
        return file.exists()
    return find(need) is not None


def ensure(needs: Iterable[str], log: Path, why: str) -> None:
    """Install what is missing where that is possible; else MissingTools with the command to type."""
    packages = missing_packages(needs)
    if not packages:
        return
    command = f"apt-get install {' '.join(packages)}"
    if not is_root() or not succeeds(["apt-get", "--version"]):
        raise MissingTools(f"{why} needs packages that are missing", hint=f"as root: {command}")
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    apt = ["apt-get", "-o", "Acquire::Retries=3", "-o", "DPkg::Lock::Timeout=300"]  # a fresh machine may be at it, too
    Step("updating the package lists", [*apt, "update"], log, "10 s", env, tries=2).run()
    install = [*apt, "install", "-y", "--no-install-recommends", *packages]
    Step(f"installing {' '.join(packages)}", install, log, "1 min", env).run()


def require_root(why: str) -> None:
    if not is_root():
        raise MissingTools(
            f"{why} needs root",
            hint="run it as root, or install and start Docker Engine and let this user use it "
            "(apt-get install docker.io; adduser $USER docker), with access to a registry",
        )
