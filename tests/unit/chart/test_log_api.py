"""The log API is there where it is asked for, with the rights that its code needs, behind a certificate that fits."""

import base64
import ssl
from pathlib import Path

import pytest

from controller import names
from controller.settings import StoreSettings
from log_api.group import GROUP, VERSION
from log_api.settings import Settings
from tests.unit.chart.conftest import NAMESPACE, Manifest, Render, Rendered
from tests.unit.chart.test_rbac import permissions

LOG_API = "sandbox-executor-log-api"
_OWN = ("logAPI.enabled=true", 'logAPI.tls.existingSecret="mine"')
_PEM = "-----BEGIN CERTIFICATE-----\\nx\\n-----END CERTIFICATE-----"


@pytest.fixture(scope="session")
def enabled(render: Render) -> Rendered:
    return render("logAPI.enabled=true")


def _container(chart: Rendered) -> Manifest:
    (container,) = chart.one("Deployment", LOG_API)["spec"]["template"]["spec"]["containers"]
    return dict(container)


def test_without_it_nothing_of_it_is_there(chart: Rendered) -> None:
    assert not [m for m in chart.manifests if "log-api" in m["metadata"]["name"] or m["kind"] == "APIService"]
    for role in chart.all("ClusterRole"):
        assert not any(group == GROUP for group, _, _ in permissions(role))


def test_it_gets_every_setting_that_it_reads(enabled: Rendered, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = _container(enabled)["env"]
    assert {item["name"] for item in environment} == {
        name.upper() for name in Settings.model_fields.keys() - StoreSettings.model_fields
    }
    for item in environment:
        monkeypatch.setenv(item["name"], item.get("value", NAMESPACE))
    settings = Settings()
    ports = {port["name"]: port["containerPort"] for port in _container(enabled)["ports"]}
    assert ports == {"https": settings.port, "health": settings.health_port}
    assert _container(enabled)["args"] == ["python", "-P", "-m", "log_api"]


def test_files_are_mounted_where_it_looks_and_nothing_else_of_the_secrets(enabled: Rendered) -> None:
    spec = enabled.one("Deployment", LOG_API)["spec"]["template"]["spec"]
    mounts = {mount["name"]: mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]}
    mounted = set()
    for volume in spec["volumes"]:
        for source in volume.get("projected", {}).get("sources", []):
            data = enabled.one("Secret", source["secret"]["name"])["data"]
            for item in source["secret"]["items"]:
                assert item["key"] in data
                mounted.add(f"{mounts[volume['name']]}/{item['path']}")
    assert mounted == {item["value"] for item in _container(enabled)["env"] if item["name"].endswith("_FILE")}
    assert len(mounted) == 3


def test_its_rights(enabled: Rendered) -> None:
    assert permissions(enabled.one("ClusterRole", LOG_API)) == {
        ("sandbox-executor.dev", "executions", "get"),
        ("sandbox-executor.dev", "executions", "watch"),
    }
    role = enabled.one("Role", LOG_API)
    assert role["metadata"]["namespace"] == NAMESPACE
    assert permissions(role) == {("", "pods", "get")}
    bound = {
        (m["metadata"].get("namespace", ""), m["roleRef"]["name"])
        for m in [*enabled.all("ClusterRoleBinding"), *enabled.all("RoleBinding")]
        if m["subjects"] == [{"kind": "ServiceAccount", "name": LOG_API, "namespace": NAMESPACE}]
    }
    assert bound == {
        ("", LOG_API),
        ("", "system:auth-delegator"),
        ("kube-system", "extension-apiserver-authentication-reader"),
        (NAMESPACE, LOG_API),
    }
    assert not enabled.one("ServiceAccount", LOG_API)["automountServiceAccountToken"]


def test_who_may_view_executions_may_read_their_output(enabled: Rendered, render: Render) -> None:
    wanted = (GROUP, "executions/log", "get")
    assert wanted in permissions(enabled.one("ClusterRole", "sandbox-executor-view"))
    subjects = '[{"kind":"ServiceAccount","name":"c","namespace":"n"}]'
    chart = render("logAPI.enabled=true", f"rbac.controlPlane.subjects={subjects}")
    assert wanted in permissions(chart.one("ClusterRole", "sandbox-executor-control-plane"))


def test_the_api_server_finds_it_and_verifies_its_certificate(enabled: Rendered, tmp_path: Path) -> None:
    registered = enabled.one("APIService", f"{VERSION}.{GROUP}")["spec"]
    service = enabled.one("Service", LOG_API)
    assert registered["service"] == {
        "namespace": NAMESPACE,
        "name": LOG_API,
        "port": service["spec"]["ports"][0]["port"],
    }
    assert (registered["group"], registered["version"]) == (GROUP, VERSION)
    labels = enabled.one("Deployment", LOG_API)["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    data = enabled.one("Secret", f"{LOG_API}-tls")["data"]
    assert data["ca.crt"] == registered["caBundle"]
    _shake_hands({key: base64.b64decode(value) for key, value in data.items()}, tmp_path)


def _shake_hands(data: dict[str, bytes], folder: Path) -> None:
    """As the API server and the log API would; raises where the certificate does not fit."""
    for key, value in data.items():
        (folder / key).write_bytes(value)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    asking = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    here, there = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = asking.wrap_bio(here, there, server_hostname=f"{LOG_API}.{NAMESPACE}.svc")
    server = serving.wrap_bio(there, here, server_side=True)
    for _ in range(5):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert client.version() is not None


def test_a_certificate_of_ones_own(render: Render) -> None:
    chart = render(*_OWN, f'logAPI.tls.caBundle="{_PEM}"')
    assert not [m for m in chart.all("Secret") if "log-api" in m["metadata"]["name"]]
    registered = chart.one("APIService", f"{VERSION}.{GROUP}")["spec"]
    assert base64.b64decode(registered["caBundle"]).decode() == _PEM.replace("\\n", "\n")
    volumes = chart.one("Deployment", LOG_API)["spec"]["template"]["spec"]["volumes"]
    assert "mine" in [
        volume["projected"]["sources"][0]["secret"]["name"] for volume in volumes if "projected" in volume
    ]
    chart = render(*_OWN, 'logAPI.tls.apiServiceAnnotations={"cert-manager.io/inject-ca-from":"a/b"}')
    registration = chart.one("APIService", f"{VERSION}.{GROUP}")
    assert registration["metadata"]["annotations"] == {"cert-manager.io/inject-ca-from": "a/b"}
    assert "caBundle" not in registration["spec"]


def test_contradictions_are_refused(render: Render) -> None:
    with pytest.raises(RuntimeError, match=r"give the CA .* in logAPI\.tls\.caBundle"):
        render(*_OWN)
    with pytest.raises(RuntimeError, match=r"name its Secret in logAPI\.tls\.existingSecret"):
        render("logAPI.enabled=true", f'logAPI.tls.caBundle="{_PEM}"')
    for wrong in ("logAPI.replicas=0", "logAPI.maxStreams=0", 'logAPI.tls.caBundle="x"', "logAPI.port=1"):
        with pytest.raises(RuntimeError, match="values don't meet the specifications of the schema"):
            render(wrong)


def test_its_pods_are_as_safe_as_the_controllers(enabled: Rendered) -> None:
    spec = enabled.one("Deployment", LOG_API)["spec"]["template"]["spec"]
    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "runAsGroup": 1000,
        "fsGroup": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert _container(enabled)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert _container(enabled)["resources"]["limits"]["memory"]


def test_it_reaches_executors_and_everybody_its_port(enabled: Rendered) -> None:
    labels = enabled.one("Deployment", LOG_API)["spec"]["template"]["metadata"]["labels"].items()
    executors = enabled.one("NetworkPolicy", "sandbox-executor-executors")["spec"]
    selectors = [peer["podSelector"]["matchLabels"].items() for peer in executors["ingress"][0]["from"]]
    assert any(selector <= labels for selector in selectors)
    assert executors["ingress"][0]["ports"] == [{"protocol": "TCP", "port": names.EXECUTOR_PORT}]
    own = enabled.one("NetworkPolicy", LOG_API)["spec"]
    assert own["podSelector"]["matchLabels"].items() <= labels
    assert own["ingress"] == [{"ports": [{"protocol": "TCP", "port": port}]} for port in (8443, 8081)]


def test_more_than_one_has_a_budget(render: Render, enabled: Rendered) -> None:
    assert not [m for m in enabled.all("PodDisruptionBudget") if m["metadata"]["name"] == LOG_API]
    chart = render("logAPI.enabled=true", "logAPI.replicas=2")
    assert chart.one("PodDisruptionBudget", LOG_API)["spec"]["maxUnavailable"] == 1
    assert chart.one("Deployment", LOG_API)["spec"]["replicas"] == 2


def test_its_metrics_are_scraped_with_the_executors(render: Render) -> None:
    peers = '[{"podSelector":{"matchLabels":{"app":"prometheus"}}}]'
    chart = render("logAPI.enabled=true", "metrics.podMonitor.enabled=true", f"metrics.networkPolicy.from={peers}")
    (endpoint,) = chart.one("PodMonitor", LOG_API)["spec"]["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("health", "/metrics")
