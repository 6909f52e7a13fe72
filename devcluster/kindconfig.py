"""The configuration that kind creates the cluster from, as a pure function.

``patches`` is the place for what a test needs beyond the ordinary (an audit policy, feature gates): each
is merged into the top level of the document. JSON is YAML, so no YAML library is needed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from devcluster import audit

_FAIL_CGROUP_V1 = """\
kind: KubeletConfiguration
apiVersion: kubelet.config.k8s.io/v1beta1
failCgroupV1: false
"""

SPARE: Final = "devcluster/spare"
"""Label and taint of the second node, which a test may stop or fill up: only pods that ask for it run there."""
_UNTAINTED: Final = """\
kind: InitConfiguration
nodeRegistration:
  taints: []
"""
_TAINTED: Final = f"""\
kind: JoinConfiguration
nodeRegistration:
  taints:
  - {{key: {SPARE}, effect: NoSchedule}}
"""


def build_config(
    *,
    nodes: int = 1,
    bridge_cni: bool = False,
    cgroup_v1: bool = False,
    audit_policy: Path | None = None,
    patches: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """kind's v1alpha4 ``Cluster``.

    bridge_cni: the node image brings no CNI; ``cni`` writes one. kube-proxy programs iptables: in its nftables
    mode a full sync (each hour, each start) emptied the services' map on kernel 6.18 with nft 1.0.6.
    cgroup_v1: from 1.35 a kubelet refuses to start there unless it is told otherwise.
    audit_policy: this file is the API server's audit policy (``audit``).
    nodes: with two, everything ordinary runs on the control plane's, and the worker is spare (``SPARE``).
    """
    networking: dict[str, Any] = {"apiServerAddress": "127.0.0.1", "ipFamily": "ipv4"}
    if bridge_cni:
        networking |= {"disableDefaultCNI": True, "kubeProxyMode": "iptables"}
    first: dict[str, Any] = {"role": "control-plane"}
    spare: dict[str, Any] = {"role": "worker", "labels": {SPARE: ""}, "kubeadmConfigPatches": [_TAINTED]}
    if audit_policy is not None:
        first |= audit.node_fields(audit_policy)
    if nodes > 1:
        first["kubeadmConfigPatches"] = [*first.get("kubeadmConfigPatches", ()), _UNTAINTED]
    config: dict[str, Any] = {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "networking": networking,
        "nodes": [first, *(dict(spare) for _ in range(nodes - 1))],
    }
    if cgroup_v1:
        config["kubeadmConfigPatches"] = [_FAIL_CGROUP_V1]
    for patch in patches:
        config = _merged(config, patch)
    return config


def to_text(config: Mapping[str, Any]) -> str:
    return json.dumps(config, indent=2) + "\n"


def _merged(base: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Objects are merged, lists appended (but for ``nodes``: replaced), everything else replaced."""
    result = dict(base)
    for key, value in patch.items():
        old = result.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            result[key] = _merged(old, value)
        elif isinstance(old, list) and isinstance(value, list) and key != "nodes":
            result[key] = [*old, *value]
        else:
            result[key] = value
    return result
