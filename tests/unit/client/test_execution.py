"""An Execution as the client's reader sees it."""

import re

from contracts.ids import EXECUTION_ID_PATTERN
from sandbox_executor_client import Artifact, Execution, ExecutionFailure, new_execution_id
from sandbox_executor_client.execution import name_of

METADATA = {"name": "x", "namespace": "n", "uid": "u", "resourceVersion": "1"}


def test_one_that_nobody_has_seen_is_pending() -> None:
    execution = Execution({"metadata": METADATA, "spec": {"language": "python"}})
    assert (execution.phase, execution.finished, execution.attempt, execution.failure) == ("Pending", False, 0, None)
    assert (execution.stdout, execution.return_value, execution.artifacts) == ("", None, [])
    assert str(execution) == "n/x Pending"


def test_all_of_a_status_can_be_read_and_unknown_fields_are_ignored() -> None:
    status = {
        "phase": "Failed",
        "ofTheFuture": {"a": 1},
        "conditions": [
            {"type": "Scheduled", "reason": "Placed", "message": "on a pod"},
            {"type": "Finished", "reason": "NonZeroExit", "message": "exit code 3"},
        ],
        "executionId": "exec_20260115_a1b2c3d4",
        "attempt": 2,
        "exitCode": 3,
        "stdout": "out",
        "stderr": "err",
        "stderrTruncated": True,
        "returnValue": {"a": None},
        "metrics": {"durationMs": 1.5},
        "artifacts": [{"path": "a/b.txt", "size": 3, "mimeType": "text/plain", "type": "output"}],
        "error": {"errorCode": "Execution.Failed", "description": "it failed", "solution": "look at stderr"},
    }
    execution = Execution({"metadata": METADATA, "spec": {}, "status": status})
    assert (execution.phase, execution.reason, execution.message) == ("Failed", "NonZeroExit", "exit code 3")
    assert (execution.finished, execution.succeeded, execution.truncated) == (True, False, True)
    assert (execution.execution_id, execution.attempt, execution.exit_code) == ("exec_20260115_a1b2c3d4", 2, 3)
    assert execution.metrics == {"durationMs": 1.5}
    assert execution.artifacts == [Artifact("a/b.txt", 3, "text/plain", "output")]
    assert execution.failure == ExecutionFailure("Execution.Failed", "it failed", "", "look at stderr", "")
    assert str(execution) == "n/x Failed (NonZeroExit)"


def test_new_ids_are_well_formed_distinct_and_name_an_object() -> None:
    ids = {new_execution_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(re.fullmatch(EXECUTION_ID_PATTERN, execution_id) for execution_id in ids)
    assert name_of("exec_20260115_a1b2c3d4") == "exec-20260115-a1b2c3d4"
