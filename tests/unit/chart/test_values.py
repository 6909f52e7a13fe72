"""Wrong values are refused before anything is installed, with a text that says what to write; all are documented."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from contracts.kube import KubeModel
from contracts.pool import ExecutorPoolSpec, Isolation, PodTemplate, PoolDefaults, PoolEnvVar, PoolLimits
from tests.unit.chart.conftest import CHART, Render

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())


def leaves(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Every part of the schema that names properties."""
    if isinstance(schema, dict):
        if "properties" in schema:
            yield schema
        for part in schema.values():
            yield from objects(part)


def test_every_object_of_the_schema_refuses_unknown_keys() -> None:
    assert all(part["additionalProperties"] is False for part in objects(SCHEMA))


@pytest.mark.parametrize("name", sorted(leaves(VALUES)))
def test_value_is_in_the_schema_and_in_the_readme(name: str) -> None:
    schema, keys = SCHEMA, name.split(".")
    for key in keys:
        if "properties" not in schema:
            break
        schema = schema["properties"][key]
    readme = (CHART / "README.md").read_text()
    assert any(f"`{'.'.join(keys[:length])}`" in readme for length in range(len(keys), 0, -1)), (
        f"{name} is undocumented"
    )


@pytest.mark.parametrize(
    ("path", "model"),
    [
        pytest.param((), ExecutorPoolSpec, id="pool"),
        pytest.param(("isolation",), Isolation, id="isolation"),
        pytest.param(("podTemplate",), PodTemplate, id="podTemplate"),
        pytest.param(("limits",), PoolLimits, id="limits"),
        pytest.param(("defaults",), PoolDefaults, id="defaults"),
        pytest.param(("env", "items"), PoolEnvVar, id="env"),
    ],
)
def test_default_pool_takes_the_fields_of_an_executor_pool(path: tuple[str, ...], model: type[KubeModel]) -> None:
    schema = SCHEMA["properties"]["defaultPool"]
    for key in path:
        schema = schema["items"] if key == "items" else schema["properties"][key]
    fields = {str(field.alias) for field in model.model_fields.values()}
    chart_only = {"enabled"} if not path else set()
    pool_only = {"image", "imagePullPolicy"} if not path else set()
    assert set(schema["properties"]) - chart_only == fields - pool_only


@pytest.mark.parametrize(
    "value",
    [
        "defaultPools={}",
        "defaultPool.replica=2",
        "defaultPool.replicas=-1",
        'defaultPool.replicas="two"',
        "defaultPool.concurrency=0",
        "defaultPool.concurrency=257",
        'defaultPool.isolation.mode="none"',
        "defaultPool.limits.timeoutSeconds=3601",
        'defaultPool.env=[{"name":"INTERNAL_API_TOKEN","value":"x"}]',
        'defaultPool.podTemplate={"hostNetwork":true}',
        'defaultPool.resources={"limits":{"memory":"lots"}}',
        'controller.logLevel="LOUD"',
        'controller.image.pullPolicy="Sometimes"',
        'controller.image.repository=""',
        "controller.replicas=0",
        'seccompProfile.localhostProfile="/etc/passwd"',
        'seccompProfile.localhostProfile="../../etc/passwd"',
        'seccompProfile.installer.hostPath="/var/lib/kubelet/../../etc"',
        'seccompProfile.installer.hostPath="relative"',
        'appArmorProfile.type="Off"',
        'appArmorProfile.localhostProfile="a/b"',
        'secretNamespaces="team"',
        'secretNamespaces=["*"]',
        'networkPolicy.enabled="yes"',
        'controlPlane.url="control-plane.example"',
        'controlPlane.url="https://user:password@control-plane.example"',
        'controlPlane.url="https://control-plane.example/?token=x"',
        'controlPlane.token="x"',
    ],
)
def test_wrong_value_is_refused(render: Render, value: str) -> None:
    with pytest.raises(RuntimeError, match="values don't meet the specifications of the schema"):
        render(value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param(("seccompProfile.installer.enabled=false",), "installer.enabled=true", id="none"),
        pytest.param(('seccompProfile.localhostProfile="a.json"',), "installer.enabled=false too", id="both"),
        pytest.param(("appArmorProfile.installer.enabled=true",), "appArmorProfile.type=Localhost too", id="unused"),
        pytest.param(('appArmorProfile.localhostProfile="x"',), "appArmorProfile.type=Localhost too", id="unused-name"),
        pytest.param(('appArmorProfile.type="Localhost"',), "needs one of the two", id="localhost-without-a-profile"),
        pytest.param(
            (
                'appArmorProfile.type="Localhost"',
                'appArmorProfile.localhostProfile="x"',
                "appArmorProfile.installer.enabled=true",
            ),
            "needs one of the two",
            id="localhost-with-two-profiles",
        ),
        pytest.param(
            ('secrets.executor.existingSecret="x"', 'secrets.controller.existingSecret="x"'),
            "must be two Secrets",
            id="one-secret-for-both",
        ),
        pytest.param(('controlPlane.url="https://c.example"',), "controlPlane.existingSecret", id="no-token"),
        pytest.param(('controlPlane.existingSecret="x"',), "controlPlane.url must say", id="no-url"),
        pytest.param(
            ('controlPlane.url="http://c"', 'controlPlane.existingSecret="x"', 'controlPlane.caBundle="x"'),
            "begins with https",
            id="ca-without-https",
        ),
        pytest.param(
            ('controlPlane.url="http://c"', 'controlPlane.existingSecret="sandbox-executor-executor"'),
            "a Secret of its own",
            id="control-plane-token-for-executors",
        ),
    ],
)
def test_contradiction_is_refused_with_what_to_write(render: Render, values: tuple[str, ...], message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        render(*values)


def test_cluster_without_user_namespaces_is_refused_with_the_ways_out(render: Render) -> None:
    with pytest.raises(RuntimeError, match=r"Kubernetes v1\.32\.4 .*userNamespaces\.enabledByFeatureGate=true"):
        render(version="v1.32.4")
    assert render("userNamespaces.enabledByFeatureGate=true", version="v1.32.4").all("ExecutorPool")
    assert render('defaultPool.isolation.mode="best-effort"', version="v1.32.4").all("ExecutorPool")
    assert render(version="v1.33.0-eks-1").all("ExecutorPool")


def test_cluster_without_admission_policies_is_refused(render: Render) -> None:
    with pytest.raises(RuntimeError, match="requires kubeVersion"):
        render("userNamespaces.enabledByFeatureGate=true", version="v1.29.9")
