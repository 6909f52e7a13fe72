"""What the Control Plane is told of an end, made from what the API server keeps.

Always from there, never from memory: so a controller that has just started says the same, byte for
byte, as the one before it, and a Control Plane can tell a repeat from a contradiction.
"""

import hashlib
from typing import Any, Final, get_args

from contracts.control_plane_api import CrashReason, ReportStatus, ResultReport, result_path
from contracts.execution import Phase
from contracts.executor_api import ArtifactMetadata, ExecutionMetrics, Reason
from controller.clients.control_plane import Call
from controller.resources import Execution
from controller.status import FINISHED, condition_of

_STATUS_OF_PHASE: Final[dict[Phase, ReportStatus]] = {
    "Succeeded": "success",
    "Failed": "failed",
    "TimedOut": "timeout",
    "Crashed": "crashed",
    "Cancelled": "failed",
    "Rejected": "failed",
}
_REASONS: Final = frozenset(get_args(Reason)) | frozenset(get_args(CrashReason))
_UNKNOWN_REASON: Final[dict[Phase, str]] = {"Crashed": "ExecutorLost", "Cancelled": "Cancelled", "Rejected": "Rejected"}
_NO_CODE: Final = -1


def build_report(execution: Execution) -> ResultReport:
    """The result of an Execution that has ended, as its status has it."""
    status = execution.status
    phase: Phase = status.phase or "Crashed"
    finished = condition_of(status, FINISHED)
    reason, message = (finished.reason, finished.message) if finished else ("", "")
    if reason not in _REASONS:
        reason, message = _UNKNOWN_REASON.get(phase, "SandboxError"), f"{reason}: {message}"
    duration_ms = status.metrics.duration_ms if status.metrics else 0.0
    artifacts = [ArtifactMetadata.model_validate(item.model_dump()) for item in status.artifacts or ()]
    fields: dict[str, Any] = {
        "execution_id": execution.execution_id,
        "status": _STATUS_OF_PHASE[phase],
        "reason": reason,
        "message": message,
        "stdout": status.stdout or "",
        "stderr": status.stderr or "",
        "stdout_truncated": bool(status.stdout_truncated),
        "stderr_truncated": bool(status.stderr_truncated),
        "exit_code": _NO_CODE if status.exit_code is None else status.exit_code,
        "execution_time": round(duration_ms / 1000, 6),
        "return_value": status.return_value,
        "return_value_truncated": bool(status.return_value_truncated),
        "metrics": status.metrics.model_dump() if status.metrics else ExecutionMetrics(duration_ms=0.0),
        "artifacts": [artifact.path for artifact in artifacts],
        "artifact_metadata": artifacts,
    }
    return ResultReport.model_validate(fields)


def complete(kept: ResultReport, whole: ResultReport) -> ResultReport:
    """The report made from the status, with what the status has no room for as the executor sent it."""
    fields = ("stdout", "stderr", "stdout_truncated", "stderr_truncated", "return_value")
    update: dict[str, Any] = {name: getattr(whole, name) for name in fields}
    update.update(artifacts=whole.artifacts, artifact_metadata=whole.artifact_metadata, return_value_truncated=False)
    return kept.model_copy(update=update)


def build_farewell(execution_id: str, *, ended: bool) -> ResultReport:
    """For an Execution that somebody deleted: while it ran, or after its end and before that was told."""
    if ended:
        status, reason = "crashed", "Deleted"
        message = "the Execution was deleted before its result was told; its result is not known any more"
    else:
        status, reason = "failed", "Cancelled"
        message = "the Execution was deleted before it ended; what ran of it was killed"
    return ResultReport.model_validate(
        {
            "execution_id": execution_id,
            "status": status,
            "reason": reason,
            "message": message,
            "exit_code": _NO_CODE,
            "execution_time": 0.0,
            "metrics": {"duration_ms": 0.0},
        }
    )


def result_call(report: ResultReport) -> Call:
    """The call that tells a result; its key is the same for each attempt at the same words, and for no others."""
    body = report.model_dump_json().encode()
    key = f"{report.execution_id}-{hashlib.sha256(body).hexdigest()[:32]}"
    return Call(result_path(report.execution_id), body, key)
