"""The Control Plane's internal API, which an executor calls (the seed's US2, US4 and US5).

The controller serves it to executors; a real Control Plane serves it to an executor that
runs alone. Paths are relative to ``CONTROL_PLANE_URL``, which may carry a prefix.
"""

from datetime import datetime
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from contracts.executor_api import (
    ArtifactMetadata,
    ExecutionId,
    ExecutionMetrics,
    ExecutionResult,
    ExitCode,
    Reason,
    Seconds,
)
from contracts.outputs import OutputMetadata, OutputsMissing, is_empty

ReportStatus = Literal["success", "failed", "timeout", "crashed"]
ExitReason = Literal["normal", "sigterm", "sigkill", "oom_killed", "error"]
CrashReason = Literal[
    "PodTerminated",
    "ContainerKilled",
    "OutOfMemory",
    "ExecutorExited",
    "ExecutorError",
    "Evicted",
    "ExecutorLost",
]
"""What ended the executor under an execution; an executor itself knows the first one only."""
UnrunReason = Literal["Rejected", "Deleted"]
"""From the controller only: it never ran (``message`` says why), or its Execution was deleted before this was told."""

CONTAINER_READY_PATH = "/internal/containers/ready"
CONTAINER_EXITED_PATH = "/internal/containers/exited"


def heartbeat_path(execution_id: str) -> str:
    """Where heartbeats of this execution go."""
    return f"/internal/executions/{execution_id}/heartbeat"


def result_path(execution_id: str) -> str:
    """Where the result of this execution goes."""
    return f"/internal/executions/{execution_id}/result"


def uploads_path(execution_id: str) -> str:
    """Where an executor asks for URLs for what it stores of this execution (``contracts.outputs``)."""
    return f"/internal/executions/{execution_id}/uploads"


class ContainerReady(BaseModel):
    """An executor listens and takes work (T071)."""

    model_config = ConfigDict(frozen=True)

    container_id: str
    pod_name: str = ""
    executor_port: int = Field(ge=1, le=65_535)
    ready_at: datetime


class ContainerExited(BaseModel):
    """An executor is about to end, or the controller saw that it has (T072)."""

    model_config = ConfigDict(frozen=True)

    container_id: str
    pod_name: str = ""
    exit_code: ExitCode
    exit_reason: ExitReason
    exited_at: datetime


class Heartbeat(BaseModel):
    """An execution still runs (T064)."""

    model_config = ConfigDict(frozen=True)

    timestamp: datetime
    progress: dict[str, JsonValue] | None = None
    stdout_tail: str | None = Field(
        default=None, description="The last 4 KiB. Tails are for the operator's controller; nobody else is told them."
    )
    stderr_tail: str | None = Field(default=None, description="The same.")
    between: bool = Field(
        default=False, description="Sent between two heartbeats because there is new output; for the controller only."
    )


class ResultReport(BaseModel):
    """How an execution ended, as a Control Plane is told. Unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    execution_id: ExecutionId
    status: ReportStatus
    reason: Reason | CrashReason | UnrunReason
    message: str = ""
    stdout: str = ""
    stderr: str = ""
    stdout_truncated: bool = False
    stderr_truncated: bool = False
    exit_code: ExitCode
    execution_time: Seconds
    return_value: JsonValue = None
    return_value_truncated: bool = Field(
        default=False, description="The value was too large for the controller to keep, and is left out."
    )
    metrics: ExecutionMetrics
    artifacts: list[str] = Field(default_factory=list)
    artifact_metadata: list[ArtifactMetadata] = Field(default_factory=list)
    outputs: list[OutputMetadata] = Field(
        default_factory=list, exclude_if=is_empty, description="For the operator's controller; nobody else is told."
    )
    outputs_missing: OutputsMissing | None = Field(default=None, exclude_if=is_empty, description="The same.")

    @classmethod
    def of(cls, result: ExecutionResult) -> Self:
        """The result as a Control Plane takes it: it knows no ``error``, which is sent as ``failed``."""
        status = "failed" if result.status == "error" else result.status
        return cls.model_validate({**dict(result), "status": status})
