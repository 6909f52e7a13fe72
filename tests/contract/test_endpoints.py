"""Request, result, errors and health as their models say (the seed's T013-T016)."""

from typing import Any

import httpx
import pytest

from contracts.errors import ErrorBody
from contracts.executor_api import ExecutionRequest, ExecutionResult, Health
from executor_runtime.openapi import REQUEST_EXAMPLE

pytestmark = pytest.mark.sandbox


def test_the_request_schema_has_every_field_and_the_seeds_bounds(document: dict[str, Any]) -> None:
    schema = document["components"]["schemas"]["ExecutionRequest"]
    assert set(schema["properties"]) == set(ExecutionRequest.model_fields)
    assert set(schema["required"]) == {"code", "language", "execution_id"}
    assert schema["additionalProperties"] is False
    timeout = schema["properties"]["timeout"]
    assert (timeout["minimum"], timeout["maximum"], timeout["default"]) == (1, 3600, 30)
    assert schema["properties"]["execution_id"]["pattern"] == r"^exec_[0-9]{8}_[a-z0-9]{8}$"
    assert schema["properties"]["language"]["enum"] == ["python", "javascript", "shell"]
    assert schema["properties"]["code"]["maxLength"] == 1_048_576


def test_the_documents_own_example_runs_and_its_result_has_every_field(
    client: httpx.Client, document: dict[str, Any]
) -> None:
    body = document["paths"]["/execute"]["post"]["requestBody"]["content"]["application/json"]
    assert body["example"] == REQUEST_EXAMPLE
    answer = client.post("/execute", json={**body["example"], "execution_id": "exec_20260116_example0"})
    assert answer.status_code == 200
    assert set(answer.json()) == set(ExecutionResult.model_fields)
    result = ExecutionResult.model_validate_json(answer.content)
    assert (result.status, result.stdout, result.return_value) == ("success", "seen world\n", {"hello": "world"})


def test_a_refused_request_has_every_field_of_an_error(client: httpx.Client) -> None:
    answer = client.post("/execute", json={**REQUEST_EXAMPLE, "timeout": 3601})
    assert answer.status_code == 400
    assert set(answer.json()) == set(ErrorBody.model_fields)
    assert ErrorBody.model_validate_json(answer.content).error_code == "Executor.ValidationError"


def test_health_has_every_field(client: httpx.Client) -> None:
    answer = client.get("/health")
    assert (answer.status_code, set(answer.json())) == (200, set(Health.model_fields))


def test_every_answer_is_described_with_an_example(document: dict[str, Any]) -> None:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for status, answer in operation["responses"].items():
                where = f"{method} {path} {status}"
                for media_type, described in answer["content"].items():
                    assert "schema" in described, where
                    assert "example" in described or media_type == "application/octet-stream", where
                if int(status) >= 400 and path != "/health":
                    assert described["schema"] == {"$ref": "#/components/schemas/ErrorBody"}, where
                    assert described["example"]["solution"], where


def test_all_methods_of_a_path_are_named(client: httpx.Client) -> None:
    answer = client.put("/executions/exec_20260116_example0")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "DELETE, GET")
    assert client.post("/openapi.json").headers["Allow"] == "GET"
