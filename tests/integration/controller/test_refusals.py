"""What the API server itself refuses, with the message that says what to write instead."""

from typing import Any

import pytest

from contracts import files
from contracts.kube import API_VERSION
from controller import names
from tests.integration.controller.apiserver import ApiError
from tests.integration.controller.cluster import Cluster

_CODE = "def handler(event): return 1"
_FILES = [{"path": "a", "inline": "a"}]


async def refuse(cluster: Cluster, spec: dict[str, Any], query: str = "") -> str:
    body = {"apiVersion": API_VERSION, "kind": "Execution", "metadata": {"name": "bad"}, "spec": spec}
    with pytest.raises(ApiError) as refused:
        await cluster.call("POST", names.executions_path("default") + query, body)
    assert refused.value.status in (400, 422)
    return refused.value.message


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"code": _CODE, "language": "ruby"}, 'supported values: "python", "javascript", "shell"'),
        ({"code": _CODE}, "spec.language: Required value"),
        ({"code": _CODE, "timeoutSeconds": 0}, "greater than or equal to 1"),
        ({"code": _CODE, "timeoutSeconds": 3601}, "less than or equal to 3600"),
        ({"code": "x" * 1_048_577}, "code is larger than 1 MiB (1048576 bytes)"),
        ({"code": "é" * 524_289}, "code is larger than 1 MiB (1048576 bytes)"),
        ({"code": _CODE, "stdin": "x" * 1_048_577}, "stdin is larger than 1 MiB"),
        ({"code": _CODE, "executionId": "exec_1"}, "for example exec_20260115_a1b2c3d4"),
        ({}, "exactly one of the two"),
        ({"code": _CODE, "codeFrom": {"configMapKeyRef": {"name": "a", "key": "b"}}}, "exactly one of the two"),
        ({"code": _CODE, "resources": {"memory": "lots"}}, "for example 256Mi or 1Gi"),
        ({"code": _CODE, "env": [{"name": "A"}, {"name": "A"}]}, "Duplicate value"),
        ({"code": _CODE, "env": [{"name": "1"}]}, "should match"),
        (
            {
                "code": _CODE,
                "env": [{"name": "A", "value": "b", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
            },
            "write value or valueFrom",
        ),
        *(
            ({"code": _CODE, "files": [{"path": path, "inline": ""}]}, files.RELATIVE_MESSAGE)
            for path in ("/etc/passwd", "a/", "a//b", "../a", "a/../b", "./a", ".", "..")
        ),
        ({"code": _CODE, "files": [{"path": "a\nb", "inline": ""}]}, files.CONTROL_MESSAGE),
        ({"code": _CODE, "files": [{"path": "a\x7f", "inline": ""}]}, files.CONTROL_MESSAGE),
        ({"code": _CODE, "files": [{"path": "é" * 128, "inline": ""}]}, files.LENGTH_MESSAGE),
        ({"code": _CODE, "files": [{"path": "/".join("a" * 17), "inline": ""}]}, files.DEPTH_MESSAGE),
        ({"code": _CODE, "files": [{"path": ".progress.json", "inline": "{}"}]}, files.RESERVED_MESSAGE),
        ({"code": _CODE, "files": [{"path": ".progress.json/x", "inline": "{}"}]}, files.RESERVED_MESSAGE),
        ({"code": _CODE, "files": [{"path": "a", "inline": ""}] * 2}, "Duplicate value"),
        ({"code": _CODE, "files": [{"path": "a", "inline": ""}, {"path": "a/b", "inline": ""}]}, files.NESTED_MESSAGE),
        ({"code": _CODE, "files": [{"path": "a"}]}, "write exactly one of inline, inlineBase64, configMapKeyRef"),
        (
            {"code": _CODE, "files": [{"path": "a", "inline": "", "inlineBase64": "YQ=="}]},
            "write exactly one of inline",
        ),
        (
            {"code": _CODE, "files": [{"path": "a", "inline": "x" * 600_000}, {"path": "b", "inline": "x" * 600_000}]},
            "put large ones into ConfigMaps",
        ),
        ({"code": _CODE, "files": [{"path": str(number), "inline": ""} for number in range(65)]}, "at most 64 items"),
    ],
)
async def test_a_new_execution_is_refused(cluster: Cluster, spec: dict[str, Any], says: str) -> None:
    given = spec if spec == {"code": _CODE} else {"language": "python", **spec}
    assert says in await refuse(cluster, given)


async def test_an_unknown_field_is_refused_in_a_strict_request(cluster: Cluster) -> None:
    spec = {"code": _CODE, "language": "python", "timeout": 5}
    assert 'unknown field "spec.timeout"' in await refuse(cluster, spec, "?fieldValidation=Strict")


async def test_a_megabyte_of_code_and_any_json_event_are_taken(cluster: Cluster) -> None:
    for number, event in enumerate([None, 1, "text", [1, {"a": None}], {"a": {"b": None}}]):
        created = await cluster.create_execution(f"good-{number}", code="x" * 1_048_576, event=event, pool="none")
        if event is not None:
            assert created["spec"]["event"] == event


async def test_files_at_their_bounds_are_taken(cluster: Cluster) -> None:
    given = [{"path": f"{'é' * 120}/{number}", "inline": "x"} for number in range(62)]
    given += [
        {"path": "/".join("a" * 16), "inline": "x" * 500_000},
        {"path": "b", "inlineBase64": f"{'/+//' * 100_000}/+8="},
    ]
    created = await cluster.create_execution("with-files", files=given, pool="none")
    assert created["spec"]["files"] == given


@pytest.mark.parametrize(
    "change",
    [
        {"files": [{"path": "a", "inline": "other"}]},
        {"files": []},
        {"code": "def handler(event): return 2"},
        {"stdin": "now there"},
        {"timeoutSeconds": 5},
        {"env": [{"name": "A", "value": "c"}]},
        {"pool": "other"},
        {"ttlSecondsAfterFinished": 1},
        {"executionId": "exec_20260101_aaaaaaaa"},
        {"language": "shell"},
    ],
)
async def test_a_changed_spec_is_refused(cluster: Cluster, change: dict[str, Any]) -> None:
    await cluster.create_execution(
        "fixed", event={"a": 1}, env=[{"name": "A", "value": "b"}], files=_FILES, pool="none"
    )
    path = names.execution_path("default", "fixed")
    with pytest.raises(ApiError) as refused:
        await cluster.call("PATCH", path, {"spec": change}, kind="application/merge-patch+json")
    assert "spec cannot be changed once created, except spec.cancel: create a new Execution" in refused.value.message


async def test_cancel_can_be_set_and_not_taken_back(cluster: Cluster) -> None:
    await cluster.create_execution("stopped", pool="none")
    path = names.execution_path("default", "stopped")
    await cluster.call("PATCH", path, {"spec": {"cancel": True}}, kind="application/merge-patch+json")
    with pytest.raises(ApiError, match="cannot be taken back"):
        await cluster.call("PATCH", path, {"spec": {"cancel": False}}, kind="application/merge-patch+json")
