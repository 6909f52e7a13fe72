"""The object store's values: where its credentials go, who may reach it, and nothing where there is none."""

from pathlib import Path

import pytest

from controller.settings import Settings, StoreSettings
from log_api.settings import Settings as LogApiSettings
from tests.unit.chart.conftest import NAMESPACE, Manifest, Render, Rendered
from tests.unit.chart.test_log_api import LOG_API
from tests.unit.chart.test_rbac import permissions
from tests.unit.chart.test_render import CONTROLLER

VALUES = (
    "logAPI.enabled=true",
    'objectStore.url="s3://outputs"',
    'objectStore.prefix="cluster-a"',
    'objectStore.endpoint="https://minio.example:9000"',
    'objectStore.region="eu-central-1"',
    'objectStore.credentialsSecret="store"',
    'objectStore.networkPolicy.to=[{"ipBlock":{"cidr":"203.0.113.0/24"}}]',
    "objectStore.networkPolicy.ports=[9000]",
)
FOLDER = (
    "logAPI.enabled=true",
    "controller.replicas=1",
    'objectStore.url="file:///objects"',
    'objectStore.localVolume={"persistentVolumeClaim":{"claimName":"outputs"}}',
)
STORE_NAMES = {name.upper() for name in StoreSettings.model_fields}


@pytest.fixture(scope="session")
def stored(render: Render) -> Rendered:
    return render(*VALUES)


def container(chart: Rendered, name: str) -> Manifest:
    (found,) = chart.one("Deployment", name)["spec"]["template"]["spec"]["containers"]
    return dict(found)


def environment(chart: Rendered, name: str) -> dict[str, str]:
    return {item["name"]: item.get("value", NAMESPACE) for item in container(chart, name)["env"]}


def test_without_it_nothing_of_it_is_there(chart: Rendered, render: Render) -> None:
    for found in (chart, render("logAPI.enabled=true")):
        assert "OBJECT_STORE" not in str(found.manifests)
        assert "executions/outputs" not in str([role["rules"] for role in found.all("ClusterRole")])
        policy = found.one("NetworkPolicy", "sandbox-executor-executors")["spec"]
        assert len(policy["egress"]) == 1


def test_both_processes_are_told_and_understand(stored: Rendered, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(stored, CONTROLLER).items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.object_store is not None
    assert (settings.object_store.url, settings.object_store.prefix) == ("s3://outputs", "cluster-a")
    assert settings.object_store.credentials == Path("/var/run/secrets/sandbox-executor-store")
    assert (settings.output_object_bytes, settings.output_total_bytes) == (64 * 2**20, 256 * 2**20)
    assert settings.output_retention_days == 30
    for name, value in environment(stored, LOG_API).items():
        monkeypatch.setenv(name, value)
    assert LogApiSettings().object_store == settings.object_store
    assert environment(stored, LOG_API).keys() & {"OUTPUT_OBJECT_BYTES"} == set()
    assert environment(stored, LOG_API).keys() >= STORE_NAMES


def test_the_credentials_are_mounted_in_these_two_alone(stored: Rendered) -> None:
    holders = []
    for manifest in stored.manifests:
        pod = manifest.get("spec", {}).get("template", {}).get("spec", {})
        if any(volume.get("secret", {}).get("secretName") == "store" for volume in pod.get("volumes", [])):
            holders.append(manifest["metadata"]["name"])
            [mount] = [m for m in pod["containers"][0]["volumeMounts"] if m["name"] == "object-store"]
            assert mount == {
                "name": "object-store",
                "mountPath": "/var/run/secrets/sandbox-executor-store",
                "readOnly": True,
            }
    assert sorted(holders) == [CONTROLLER, LOG_API]
    assert "store" not in str(stored.one("ExecutorPool", "default"))


def test_executors_reach_the_store_and_nothing_else(stored: Rendered) -> None:
    _, store, dns = stored.one("NetworkPolicy", "sandbox-executor-executors")["spec"]["egress"]
    assert store == {
        "to": [{"ipBlock": {"cidr": "203.0.113.0/24"}}],
        "ports": [{"protocol": "TCP", "port": 9000}],
    }
    assert [port["port"] for port in dns["ports"]] == [53, 53]


def test_who_may_read_output_may_read_outputs(stored: Rendered) -> None:
    view = permissions(stored.one("ClusterRole", "sandbox-executor-view"))
    assert ("subresources.sandbox-executor.dev", "executions/outputs", "get") in view


def test_a_folder_is_mounted_in_both_where_the_url_says(render: Render) -> None:
    found = render(*FOLDER)
    for name in (CONTROLLER, LOG_API):
        spec = found.one("Deployment", name)["spec"]["template"]["spec"]
        [volume] = [each for each in spec["volumes"] if each["name"] == "objects"]
        assert volume["persistentVolumeClaim"] == {"claimName": "outputs"}
        [mount] = [each for each in spec["containers"][0]["volumeMounts"] if each["name"] == "objects"]
        assert mount["mountPath"] == "/objects"
    policy = found.one("NetworkPolicy", "sandbox-executor-executors")["spec"]
    assert len(policy["egress"]) == 1, "the controller takes them"


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (('objectStore.credentialsSecret="store"',), "objectStore.url is empty"),
        ((*FOLDER[:3],), "say in objectStore.localVolume what is mounted there"),
        ((*FOLDER, "controller.replicas=2"), "set controller.replicas=1"),
        ((*VALUES, 'objectStore.localVolume={"hostPath":{"path":"/x"}}'), "objectStore.localVolume is for a folder"),
        ((*VALUES, 'objectStore.endpoint="http://minio"'), "set objectStore.allowHTTP=true"),
        ((*VALUES, 'objectStore.credentialsSecret="sandbox-executor-executor"'), "must be a Secret of its own"),
        ((*VALUES, "objectStore.networkPolicy.to=[]"), "lets them reach no store"),
        (('objectStore.url="s3://outputs/folder"',), "objectStore"),
        (('objectStore.url="https://outputs"',), "objectStore"),
    ],
)
def test_what_contradicts_itself_is_refused(render: Render, values: tuple[str, ...], says: str) -> None:
    with pytest.raises(RuntimeError, match=says):
        render(*values)
