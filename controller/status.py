"""The one fold: every change of an Execution's status is ``advance(status, fact)``.

Pure, so that its table can be tested whole. Phases only move forward; a late or repeated
fact, and one about an older attempt, changes nothing.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from contracts import bounds
from contracts.control_plane_api import ResultReport
from contracts.execution import (
    TERMINAL_PHASES,
    ExecutionError,
    ExecutionStatus,
    Phase,
    StatusArtifact,
    StatusMetrics,
)
from contracts.kube import Condition
from controller.conditions import MESSAGE_LENGTH, ConditionStatus, find_condition, make_condition, merge_conditions
from controller.facts import (
    Cancelled,
    Claimed,
    ContainerLost,
    Fact,
    HeartbeatSeen,
    OutputsSeen,
    Reclaimed,
    Refused,
    Relayed,
    ResultSeen,
    Waits,
)
from controller.storable import TAILS, can_store

SCHEDULED: Final = "Scheduled"
FINISHED: Final = "Finished"
SUCCEEDED: Final = "Succeeded"
REPORTED: Final = "Reported"
OUTPUTS_STORED: Final = "OutputsStored"
STORED: Final = "Stored"
RETRYING: Final = "Retrying"
"""Reason of the condition Scheduled between two attempts."""

_PHASE_OF_REPORT: Final[Mapping[str, Phase]] = {
    "success": "Succeeded",
    "failed": "Failed",
    "timeout": "TimedOut",
    "crashed": "Crashed",
}
_PATH_LENGTH: Final = 1024


def advance(status: ExecutionStatus, fact: Fact, generation: int | None = None) -> ExecutionStatus | None:
    """The status once the fact is known; None when it changes nothing.

    Args:
        status: the status as it was read.
        fact: what has been learned.
        generation: the generation of the spec that was acted on, for ``observedGeneration``.
    """
    if status.phase in TERMINAL_PHASES:
        return _report(status, fact, generation) if isinstance(fact, Relayed) else None
    after = _fold(status, fact, generation)
    if after is None or after == status:
        return None
    return after.model_copy(update={"observed_generation": generation}) if generation is not None else after


def _fold(status: ExecutionStatus, fact: Fact, generation: int | None) -> ExecutionStatus | None:
    running = status.phase == "Running"
    match fact:
        case Waits():
            return None if running else _wait(status, fact, generation)
        case Claimed():
            # What runs is never claimed over: another leader may have claimed it, and its executor may have it.
            return None if running or fact.attempt <= (status.attempt or 0) else _claim(status, fact, generation)
        case Reclaimed() if running and (fact.attempt, fact.executor_run) == (status.attempt, status.executor_run):
            return status.model_copy(update={"start_time": fact.time})
        case Refused():
            return _refuse(status, fact, generation)
        case Cancelled():
            return _end(status, "Cancelled", "Cancelled", fact.message, fact.time, generation)
        case HeartbeatSeen() if running and fact.attempt == status.attempt:
            return _beat(status, fact)
        case ResultSeen() if running and fact.attempt == status.attempt:
            if fact.retry and fact.report.status == "crashed":
                return _retry(status, fact.report.reason, fact.time, generation)
            return _finish(status, fact, generation)
        case ContainerLost() if running and fact.attempt == status.attempt:
            if fact.retry:
                return _retry(status, fact.reason, fact.time, generation)
            return _crash(status, fact, generation)
    return None


def _retry(status: ExecutionStatus, reason: str, now: datetime, generation: int | None) -> ExecutionStatus:
    """What ran the attempt is gone: it waits for another one. The attempt's number stays until that is claimed.

    The only way back from Running: attempt and phase together still move forward only.
    """
    message = f"attempt {status.attempt} was lost ({reason}); it may have run in part, and another one follows"
    condition = make_condition(SCHEDULED, "False", RETRYING, message, now, generation)
    gone = ("pod_name", "node_name", "executor_run", "start_time", "last_heartbeat_time", "progress", *TAILS)
    return status.model_copy(
        update={
            **dict.fromkeys(gone),
            "phase": "Pending",
            "conditions": merge_conditions(status.conditions, condition),
        }
    )


def _report(status: ExecutionStatus, fact: Relayed, generation: int | None) -> ExecutionStatus | None:
    """What the Control Plane has heard; once it has heard the end, that stays so."""
    before = find_condition(status.conditions, REPORTED)
    if before is not None and before.status == "True":
        return None
    condition = make_condition(REPORTED, fact.status, fact.reason, fact.message, fact.time, generation)
    after = status.model_copy(update={"conditions": merge_conditions(status.conditions, condition)})
    return None if after == status else after


def _wait(status: ExecutionStatus, fact: Waits, generation: int | None) -> ExecutionStatus | None:
    before = find_condition(status.conditions, SCHEDULED)
    if status.phase == "Pending" and before is not None and before.reason == fact.reason:
        return None
    condition = make_condition(SCHEDULED, "False", fact.reason, fact.message, fact.time, generation)
    return status.model_copy(update={"phase": "Pending", "conditions": merge_conditions(status.conditions, condition)})


def _claim(status: ExecutionStatus, fact: Claimed, generation: int | None) -> ExecutionStatus:
    condition = make_condition(
        SCHEDULED, "True", "Scheduled", f"attempt {fact.attempt} runs on pod {fact.pod_name}", fact.time, generation
    )
    return status.model_copy(
        update={
            "phase": "Running",
            "conditions": merge_conditions(status.conditions, condition),
            "execution_id": fact.execution_id,
            "attempt": fact.attempt,
            "pod_name": fact.pod_name,
            "node_name": fact.node_name or None,
            "executor_run": fact.executor_run or None,
            "start_time": fact.time,
        }
    )


def _beat(status: ExecutionStatus, fact: HeartbeatSeen) -> ExecutionStatus | None:
    if status.last_heartbeat_time is not None and fact.time <= status.last_heartbeat_time:
        return None
    update: dict[str, Any] = {"last_heartbeat_time": fact.time}
    if fact.progress is not None and can_store(fact.progress):
        update["progress"] = fact.progress
    for name, text in zip(TAILS, (fact.tails.stdout, fact.tails.stderr), strict=True):
        if text is not None:
            update[name] = cut_tail(text)
    return status.model_copy(update=update)


def _refuse(status: ExecutionStatus, fact: Refused, generation: int | None) -> ExecutionStatus:
    ended = _end(status, "Rejected", fact.reason, fact.message, fact.time, generation)
    error = ExecutionError(
        error_code=f"Controller.{fact.reason}",
        description=fact.message[:MESSAGE_LENGTH],
        solution=fact.solution[:MESSAGE_LENGTH],
    )
    return ended.model_copy(update={"error": error})


def _crash(status: ExecutionStatus, fact: ContainerLost, generation: int | None) -> ExecutionStatus:
    ended = _end(status, "Crashed", fact.reason, fact.message, fact.time, generation)
    error = ExecutionError(
        error_code=f"Controller.{fact.reason}",
        description=fact.message[:MESSAGE_LENGTH],
        solution="the code may have run in part: make sure that it may run again, then create the Execution anew",
    )
    return ended.model_copy(update={"error": error})


def _finish(status: ExecutionStatus, fact: ResultSeen, generation: int | None) -> ExecutionStatus:
    report = fact.report
    phase: Phase = _PHASE_OF_REPORT[report.status]
    if report.reason == "Cancelled":
        phase = "Cancelled"
    message = report.message or _sentence(report, phase)
    ended = _end(status, phase, report.reason, message, fact.time, generation)
    update = {"exit_code": report.exit_code, **_streams(report), **_return_value(report), **_artifacts(report)}
    update["metrics"] = StatusMetrics.model_validate(report.metrics.model_dump())
    if phase in ("Crashed", "TimedOut") or report.reason == "SandboxError":
        description = message[:MESSAGE_LENGTH]
        update["error"] = ExecutionError(error_code=f"Executor.{report.reason}", description=description)
    if fact.outputs is not None:
        stored = _stored(fact.outputs, fact.time, generation)
        update |= {"outputs": list(fact.outputs.kept) or None}
        update |= {"conditions": merge_conditions(ended.conditions, stored)}
    return ended.model_copy(update=update)


def _stored(outputs: OutputsSeen, now: datetime, generation: int | None) -> Condition:
    if outputs.missing is not None:
        return make_condition(OUTPUTS_STORED, "False", outputs.missing.reason, outputs.missing.message, now, generation)
    size = sum(output.size for output in outputs.kept)
    message = f"{len(outputs.kept)} outputs of {size} bytes are in the object store"
    return make_condition(OUTPUTS_STORED, "True", STORED, message, now, generation)


def _end(
    status: ExecutionStatus, phase: Phase, reason: str, message: str, now: datetime, generation: int | None
) -> ExecutionStatus:
    """What every end has in common: the phase, both times and the three conditions."""
    conditions = [
        make_condition(FINISHED, "True", reason, message, now, generation),
        make_condition(SUCCEEDED, _truth(phase == "Succeeded"), reason, message, now, generation),
    ]
    if status.phase != "Running":
        conditions.insert(0, make_condition(SCHEDULED, "False", reason, message, now, generation))
    update: dict[str, Any] = {
        "phase": phase,
        "completion_time": now,
        "conditions": merge_conditions(status.conditions, *conditions),
        **dict.fromkeys(TAILS),
    }
    if status.start_time is not None:
        update["duration"] = format_duration((now - status.start_time).total_seconds())
    return status.model_copy(update=update)


def _truth(value: bool) -> ConditionStatus:
    return "True" if value else "False"


def _sentence(report: ResultReport, phase: Phase) -> str:
    sentences = {
        "Succeeded": "the code ended with exit code 0",
        "Failed": f"the code ended with exit code {report.exit_code}",
        "TimedOut": "the code ran longer than spec.timeoutSeconds and was killed",
        "Cancelled": "the code was killed because the Execution was cancelled",
    }
    return sentences.get(phase, "the executor ended while the code ran; it may have run in part")


def _streams(report: ResultReport) -> dict[str, Any]:
    update: dict[str, Any] = {}
    for name, text, truncated in (
        ("stdout", report.stdout, report.stdout_truncated),
        ("stderr", report.stderr, report.stderr_truncated),
    ):
        raw = text.encode("utf-8", "replace")
        update[name] = utf8_tail(raw, bounds.STATUS_STREAM_BYTES)
        update[f"{name}_bytes"] = len(raw)
        update[f"{name}_truncated"] = truncated or len(raw) > bounds.STATUS_STREAM_BYTES
    return update


def _return_value(report: ResultReport) -> dict[str, Any]:
    size = len(json.dumps(report.return_value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace"))
    if size > bounds.STATUS_RETURN_VALUE_BYTES or not can_store(report.return_value):
        return {"return_value": None, "return_value_truncated": True}
    return {"return_value": report.return_value, "return_value_truncated": None}


def fits_status(report: ResultReport) -> bool:
    """Whether a status has room for all of a result."""
    kept = {**_streams(report), **_return_value(report), **_artifacts(report)}
    streams = max(kept["stdout_bytes"], kept["stderr_bytes"])
    whole = kept["artifacts_total"] == len(kept["artifacts"] or ()) and not kept["return_value_truncated"]
    return whole and streams <= bounds.STATUS_STREAM_BYTES


def _artifacts(report: ResultReport) -> dict[str, Any]:
    kept = [
        StatusArtifact(path=item.path[:_PATH_LENGTH], size=item.size, mime_type=item.mime_type, type=item.type)
        for item in report.artifact_metadata[: bounds.STATUS_ARTIFACTS]
    ]
    total = max(len(report.artifacts), len(report.artifact_metadata))
    return {"artifacts": kept or None, "artifacts_total": total}


def utf8_tail(raw: bytes, limit: int) -> str:
    """The last ``limit`` bytes of UTF-8 text at most, beginning at a whole character."""
    if len(raw) <= limit:
        return raw.decode()
    start = len(raw) - limit
    while start < len(raw) and raw[start] & 0xC0 == 0x80:
        start += 1
    return raw[start:].decode()


def cut_tail(text: str) -> str:
    """As much of the end of a stream as a status shows while it is being written."""
    return utf8_tail(text.encode("utf-8", "replace"), bounds.STATUS_TAIL_BYTES)


def format_duration(seconds: float) -> str:
    """For people: ``0.04s``, ``1.24s``, ``3m05s``, ``1h02m``."""
    seconds = max(seconds, 0.0)
    if seconds < 60:
        return f"{seconds:.2f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s"


def condition_of(status: ExecutionStatus, kind: str) -> Condition | None:
    """One of the status's conditions."""
    return find_condition(status.conditions, kind)
