"""Request, result, errors and health as their models say (the seed's T013-T016)."""

from typing import Any

import httpx
import pytest

from contracts.errors import ErrorBody
from contracts.executor_api import (
    ATTEMPT_HEADER,
    EPOCH_HEADER,
    MAX_EPOCH,
    RUN_HEADER,
    ExecutionRequest,
    ExecutionResult,
    Health,
)
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


OF_A_STORE = {"outputs", "outputs_missing"}
"""Fields of a result that only an executor with an object store writes."""


def test_the_documents_own_example_runs_and_its_result_has_every_field(
    client: httpx.Client, document: dict[str, Any]
) -> None:
    body = document["paths"]["/execute"]["post"]["requestBody"]["content"]["application/json"]
    assert body["example"] == REQUEST_EXAMPLE
    answer = client.post("/execute", json={**body["example"], "execution_id": "exec_20260116_example0"})
    assert answer.status_code == 200
    assert set(answer.json()) == set(ExecutionResult.model_fields) - OF_A_STORE
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


def test_a_tombstone_keeps_a_late_request_out(client: httpx.Client) -> None:
    late = "exec_20260116_toolate0"
    for _ in range(2):
        answer = client.put(f"/executions/{late}/tombstone")
        assert (answer.status_code, answer.json()) == (201, {"execution_id": late, "state": "absent"})
    answer = client.post("/execute", json={**REQUEST_EXAMPLE, "execution_id": late})
    assert (answer.status_code, answer.json()["error_code"]) == (409, "Executor.Tombstone")
    assert client.get(f"/executions/{late}").status_code == 404
    assert client.delete(f"/executions/{late}").status_code == 404
    assert late not in [item["execution_id"] for item in client.get("/executions").json()["executions"]]


def test_a_known_execution_gets_no_tombstone_but_is_told(client: httpx.Client) -> None:
    known = "exec_20260116_known000"
    client.post("/execute", json={**REQUEST_EXAMPLE, "execution_id": known})
    answer = client.put(f"/executions/{known}/tombstone")
    assert (answer.status_code, answer.json()["state"]) == (200, "ended")
    assert answer.json() == client.get(f"/executions/{known}").json()


def test_an_earlier_leader_and_a_request_for_an_earlier_run_are_refused(client: httpx.Client) -> None:
    request = {**REQUEST_EXAMPLE, "execution_id": "exec_20260116_fenced00"}
    now, before = {EPOCH_HEADER: str(MAX_EPOCH)}, {EPOCH_HEADER: str(MAX_EPOCH - 1)}
    assert client.put("/executions/exec_20260116_anything/tombstone", headers=now).status_code == 201
    refused = [
        client.post("/execute", json=request, headers=before),
        client.delete("/executions/exec_20260116_fenced00", headers=before),
        client.put("/executions/exec_20260116_fenced00/tombstone", headers=before),
    ]
    assert {(answer.status_code, answer.json()["error_code"]) for answer in refused} == {(412, "Executor.StaleEpoch")}
    other = client.post("/execute", json=request, headers={RUN_HEADER: "0" * 32})
    assert (other.status_code, other.json()["error_code"]) == (412, "Executor.OtherRun")
    run_id = client.get("/health").json()["run_id"]
    assert client.post("/execute", json=request, headers={**now, RUN_HEADER: run_id}).status_code == 200
    assert client.get("/executions/exec_20260116_fenced00").json()["epoch"] == MAX_EPOCH


def test_a_later_attempt_is_another_run_under_the_same_id(client: httpx.Client) -> None:
    request = {**REQUEST_EXAMPLE, "execution_id": "exec_20260116_attempts"}
    path = "/executions/exec_20260116_attempts"
    assert client.post("/execute", json=request).status_code == 200
    assert client.put(f"{path}/tombstone", headers={ATTEMPT_HEADER: "2"}).status_code == 201
    assert client.post("/execute", json=request, headers={ATTEMPT_HEADER: "2"}).status_code == 409
    assert client.post("/execute", json=request, headers={ATTEMPT_HEADER: "3"}).status_code == 200
    assert client.get(path).json()["attempt"] == 3
    assert client.post("/execute", json=request).json()["error_code"] == "Executor.Tombstone"
    assert client.delete(path, headers={ATTEMPT_HEADER: "1"}).status_code == 404
