"""What the models refuse, and with which words."""

import re
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from contracts.control_plane_api import ResultReport
from contracts.execution import ExecutionSpec, ExecutionStatus, StatusMetrics
from contracts.executor_api import ExecutionMetrics, ExecutionRequest, ExecutionResult, request_digest_fields
from contracts.ids import EXECUTION_ID_PATTERN, derive_execution_id
from contracts.kube import quantity_bytes

GOOD: dict[str, Any] = {"code": "def handler(event): return 1", "language": "python"}


def _refusal(**changes: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        ExecutionSpec.model_validate({**GOOD, **changes})
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"language": "ruby"}, "'python', 'javascript' or 'shell'"),
        ({"timeoutSeconds": 0}, "greater than or equal to 1"),
        ({"timeoutSeconds": 3601}, "less than or equal to 3600"),
        ({"timeoutSeconds": "30"}, "valid integer"),
        ({"code": "é" * 524_289}, "at most 1048576 bytes"),
        ({"executionId": "exec_1"}, "exec_20260115_a1b2c3d4"),
        ({"executionId": "exec_20260115_a1b2c3d4\n"}, "exec_20260115_a1b2c3d4"),
        ({"unknown": 1}, "Extra inputs are not permitted"),
        ({"code": None}, "exactly one of the two"),
        ({"codeFrom": {"configMapKeyRef": {"name": "a", "key": "b"}}}, "exactly one of the two"),
        ({"resources": {"memory": "lots"}}, "256Mi"),
        ({"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}, "stands twice"),
        ({"env": [{"name": "A=B", "value": "1"}]}, "String should match pattern"),
    ],
)
def test_a_bad_spec_is_refused_and_told_what_to_write(changes: dict[str, Any], says: str) -> None:
    assert says in _refusal(**changes)


def test_a_spec_says_whether_it_has_an_event_even_a_null_one() -> None:
    assert not ExecutionSpec.model_validate(GOOD).event_given
    assert ExecutionSpec.model_validate({**GOOD, "event": None}).event_given


@given(st.uuids(), st.dates(min_value=date(2020, 1, 1), max_value=date(2100, 1, 1)))
def test_a_derived_id_has_the_pattern_and_never_changes(uid: Any, created: date) -> None:
    first = derive_execution_id(created, str(uid))
    assert re.fullmatch(EXECUTION_ID_PATTERN, first)
    assert first == derive_execution_id(created, str(uid))


@pytest.mark.parametrize(("quantity", "size"), [("1", 1), ("2k", 2000), ("256Mi", 268_435_456), ("1Gi", 2**30)])
def test_quantities_are_read_as_kubernetes_reads_them(quantity: str, size: int) -> None:
    assert quantity_bytes(quantity) == size


@pytest.mark.parametrize("quantity", ["", "Mi", "1.5Gi", "-1", "1mi", "١Mi", "1MiMi"])
def test_what_is_no_quantity_is_refused(quantity: str) -> None:
    with pytest.raises(ValueError, match="256Mi"):
        quantity_bytes(quantity)


def test_status_goes_out_in_camel_case_without_what_is_not_set() -> None:
    status = ExecutionStatus(phase="Running", metrics=StatusMetrics(duration_ms=1.5, peak_memory_mb=2))
    assert status.to_kube() == {
        "phase": "Running",
        "metrics": {
            "durationMs": 1.5,
            "cpuTimeMs": 0.0,
            "peakMemoryMB": 2.0,
            "ioReadBytes": 0,
            "ioWriteBytes": 0,
        },
    }


def test_the_report_token_neither_shows_nor_makes_a_request_another() -> None:
    fields = {"code": "x", "language": "python", "execution_id": "exec_20260115_a1b2c3d4"}
    plain = ExecutionRequest.model_validate(fields)
    secret = ExecutionRequest.model_validate({**fields, "report_token": "hush-hush"})
    assert "hush" not in repr(secret)
    assert "hush" not in secret.model_dump_json()
    assert request_digest_fields(plain) == request_digest_fields(secret)


def test_an_error_is_reported_as_failed_and_everything_else_as_it_is() -> None:
    result = ExecutionResult(
        execution_id="exec_20260115_a1b2c3d4",
        status="error",
        reason="SandboxError",
        stderr="bwrap: no",
        exit_code=-1,
        execution_time=0.1,
        metrics=ExecutionMetrics(duration_ms=100),
    )
    report = ResultReport.of(result)
    assert (report.status, report.reason, report.stderr) == ("failed", "SandboxError", "bwrap: no")
    assert ResultReport.of(result.model_copy(update={"status": "timeout"})).status == "timeout"
