"""The leader goes away under a steady stream of Executions: none is lost, none begins twice, and it is soon over."""

import json
import time

import pytest

from tests.e2e.cluster import CONTROLLER, CONTROLLER_PODS, SYSTEM_NAMESPACE, CommandFailed, Tenant, Tools, eventually
from tests.e2e.conftest import InNode
from tests.e2e.leaders import delete_leader, kill_leader
from tests.e2e.stream import Stream, longest_pause_s

pytestmark = pytest.mark.usefixtures("two_replicas")
_TAKES_OVER_WITHIN_S = 15.0
_HANDS_OVER_WITHIN_S = 2.0


def test_a_leader_that_is_deleted_hands_over_within_two_seconds(tenant: Tenant) -> None:
    stream, leader = Stream(tenant), tenant.tools.leader()
    with stream.flowing():
        time.sleep(3)
        delete_leader(tenant.tools)
        eventually(lambda: tenant.tools.leader() not in ("", leader), timeout_s=10)
        time.sleep(3)
    pause = longest_pause_s(stream.check(may_crash=0))
    print(f"\n{len(stream.created)} Executions, the longest pause between two claims {pause:.2f} s")
    assert pause < _HANDS_OVER_WITHIN_S


def test_a_leader_whose_process_is_killed_is_replaced_within_fifteen_seconds(tenant: Tenant, in_node: InNode) -> None:
    """SIGKILL from the node: nothing is said, and the Lease is not given back."""
    stream = Stream(tenant)
    with stream.flowing():
        time.sleep(3)
        kill_leader(tenant.tools, in_node)
        time.sleep(_TAKES_OVER_WITHIN_S)
    pause = longest_pause_s(stream.check(may_crash=0))
    print(f"\n{len(stream.created)} Executions, the longest pause between two claims {pause:.2f} s")
    assert pause < _TAKES_OVER_WITHIN_S


def test_both_controllers_at_once_lose_nothing_but_time(tenant: Tenant) -> None:
    stream = Stream(tenant)
    with stream.flowing():
        time.sleep(2)
        names = [pod["metadata"]["name"] for pod in tenant.tools.pods(CONTROLLER_PODS)]
        tenant.tools.kubectl("delete", "pod", *names, "-n", SYSTEM_NAMESPACE, "--grace-period=0", "--force")
        time.sleep(8)
    stream.check(may_crash=0)


def test_a_drain_evicts_one_controller_at_a_time(tenant: Tenant) -> None:
    tools, leader = tenant.tools, tenant.tools.leader()
    (standby,) = [name for pod in tools.pods(CONTROLLER_PODS) if (name := pod["metadata"]["name"]) != leader]
    evict(tools, leader)
    with pytest.raises(CommandFailed, match="disruption budget"):
        evict(tools, standby)


def evict(tools: Tools, pod: str) -> None:
    """What ``kubectl drain`` does with each pod of a node."""
    metadata = {"name": pod, "namespace": SYSTEM_NAMESPACE}
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
    path = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/pods/{pod}/eviction"
    tools.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(body))


def test_reports_are_led_to_the_leader_alone(tenant: Tenant) -> None:
    found = tenant.tools.items("endpointslices", SYSTEM_NAMESPACE, f"kubernetes.io/service-name={CONTROLLER}")
    (leader,) = [pod for pod in tenant.tools.pods(CONTROLLER_PODS) if pod["metadata"]["name"] == tenant.tools.leader()]
    addresses = [address for piece in found for endpoint in piece["endpoints"] for address in endpoint["addresses"]]
    assert addresses == [leader["status"]["podIP"]]
