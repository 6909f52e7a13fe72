"""CustomResourceDefinitions over the life of a release: the real helm, a real API server, the chart's own Jobs."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from contracts.crd import execution_crd, pool_crd
from tests.integration.chart.kubelet import Kubelet
from tests.integration.controller.apiserver import ROOT, ApiError, ApiServer, find_binary

pytestmark = pytest.mark.timeout(600)
NAMESPACE = "operator"
RELEASE = "sandbox-executor"
CHART = ROOT / "deploy" / "helm" / "sandbox-executor"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
EXECUTIONS = "/apis/sandbox-executor.dev/v1alpha1/namespaces/default/executions"
POOL = "/apis/sandbox-executor.dev/v1alpha1/executorpools/default"
SECRET_LIMIT_BYTES = 1 << 20
"""Of a Secret's data: helm cannot store a release that is larger."""
HELLO = {
    "apiVersion": "sandbox-executor.dev/v1alpha1",
    "kind": "Execution",
    "metadata": {"name": "hello"},
    "spec": {"language": "python", "code": "def handler(event): return 1"},
}


@dataclass
class Helm:
    """helm on one API server; ``run`` returns standard output."""

    server: ApiServer

    def run(self, *words: str, check: bool = True) -> str:
        done = self.ended(*words)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def ended(self, *words: str) -> subprocess.CompletedProcess[str]:
        folders = {f"HELM_{name}_HOME": str(self.server.folder / "helm") for name in ("CACHE", "CONFIG", "DATA")}
        environment = {**os.environ, **folders, "KUBECONFIG": str(self.server.kubeconfig)}
        command = [str(find_binary("helm")), *words, "--namespace", NAMESPACE]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)

    def upgrade(self, chart: Path, *values: str) -> str:
        sets = [word for value in values for word in ("--set", value)]
        return self.run("upgrade", RELEASE, str(chart), "--timeout", "240s", *sets)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    server = ApiServer(tmp_path_factory.mktemp("apiserver"), extra_user="nobody")
    try:
        server.start()
        server.request("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        yield server
    finally:
        server.stop()


@pytest.fixture
def helm(server: ApiServer) -> Iterator[Helm]:
    """Nothing of ours is there before, and nothing afterwards."""
    yield Helm(server)
    Helm(server).run("uninstall", RELEASE, "--no-hooks", "--ignore-not-found")
    for definition in (execution_crd(), pool_crd()):
        path = f"{CRDS}/{definition['metadata']['name']}"
        call(server, "DELETE", path)
        while call(server, "GET", path):  # the next test makes it anew
            time.sleep(0.1)


def call(server: ApiServer, method: str, path: str) -> bool:
    """Whether there was something at this path."""
    try:
        server.request(method, path)
    except ApiError as error:
        if error.status != 404:
            raise
        return False
    return True


@pytest.fixture
def kubelet(server: ApiServer, tmp_path: Path) -> Iterator[Kubelet]:
    with Kubelet(server, NAMESPACE, tmp_path) as kubelet:
        yield kubelet


@pytest.fixture
def previous(tmp_path: Path) -> Path:
    """A chart as it was before the Jobs were, with definitions that lack a field of today."""
    chart = shutil.copytree(CHART, tmp_path / "previous")
    (chart / "templates" / "crds.yaml").unlink()
    path = chart / "crds" / "executorpools.sandbox-executor.dev.yaml"
    definition = yaml.safe_load(path.read_text())
    del spec_fields(definition)["warmJavascript"]
    path.write_text(yaml.safe_dump(definition))
    return chart


def spec_fields(definition: dict[str, Any]) -> dict[str, Any]:
    """The schema of each field of a definition's spec."""
    (version,) = definition["spec"]["versions"]
    fields: dict[str, Any] = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    return fields


def stored(server: ApiServer, definition: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = server.request("GET", f"{CRDS}/{definition['metadata']['name']}")
    return found


def hooks_left(server: ApiServer) -> list[str]:
    paths = (
        f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles",
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
        f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts",
    )
    names = [item["metadata"]["name"] for path in paths for item in server.request("GET", path)["items"]]
    return [name for name in names if "-crds" in name]


def test_an_upgrade_of_the_previous_chart_brings_the_definitions_first_and_keeps_what_is_there(
    server: ApiServer, helm: Helm, kubelet: Kubelet, previous: Path
) -> None:
    helm.run("install", RELEASE, str(previous))
    before = stored(server, pool_crd())
    assert "warmJavascript" not in spec_fields(before)
    hello = server.request("POST", EXECUTIONS, HELLO)
    pool = server.request("GET", POOL)

    helm.upgrade(CHART, "defaultPool.warmJavascript=2")

    assert kubelet.ran == ["sandbox-executor-crds"]
    for definition in (execution_crd(), pool_crd()):
        found = stored(server, definition)
        assert spec_fields(found).keys() == spec_fields(definition).keys()
    assert stored(server, pool_crd())["metadata"]["uid"] == before["metadata"]["uid"]
    upgraded = server.request("GET", POOL)
    assert upgraded["spec"]["warmJavascript"] == 2, "the pool was written before its definition knew the field"
    assert upgraded["metadata"]["uid"] == pool["metadata"]["uid"]
    assert server.request("GET", f"{EXECUTIONS}/hello")["metadata"]["uid"] == hello["metadata"]["uid"]
    assert hooks_left(server) == [], "rights over definitions stay"


def test_a_first_install_needs_no_job_and_an_uninstall_leaves_definitions_and_executions(
    server: ApiServer, helm: Helm, kubelet: Kubelet
) -> None:
    helm.run("install", RELEASE, str(CHART))
    server.request("POST", EXECUTIONS, HELLO)
    helm.run("uninstall", RELEASE)
    assert server.request("GET", f"{EXECUTIONS}/hello")["kind"] == "Execution"
    with pytest.raises(ApiError, match="404"):
        server.request("GET", POOL)
    assert kubelet.ran == []
    helm.run("install", RELEASE, str(CHART))
    assert server.request("GET", POOL)["metadata"]["name"] == "default"


def test_definitions_that_are_not_to_be_kept_go_with_the_release(
    server: ApiServer, helm: Helm, kubelet: Kubelet
) -> None:
    helm.run("install", RELEASE, str(CHART), "--set", "crds.keep=false")
    helm.run("uninstall", RELEASE)
    assert kubelet.ran == ["sandbox-executor-crds-removal"]
    for definition in (execution_crd(), pool_crd()):
        with pytest.raises(ApiError, match="404"):
            stored(server, definition)
    assert hooks_left(server) == []


def test_definitions_that_are_somebody_elses_are_not_touched(
    server: ApiServer, helm: Helm, kubelet: Kubelet, previous: Path
) -> None:
    helm.run("install", RELEASE, str(previous))
    helm.upgrade(CHART, "crds.enabled=false")
    assert kubelet.ran == []
    assert "warmJavascript" not in spec_fields(stored(server, pool_crd()))


def test_a_job_that_is_refused_says_why_and_nothing_is_upgraded(
    server: ApiServer, helm: Helm, kubelet: Kubelet, previous: Path, tmp_path: Path
) -> None:
    helm.run("install", RELEASE, str(previous))
    toothless = shutil.copytree(CHART, tmp_path / "toothless")
    template = toothless / "templates" / "crds.yaml"
    template.write_text(template.read_text().replace('ternary "patch" "delete"', 'ternary "watch" "delete"'))
    ended = helm.ended("upgrade", RELEASE, str(toothless), "--timeout", "240s", "--set", "defaultPool.replicas=3")
    assert ended.returncode != 0
    assert "pre-upgrade hooks failed" in ended.stderr
    assert "executions.sandbox-executor.dev" in kubelet.said[-1]
    assert "cannot patch resource" in kubelet.said[-1]
    assert server.request("GET", POOL)["spec"]["replicas"] == 1


def test_a_release_fits_into_the_secret_that_helm_keeps_it_in(server: ApiServer, helm: Helm, kubelet: Kubelet) -> None:
    helm.run("install", RELEASE, str(CHART), "--set", "metrics.dashboard.enabled=true")
    secret = server.request("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets/sh.helm.release.v1.{RELEASE}.v1")
    size = len(json.dumps(secret["data"]))
    print(f"\nthe release takes {size / 1024:.0f} KiB of {SECRET_LIMIT_BYTES // 1024}")
    assert size < SECRET_LIMIT_BYTES / 2
