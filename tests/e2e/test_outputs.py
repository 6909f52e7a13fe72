"""What is too large for a status, stored by the chart's folder and fetched with a tenant's rights (``outputs.md``)."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from devcluster.cluster import Cluster
from tests.e2e.chart import upgraded
from tests.e2e.cluster import DEFAULT_PODS, CommandFailed, Tenant, Tools, condition, eventually
from tests.e2e.test_documentation import make_environment
from tests.integration.docs.commands import DOCS, blocks_of, is_shown, run_blocks, written_out

_API_SERVICE = "v1alpha1.subresources.sandbox-executor.dev"
_FOLDER = "/var/lib/sandbox-executor-outputs"
_CODE = """
def handler(event):
    for number in range(100_000):
        print("%015d" % number)
    open("table.csv", "w").write("a,b\\n1,2\\n")
    return {"rows": 1}
"""
_STDOUT = "".join(f"{number:015}\n" for number in range(100_000)).encode()


@pytest.fixture(scope="module")
def stored(request: pytest.FixtureRequest, installed: Tools, own_cluster: Cluster) -> Iterator[Tools]:
    """The release with a folder of one node as its store; controller and log API run on that node."""
    node = installed.pods("app.kubernetes.io/component=controller")[0]["spec"]["nodeName"]
    own_cluster.in_node(node, "install", "-d", "-m", "0777", _FOLDER)
    values = (
        "logAPI.enabled=true",
        "controller.replicas=1",
        "objectStore.url=file:///objects",
        f"objectStore.localVolume.hostPath.path={_FOLDER}",
        rf"controller.nodeSelector.kubernetes\.io/hostname={node}",
        rf"logAPI.nodeSelector.kubernetes\.io/hostname={node}",
    )
    try:
        with upgraded(installed, request.config, *values):
            eventually(lambda: _is_available(installed), timeout_s=120, interval_s=1)
            eventually(lambda: _all_know(installed), timeout_s=240, interval_s=1)
            yield installed
    finally:
        own_cluster.in_node(node, "rm", "-rf", _FOLDER)


def _is_available(tools: Tools) -> bool:
    found = tools.get("apiservice", _API_SERVICE)
    return condition(found.get("status", {}), "Available").get("status") == "True"


def _all_know(tools: Tools) -> bool:
    """Whether each executor of the default pool was started with the store in mind, and takes work."""
    pods = tools.pods(DEFAULT_PODS)
    ready = [pod for pod in pods if condition(pod["status"], "Ready").get("status") == "True"]
    return len(ready) == len(pods) == 2 and all("OUTPUT_OBJECT_BYTES" in json.dumps(pod["spec"]) for pod in pods)


def test_a_tenant_fetches_what_the_status_has_no_room_for(stored: Tools, tenant: Tenant) -> None:
    view = ("--clusterrole=view", f"--serviceaccount={tenant.namespace}:reader")
    stored.kubectl("create", "serviceaccount", "reader", "-n", tenant.namespace)
    stored.kubectl("create", "rolebinding", "reader", "-n", tenant.namespace, *view)
    status = tenant.run("large", _CODE)
    assert condition(status, "OutputsStored")["reason"] == "Stored", status
    rows = {row["name"]: row for row in status["outputs"]}
    assert rows["stdout"]["sha256"] == hashlib.sha256(_STDOUT).hexdigest()
    path = f"/apis/subresources.sandbox-executor.dev/v1alpha1/namespaces/{tenant.namespace}/executions/large/outputs"
    as_reader = ["--as", f"system:serviceaccount:{tenant.namespace}:reader"]

    def fetch(name: str) -> str:
        # A role that was bound just now takes the API server a moment.
        return stored.kubectl("get", "--raw", f"{path}?{urlencode({'name': name})}", *as_reader)

    def may_list() -> str:
        try:
            return stored.kubectl("get", "--raw", path, *as_reader)
        except CommandFailed:
            return ""

    listed = json.loads(eventually(may_list, interval_s=0.5))
    assert [row["name"] for row in listed["outputs"]] == list(rows)
    assert fetch("artifacts/table.csv") == "a,b\n1,2\n"
    assert fetch("stdout").encode() == _STDOUT
    with pytest.raises(CommandFailed, match="executions/outputs"):
        stored.kubectl("get", "--raw", path, "--as", "system:serviceaccount:default:default")


def test_an_output_is_a_file_of_the_next(stored: Tools, tenant: Tenant) -> None:
    first = tenant.run("first", "def handler(event):\n    open('n', 'w').write('41')\n")
    [row] = first["outputs"]
    reference = {"execution": "first", "name": row["name"], "sha256": row["sha256"]}
    code = "def handler(event):\n    return int(open('in/n').read()) + 1\n"
    second = tenant.run("second", code, files=[{"path": "in/n", "artifactRef": reference}])
    assert second["returnValue"] == 42
    wrong = {**reference, "sha256": "0" * 64}
    third = tenant.run("third", code, files=[{"path": "in/n", "artifactRef": wrong}])
    assert third["error"]["errorCode"] == "Controller.ArtifactDigestMismatch"


def test_the_page_does_what_it_says(stored: Tools, tenant: Tenant, tmp_path: Path) -> None:
    blocks = blocks_of(DOCS / "outputs.md", "cluster")
    words = {"NAMESPACE": tenant.namespace}
    environment = make_environment(stored, tenant, tmp_path)
    done = run_blocks([written_out(block, words) for block in blocks], 240, folder=tmp_path, environment=environment)
    assert len(done) == len(blocks)
    for block, result in zip(blocks, done, strict=True):
        assert result.exit_code == 0, f"{block.where}: {result.output}"
        assert block.output is None or is_shown(block.output, result.output), f"{block.where}: {result.output}"


def test_no_executor_has_the_store(stored: Tools) -> None:
    for pod in stored.pods(DEFAULT_PODS):
        said = json.dumps(pod["spec"])
        assert "OBJECT_STORE" not in said
        assert "/objects" not in said
        mounts = stored.in_pod(pod["metadata"]["name"], "cat", "/proc/self/mounts")
        assert _FOLDER not in mounts
