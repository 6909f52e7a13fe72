"""The pod network of a built node image: a bridge on each node and a route to each other node.

kind's own CNI is an image that cannot be had without a registry. The reference plugins (Debian's
containernetworking-plugins) do for nodes that share one layer 2 network, as kind's do. They do not
enforce NetworkPolicies.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Node:
    """A node as the API server knows it; ``pod_cidr`` is empty until the controller manager gives one."""

    name: str
    address: str
    pod_cidr: str


def nodes_from_list(document: str) -> list[Node]:
    """``kubectl get nodes -o json`` → its nodes."""
    items: list[dict[str, Any]] = json.loads(document)["items"]
    return [_node(item) for item in items]


def _node(item: dict[str, Any]) -> Node:
    addresses = item.get("status", {}).get("addresses", [])
    internal = [a["address"] for a in addresses if a["type"] == "InternalIP"]
    return Node(
        name=item["metadata"]["name"],
        address=internal[0] if internal else "",
        pod_cidr=item.get("spec", {}).get("podCIDR", ""),
    )


def conflist(pod_cidr: str) -> str:
    """/etc/cni/net.d/10-bridge.conflist of the node that owns ``pod_cidr``.

    hairpinMode lets a pod reach itself through its Service.
    """
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": pod_cidr}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return json.dumps({"cniVersion": "1.0.0", "name": "bridge", "plugins": [bridge, portmap]})


def routes(node: Node, nodes: Sequence[Node]) -> list[list[str]]:
    """``ip`` commands for ``node``, one a peer; safe to repeat."""
    peers = [peer for peer in nodes if peer.name != node.name]
    return [["ip", "route", "replace", peer.pod_cidr, "via", peer.address] for peer in peers]
