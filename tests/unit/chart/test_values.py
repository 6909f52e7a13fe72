"""Wrong values are refused before anything is installed, with a text that says what to write; all are documented."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from contracts.kube import KubeModel
from contracts.pool import ExecutorPoolSpec, Isolation, PodTemplate, PoolDefaults, PoolEnvVar, PoolLimits
from docsite.values_reference import BEGIN, END, Value, make_chart_readme, make_values_table, read_values
from tests.unit.chart.conftest import CHART, Render

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
TEXT = (CHART / "values.yaml").read_text()
VALUES = yaml.safe_load(TEXT)


FREE = {
    "global": "Helm's own",
    "nodeAffinity": "Kubernetes' own, deep, and judged by the API server",
    "podAffinity": "the same",
    "podAntiAffinity": "the same",
}


def open_objects(schema: Any, name: str = "") -> Iterator[str]:
    """Names of the objects of the schema that take any key; a map says what its values are, so it is none of them."""
    if isinstance(schema, list):
        for part in schema:
            yield from open_objects(part, name)
    elif isinstance(schema, dict):
        kind = schema.get("type", ())
        if ("properties" in schema or "object" in (kind if isinstance(kind, list) else [kind])) and (
            schema.get("additionalProperties", True) is True
        ):
            yield name
        for key, part in schema.items():
            yield from open_objects(part, name if key == "items" else key)


def test_every_object_of_the_schema_refuses_unknown_keys() -> None:
    assert set(open_objects(SCHEMA)) == set(FREE)


def resolve(schema: dict[str, Any]) -> dict[str, Any]:
    return SCHEMA["definitions"][schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema


def assert_described(values: dict[str, Any], schema: dict[str, Any], path: str) -> None:
    """Each key of the values has a schema of its own that says what it takes."""
    for key, value in values.items():
        assert key in schema["properties"], f"{path}{key} is not in values.schema.json"
        part = resolve(schema["properties"][key])
        assert part.keys() & {"type", "enum", "anyOf"}, f"{path}{key} may be anything"
        if isinstance(value, dict) and "properties" in part:
            assert_described(value, part, f"{path}{key}.")


def test_every_value_is_in_the_schema() -> None:
    assert_described(VALUES, SCHEMA, "")


def test_the_schema_names_no_value_that_there_is_not() -> None:
    assert set(SCHEMA["properties"]) - {"global"} == set(VALUES)


def test_every_value_has_words_and_the_readme_has_them_all() -> None:
    """`make reference` writes the table from the comments in values.yaml."""
    assert [value.path for value in read_values(TEXT) if not value.words] == []
    readme = (CHART / "README.md").read_text()
    assert readme == make_chart_readme(readme, TEXT), "run `make reference`"


def test_the_table_shows_defaults_and_lines_of_a_comment_as_one() -> None:
    text = "a:\n  # -- one,\n  # two | three\n  b: 5Gi\n  # -- whole\n  c: {d: [1]}\n\n# of no value\ne:\n  f: null\n"
    assert read_values(text) == [
        Value("a.b", "5Gi", "one, two | three"),
        Value("a.c", {"d": [1]}, "whole"),
        Value("e.f", None, ""),
    ]
    assert "| `a.b` | `5Gi` | one, two \\| three |\n" in make_values_table(text)


@pytest.mark.parametrize("lost", [BEGIN, END])
def test_a_readme_without_its_marks_is_refused(lost: str) -> None:
    readme = (CHART / "README.md").read_text().replace(lost, "")
    with pytest.raises(ValueError, match=re.escape(lost.strip())):
        make_chart_readme(readme, TEXT)


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
        'tracing.endpoint="collector:4318"',
        'tracing.endpoint="http://user:password@collector:4318"',
        "crds.keep=null",
        "crds.upgrade=true",
        "executor.podDisruptionBudget.maxUnavailable=0",
        'executor.podDisruptionBudget.maxUnavailable="0%"',
        'controller.tolerations=[{"effekt":"NoSchedule"}]',
        'controller.affinity={"nodeAffinities":{}}',
        'controller.topologySpreadConstraints=[{"topologyKey":"zone"}]',
        'defaultPool.podTemplate={"topologySpreadConstraints":[{"maxSkew":1,"topologyKey":"zone","whenUnsatisfied":"x"}]}',
        'defaultPool.allowedNamespaces={"matchExpressions":[{"key":"a","operator":"is","values":["b"]}]}',
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
