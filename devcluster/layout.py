"""Where everything lies, and what it is called, as one value derived from the cluster's name.

Nothing else in this package makes up a path or a name, so two clusters (or two state folders) never
meet, and ``down`` finds all that ``up`` made even when the state file is lost.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from devcluster.errors import DevclusterError

DEFAULT_NAME = "sandbox-executor"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_PROJECT = "sandbox-executor"
RUN_ROOT = Path("/run/sandbox-executor")


@dataclass(frozen=True)
class Layout:
    """Folders and names of one cluster."""

    name: str
    ident: str
    """The name, with a hash of the state folder behind it where that is not the default one."""
    cache: Path
    """Shared by all clusters: built binaries, roots, images."""
    state: Path
    """Of this cluster alone; ``down`` removes it."""

    @property
    def run(self) -> Path:
        """Sockets and the engine's runtime state; short, because a socket's path is limited to 108 bytes."""
        return RUN_ROOT / self.ident

    @property
    def socket(self) -> Path:
        return self.run / "docker.sock"

    @property
    def docker_host(self) -> str:
        return f"unix://{self.socket}"

    @property
    def netns(self) -> str:
        return f"devcluster-{self.ident}"

    @property
    def netns_path(self) -> Path:
        return Path("/run/netns") / self.netns

    @property
    def cgroup(self) -> str:
        """Name below each cgroup root of the one group that holds all our processes."""
        return f"devcluster-{self.ident}"

    @property
    def state_file(self) -> Path:
        return self.state / "state.json"

    @property
    def lock(self) -> Path:
        """Not in the state folder: ``down`` removes that while it holds the lock."""
        return self.cache / "locks" / f"cluster-{self.ident}.lock"

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    @property
    def kind_config(self) -> Path:
        return self.state / "kind.yaml"

    @property
    def audit_policy(self) -> Path:
        return self.state / "audit-policy.json"

    @property
    def bin(self) -> Path:
        """Links to kind, kubectl, helm and docker, first in PATH of ``run``."""
        return self.state / "bin"

    @property
    def data_root(self) -> Path:
        return self.state / "docker"

    @property
    def logs(self) -> Path:
        """Outside of the state folder, so that they outlive a ``down``."""
        return self.cache / "logs" / f"cluster-{self.ident}"

    @property
    def build_logs(self) -> Path:
        return self.cache / "logs"

    @staticmethod
    def of(name: str = DEFAULT_NAME, env: Mapping[str, str] = os.environ) -> Layout:
        """``DEVCLUSTER_STATE`` moves the folder that holds the clusters' state."""
        if not _NAME.fullmatch(name):
            raise DevclusterError(
                f"cluster name {name!r} is not usable",
                hint="use 1 to 40 of a-z, 0-9 and '-', starting and ending with a letter or digit",
            )
        home = Path(env.get("HOME") or Path.home())
        cache = Path(env.get("XDG_CACHE_HOME") or home / ".cache") / _PROJECT
        ident, states = name, Path(env.get("XDG_STATE_HOME") or home / ".local/state") / _PROJECT
        if override := env.get("DEVCLUSTER_STATE"):
            states = Path(override).absolute()
            ident = f"{name}-{hashlib.sha256(str(states).encode()).hexdigest()[:6]}"
        return Layout(name=name, ident=ident, cache=cache, state=states / name)
