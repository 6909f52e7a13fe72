"""What a pool does where nodes isolate fully, in part or not at all, and what its status says about it.

Every pod of ours has what level ``full`` needs, so a node must take it away: with a seccomp profile that refuses to
mount a new /proc. To the executor that looks like a pod without ``procMount: Unmasked``.
"""

import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.e2e.chart import remove_profile, upgraded, write_profile
from tests.e2e.cluster import REPOSITORY, Object, Tenant, Tools, condition, eventually, pool

SMALL = {"replicas": 1, "concurrency": 1, "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}}}
SHIPPED = REPOSITORY / "deploy/helm/sandbox-executor/files/executor-seccomp.json"
WEAKER = "e2e-without-proc.json"
PROC_MOUNT_FLAGS = 14
"""MS_NOSUID | MS_NODEV | MS_NOEXEC: of all mounts of a sandbox only that of /proc has these (bubblewrap's setup)."""


def test_the_strict_pool_starts_with_the_shipped_profile_and_reports_full(installed: Tools) -> None:
    found = installed.get("executorpool", "default")
    assert found["spec"]["isolation"]["mode"] == "strict"
    status = eventually(lambda: (s := installed.get("executorpool", "default")["status"]).get("isolation") and s)
    assert status["isolation"] == "full"
    assert condition(status, "Available")["status"] == "True"
    eventually(lambda: condition(installed.get("executorpool", "default")["status"], "Degraded")["status"] == "False")


def create_pool(tools: Tools, name: str, **spec: Any) -> None:
    tools.kubectl("create", "-f", "-", stdin=yaml.safe_dump(pool(name, **{**SMALL, **spec})))


def degraded(tools: Tools, name: str, says: str) -> Object:
    """The condition of a pool, once it says this of what is wrong; on the way there may have been something else."""

    def told() -> Object:
        status = tools.get("executorpool", name).get("status", {})
        found = condition(status, "Degraded")
        return found if found.get("status") == "True" and says in found["message"] else {}

    return dict(eventually(told, timeout_s=180, interval_s=0.5))


@pytest.fixture(scope="module")
def weak_nodes(request: pytest.FixtureRequest, installed: Tools) -> Iterator[Tools]:
    """The release on nodes whose profile allows everything of the shipped one but to mount a /proc."""
    profile = json.loads(SHIPPED.read_text())
    for rule in profile["syscalls"]:
        rule["names"] = [name for name in rule["names"] if name != "mount"]
    other_flags = {"index": 3, "value": PROC_MOUNT_FLAGS, "op": "SCMP_CMP_NE"}
    profile["syscalls"].append({"names": ["mount"], "action": "SCMP_ACT_ALLOW", "args": [other_flags]})
    write_profile(installed, WEAKER, json.dumps(profile))
    values = ("seccompProfile.installer.enabled=false", f"seccompProfile.localhostProfile=sandbox-executor/{WEAKER}")
    with upgraded(installed, request.config, *values):
        yield installed
    remove_profile(installed, WEAKER)


def test_a_strict_pool_that_cannot_isolate_fully_stays_unavailable_and_says_what_to_change(
    weak_nodes: Tools, tenant: Tenant, pool_name: str
) -> None:
    create_pool(weak_nodes, pool_name, isolation={"mode": "strict"})
    trouble = degraded(weak_nodes, pool_name, "isolation 'full' does not work here")
    assert trouble["reason"] == "IsolationUnavailable"
    assert "set hostUsers: false on the pod and procMount: Unmasked on the container" in trouble["message"]
    status = weak_nodes.get("executorpool", pool_name)["status"]
    assert condition(status, "Available")["status"] == "False"
    assert status.get("readyReplicas", 0) == 0

    tenant.create("waits", "def handler(event): return 1", pool=pool_name)
    waiting = eventually(lambda: (s := tenant.status("waits")).get("phase") == "Pending" and s)
    assert condition(waiting, "Scheduled")["status"] == "False"


def test_a_best_effort_pool_there_reports_reduced_and_runs(weak_nodes: Tools, tenant: Tenant, pool_name: str) -> None:
    create_pool(weak_nodes, pool_name, isolation={"mode": "best-effort"})
    ended = tenant.run("ran", "import os\ndef handler(event): return os.path.isdir('/proc/self')", pool=pool_name)
    assert (ended["phase"], ended["returnValue"]) == ("Succeeded", False), "reduced: there is no /proc in the sandbox"
    status = eventually(lambda: (s := weak_nodes.get("executorpool", pool_name)["status"]).get("isolation") and s)
    assert status["isolation"] == "reduced"
    assert condition(status, "Available")["status"] == "True"


def test_pods_that_run_go_on_while_new_ones_cannot_start(weak_nodes: Tools, tenant: Tenant) -> None:
    """The default pool is being rolled out to the weaker profile, and keeps the pods that are whole."""
    assert degraded(weak_nodes, "default", "isolation 'full'")["reason"] == "IsolationUnavailable"

    def look() -> tuple[int, str]:
        status = weak_nodes.get("executorpool", "default")["status"]
        return status.get("readyReplicas", 0), status.get("isolation", "")

    eventually(lambda: look() == (2, "full"))
    assert tenant.run("goes-on", "def handler(event): return 1")["phase"] == "Succeeded"


def test_a_profile_that_no_node_has_is_named_with_what_to_do(
    installed: Tools, request: pytest.FixtureRequest, pool_name: str
) -> None:
    missing = f"sandbox-executor/e2e-{secrets.token_hex(4)}.json"
    values = ("seccompProfile.installer.enabled=false", f"seccompProfile.localhostProfile={missing}")
    with upgraded(installed, request.config, *values):
        create_pool(installed, pool_name)
        trouble = degraded(installed, pool_name, missing)
        assert "put the seccomp profile on every node" in trouble["message"]
