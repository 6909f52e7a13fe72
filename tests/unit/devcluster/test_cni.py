"""The pod network of a built node."""

import json

from devcluster.cni import Node, conflist, nodes_from_list, routes

ONE = Node("one", "172.18.0.2", "10.244.0.0/24")
TWO = Node("two", "172.18.0.3", "10.244.1.0/24")


def test_a_node_hands_out_addresses_of_its_own_range_alone() -> None:
    bridge, portmap = json.loads(conflist("10.244.7.0/24"))["plugins"]
    assert bridge["ipam"]["ranges"] == [[{"subnet": "10.244.7.0/24"}]]
    assert bridge["isGateway"]
    assert bridge["ipMasq"]
    assert bridge["hairpinMode"]
    assert portmap["capabilities"] == {"portMappings": True}


def test_a_node_has_a_route_to_each_peer_and_none_to_itself() -> None:
    assert routes(ONE, [ONE, TWO]) == [["ip", "route", "replace", "10.244.1.0/24", "via", "172.18.0.3"]]
    assert routes(ONE, [ONE]) == []


def test_nodes_are_read_from_what_kubectl_lists() -> None:
    addresses = [{"type": "Hostname", "address": "one"}, {"type": "InternalIP", "address": ONE.address}]
    item = {
        "metadata": {"name": "one"},
        "spec": {"podCIDR": ONE.pod_cidr},
        "status": {"addresses": addresses},
    }
    assert nodes_from_list(json.dumps({"items": [item]})) == [ONE]


def test_a_node_that_has_just_joined_has_neither_range_nor_address() -> None:
    assert nodes_from_list('{"items": [{"metadata": {"name": "new"}}]}') == [Node("new", "", "")]
