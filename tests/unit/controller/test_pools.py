"""The Deployment of a pool: every isolation field, and that nothing in a pool can change one."""

from typing import Any

import pytest

from contracts.pool import PodTemplate
from controller import names
from controller.pools import build_deployment
from tests.unit.controller.builders import make_pool, make_settings


def build(name: str = "default", **spec: Any) -> dict[str, Any]:
    return build_deployment(make_pool(name, **spec), make_settings())


def pod_of(deployment: dict[str, Any]) -> dict[str, Any]:
    pod: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return pod


_POD_ISOLATION = {
    "hostUsers": False,
    "hostNetwork": False,
    "hostPID": False,
    "hostIPC": False,
    "shareProcessNamespace": False,
    "automountServiceAccountToken": False,
    "enableServiceLinks": True,
    "securityContext": {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "runAsGroup": 1000,
        "fsGroup": 1000,
        "seccompProfile": {"type": "Localhost", "localhostProfile": "sandbox-executor/executor.json"},
    },
}
_CONTAINER_ISOLATION = {
    "allowPrivilegeEscalation": False,
    "privileged": False,
    "procMount": "Unmasked",
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
_HOSTILE_TEMPLATE = {
    "labels": {names.POOL_LABEL: "other", "app.kubernetes.io/component": "controller", "mine": "kept"},
    "annotations": {names.POOL_ANNOTATION: "other", "mine": "kept"},
    "nodeSelector": {"disk": "fast"},
    "tolerations": [{"key": "gpu", "operator": "Exists"}],
    "affinity": {"hostUsers": True, "securityContext": {"runAsUser": 0}},
    "topologySpreadConstraints": [{"maxSkew": 1}],
    "priorityClassName": "high",
    "imagePullSecrets": ["registry"],
}


@pytest.mark.parametrize("template", [None, _HOSTILE_TEMPLATE])
@pytest.mark.parametrize("mode", ["strict", "best-effort"])
def test_isolation_is_what_it_is_whatever_the_pool_says(template: dict[str, Any] | None, mode: str) -> None:
    deployment = build(podTemplate=template, isolation={"mode": mode}, env=[{"name": "DEBUG", "value": "1"}])
    pod = pod_of(deployment)
    assert {key: pod[key] for key in _POD_ISOLATION} == _POD_ISOLATION
    [container] = pod["containers"]
    assert container["securityContext"] == _CONTAINER_ISOLATION
    assert "serviceAccountName" not in pod
    assert all("hostPath" not in volume for volume in pod["volumes"])
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert labels.items() >= deployment["spec"]["selector"]["matchLabels"].items()
    assert labels.items() >= names.pod_labels("default").items()


def test_a_pod_template_reaches_placement_labels_and_annotations_and_nothing_else() -> None:
    plain, templated = build(), build(podTemplate=_HOSTILE_TEMPLATE)
    added = {key: value for key, value in pod_of(templated).items() if pod_of(plain).get(key) != value}
    assert added == {
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "affinity": {"hostUsers": True, "securityContext": {"runAsUser": 0}},
        "topologySpreadConstraints": [{"maxSkew": 1}],
        "priorityClassName": "high",
        "imagePullSecrets": [{"name": "registry"}],
    }
    metadata = templated["spec"]["template"]["metadata"]
    assert metadata["labels"]["mine"] == metadata["annotations"]["mine"] == "kept"
    assert metadata["annotations"][names.POOL_ANNOTATION] == "default"


def test_every_field_of_a_pod_template_is_known_to_this_test() -> None:
    assert {field.alias or name for name, field in PodTemplate.model_fields.items()} == set(_HOSTILE_TEMPLATE)


@pytest.mark.parametrize(
    ("field", "variable"), [("warm_sandboxes", "WARM_SANDBOXES"), ("warm_javascript", "WARM_JAVASCRIPT")]
)
@pytest.mark.parametrize("count", [None, 0, 3])
def test_what_is_started_ahead_is_said_where_the_pool_says_it(field: str, variable: str, count: int | None) -> None:
    env = {
        item["name"]: item.get("value") for item in pod_of(build("default", **{field: count}))["containers"][0]["env"]
    }
    assert env.get(variable) == (None if count is None else str(count))


def test_the_environment_names_the_controller_and_holds_no_token() -> None:
    env = {item["name"]: item for item in pod_of(build(concurrency=7))["containers"][0]["env"]}
    assert env["CONTROL_PLANE_URL"]["value"] == (
        "http://$(SANDBOX_EXECUTOR_CONTROLLER_SERVICE_HOST):$(SANDBOX_EXECUTOR_CONTROLLER_SERVICE_PORT)"
    )
    assert env["MAX_CONCURRENT_EXECUTIONS"]["value"] == "7"
    assert env["INTERNAL_API_TOKEN_FILE"]["value"].startswith(names.TOKENS_MOUNT_PATH)
    assert env["EXECUTE_API_TOKEN_FILE"]["value"].startswith(names.TOKENS_MOUNT_PATH)
    assert env["POD_NAME"]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"
    assert not {name for name in env if name.endswith("_TOKEN")}


def test_only_the_two_tokens_of_the_executors_are_mounted_and_read_only() -> None:
    pod = pod_of(build())
    [tokens] = [volume for volume in pod["volumes"] if "secret" in volume]
    assert {item["key"] for item in tokens["secret"]["items"]} == {"internal-api-token", "execute-api-token"}
    [mount] = [item for item in pod["containers"][0]["volumeMounts"] if item["name"] == tokens["name"]]
    assert mount["readOnly"] is True


def test_a_pool_chooses_its_image_size_and_runtime() -> None:
    deployment = build(
        image="mine:2",
        imagePullPolicy="Always",
        replicas=5,
        drainSeconds=100,
        isolation={"runtimeClassName": "gvisor"},
        resources={"limits": {"memory": "2Gi", "cpu": 2}},
    )
    pod = pod_of(deployment)
    assert deployment["spec"]["replicas"] == 5
    assert (pod["containers"][0]["image"], pod["containers"][0]["imagePullPolicy"]) == ("mine:2", "Always")
    assert pod["containers"][0]["resources"] == {"limits": {"memory": "2Gi", "cpu": 2}}
    assert pod["runtimeClassName"] == "gvisor"
    assert pod["terminationGracePeriodSeconds"] > 100


def test_what_runs_may_end_before_the_pod_does() -> None:
    pod = pod_of(build(drainSeconds=100))
    command = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert command[-2:] == ["executor_runtime.drain", "100"]
    assert "lifecycle" not in pod_of(build(drainSeconds=0))["containers"][0]


@pytest.mark.parametrize(
    ("spec", "size"),
    [
        ({}, "6144Mi"),  # four of 1 GiB, one more, and 1 GiB of ended ones
        ({"concurrency": 1, "limits": {"workspace": "100M"}}, "1215Mi"),
        ({"concurrency": 2, "defaults": {"resources": {"workspace": "2Gi"}}}, "7168Mi"),
        (
            {"concurrency": 2, "limits": {"workspace": "3Gi"}, "defaults": {"resources": {"workspace": "2Gi"}}},
            "10240Mi",
        ),
    ],
)
def test_the_workspace_volume_holds_what_executions_may_write(spec: dict[str, Any], size: str) -> None:
    volumes = {volume["name"]: volume for volume in pod_of(build(**spec))["volumes"]}
    assert volumes["workspace"]["emptyDir"] == {"sizeLimit": size}


def test_it_belongs_to_its_pool() -> None:
    [owner] = build("red")["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("ExecutorPool", "red", "uid-red")


def test_an_executor_that_fails_says_why_in_its_termination_message() -> None:
    assert pod_of(build())["containers"][0]["terminationMessagePolicy"] == "FallbackToLogsOnError"


@pytest.mark.parametrize("pool", ["default", "a" * 253, "a.b", "a-" * 40 + "a", "x" * 38])
def test_names_fit_wherever_they_are_used(pool: str) -> None:
    slug = names.pool_slug(pool)
    assert len(slug) <= 63
    assert len(names.deployment_name(pool)) + len("-0123456789-abcde") <= 63
    assert "." not in slug
    assert slug[0] not in "-."
    assert slug[-1] not in "-."


def test_different_pools_have_different_names() -> None:
    pools = ["a.b", "a-b", "a" * 60, "a" * 61, "a" * 62 + ".b"]
    assert len({names.deployment_name(pool) for pool in pools}) == len(pools)


def test_executors_learn_of_a_store_by_its_bounds_alone_and_have_the_disk_for_it() -> None:
    without = build_deployment(make_pool(), make_settings())
    store = {
        "object_store_url": "s3://outputs",
        "object_store_endpoint": "https://minio.example",
        "output_object_bytes": 30 * 2**20,
        "output_total_bytes": 90 * 2**20,
    }
    found = build_deployment(make_pool(concurrency=3), make_settings(**store))
    pod = found["spec"]["template"]["spec"]
    variables = {item["name"]: item.get("value") for item in pod["containers"][0]["env"]}
    assert (variables["OUTPUT_OBJECT_BYTES"], variables["OUTPUT_TOTAL_BYTES"]) == (str(30 * 2**20), str(90 * 2**20))
    assert "minio" not in str(found)
    assert "s3://" not in str(found)
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["results"]["emptyDir"] == {"sizeLimit": f"{1024 + 3 * 2 * 20}Mi"}
    assert "OUTPUT_" not in str(without)
    assert {"name": "results", "emptyDir": {"sizeLimit": "1Gi"}} in without["spec"]["template"]["spec"]["volumes"]
