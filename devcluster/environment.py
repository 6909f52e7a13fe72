"""How another program reaches the cluster: variables, and the way into the network namespace.

In our own engine the API server's port, the nodes and the pods are reachable from inside the namespace
only. ``nsenter --net`` changes nothing but the network (``ip netns exec`` would remount /sys and hide
the cgroups).
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from devcluster.layout import Layout
from devcluster.state import Engine


@dataclass(frozen=True)
class Environment:
    """``variables`` to set, and the words to put before a command."""

    variables: Mapping[str, str]
    prefix: tuple[str, ...]

    def command(self, *words: str | Path) -> list[str | Path]:
        return [*self.prefix, *words]

    def exports(self) -> str:
        """Lines for a shell: ``eval "$(python -m devcluster env)"``, then ``$DEVCLUSTER_RUN kubectl …``."""
        variables = {**self.variables, "DEVCLUSTER_RUN": shlex.join(self.prefix)}
        lines = [f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()]
        return "".join(lines)


def environment(layout: Layout, engine: Engine, env: Mapping[str, str] = os.environ) -> Environment:
    """PATH keeps what the caller has, behind our kind, kubectl and helm."""
    others = [p for p in env.get("PATH", os.defpath).split(":") if p != str(layout.bin)]
    variables = {
        "KUBECONFIG": str(layout.kubeconfig),
        "PATH": ":".join([str(layout.bin), *others]),
        "DEVCLUSTER_NAME": layout.name,
    }
    if engine == "docker":
        return Environment(variables, ())
    variables["DOCKER_HOST"] = layout.docker_host
    return Environment(variables, ("nsenter", f"--net={layout.netns_path}", "--"))
