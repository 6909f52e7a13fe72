"""Objects for the unit tests, as the API server would hand them out."""

from datetime import UTC, datetime
from typing import Any

from contracts.control_plane_api import ResultReport
from contracts.tracing import TRACE_ANNOTATION
from controller.resources import Execution, Pod, Pool, parse_execution, parse_pod, parse_pool
from controller.settings import Settings

NOW = datetime(2026, 1, 15, 12, 0, 30, tzinfo=UTC)
EXECUTION_ID = "exec_20260115_a1b2c3d4"


def make_execution(
    name: str = "one", status: dict[str, Any] | None = None, *, traceparent: str = "", **spec: Any
) -> Execution:
    body = {
        "metadata": {
            "name": name,
            "namespace": "tenant",
            "uid": f"uid-{name}",
            "resourceVersion": "7",
            "generation": 1,
            "creationTimestamp": "2026-01-15T12:00:00Z",
            **({"annotations": {TRACE_ANNOTATION: traceparent}} if traceparent else {}),
        },
        "spec": {"code": "def handler(event): return 1", "language": "python", **spec},
        "status": status or {},
    }
    body["spec"] = {key: value for key, value in body["spec"].items() if value is not None}
    return parse_execution(body)


def make_pool(name: str = "default", **spec: Any) -> Pool:
    return parse_pool({"metadata": {"name": name, "uid": f"uid-{name}", "generation": 3}, "spec": spec})


def make_pod(name: str = "pod-1", pool: str = "default", **status: Any) -> Pod:
    body = {
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "labels": {"sandbox-executor.dev/pool": pool},
            "annotations": {"sandbox-executor.dev/pool-name": pool},
        },
        "spec": {"nodeName": "node-1", "containers": [{"name": "executor"}]},
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.1",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "executor", "state": {"running": {}}, "restartCount": 0}],
            **status,
        },
    }
    pod = parse_pod(body)
    assert pod is not None
    return pod


def make_report(**fields: Any) -> ResultReport:
    return ResultReport.model_validate(
        {
            "execution_id": EXECUTION_ID,
            "status": "success",
            "reason": "Completed",
            "exit_code": 0,
            "execution_time": 0.5,
            "metrics": {"duration_ms": 500.0},
            **fields,
        }
    )


def make_settings(**values: Any) -> Settings:
    return Settings.model_validate(
        {
            "operator_namespace": "sandbox-system",
            "executor_image": "registry.example/executor:1",
            "executor_secret_name": "tokens",
            "service_name": "sandbox-executor-controller",
            "internal_api_token_file": "/nonexistent/internal",
            "execute_api_token_file": "/nonexistent/execute",
            "report_key_file": "/nonexistent/key",
            "seccomp_profile": "sandbox-executor/executor.json",
            **values,
        }
    )
