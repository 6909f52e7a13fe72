"""Without an object store nothing of it is said; with one, what is said comes back the same."""

import pytest
from pydantic import ValidationError
from pydantic_core import to_json

from contracts import bounds
from contracts.control_plane_api import ResultReport
from contracts.executor_api import ExecutionMetrics, ExecutionResult
from contracts.outputs import OutputMetadata, OutputsMissing, Upload, UploadRequest

RESULT = ExecutionResult(
    execution_id="exec_20260115_a1b2c3d4",
    status="success",
    reason="Completed",
    exit_code=0,
    execution_time=0.1,
    metrics=ExecutionMetrics(duration_ms=100),
)
OUTPUT = OutputMetadata(name="stdout", size=5, sha256="0" * 64)


def test_a_result_that_has_none_is_the_json_that_it_was() -> None:
    for found in (to_json(RESULT), RESULT.model_dump_json().encode(), to_json(ResultReport.of(RESULT))):
        assert b"output" not in found


def test_what_is_stored_and_what_is_not_comes_back_from_json() -> None:
    missing = OutputsMissing(reason="OutputTooLarge", message="b")
    result = RESULT.model_copy(update={"outputs": [OUTPUT], "outputs_missing": missing})
    report = ResultReport.model_validate_json(to_json(ResultReport.of(result)), strict=True)
    assert (report.outputs, report.outputs_missing) == ([OUTPUT], missing)
    assert ExecutionResult.model_validate_json(to_json(result)) == result
    assert b"truncated" not in to_json(OUTPUT)


def test_a_url_shows_in_no_repr() -> None:
    assert "secret" not in repr(Upload(url="https://store/?signature=secret"))


@pytest.mark.parametrize(
    "changed",
    [
        {"sha256": "../../other"},
        {"sha256": "0" * 63},
        {"sha256": "A" * 64},
        {"size": -1},
        {"size": bounds.MAX_INT64 + 1},
        {"name": ""},
        {"name": "x" * 1025},
    ],
)
def test_what_is_no_output_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        UploadRequest.model_validate({"outputs": [{**OUTPUT.model_dump(), **changed}]})


def test_as_many_are_asked_for_as_a_status_has_room_for() -> None:
    rows = [OUTPUT.model_dump()] * bounds.MAX_OUTPUTS
    assert len(UploadRequest.model_validate({"outputs": rows}).outputs) == bounds.MAX_OUTPUTS
    for wrong in ([], [*rows, OUTPUT.model_dump()]):
        with pytest.raises(ValidationError):
            UploadRequest.model_validate({"outputs": wrong})
