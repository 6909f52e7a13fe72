"""How an Execution ended, as a value that stands for itself: for callers who run code and look at nothing else."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Generic, Self

from typing_extensions import TypeVar

from contracts.execution import Phase
from sandbox_executor_client.errors import ExecutionFailed
from sandbox_executor_client.execution import Artifact, Execution, ExecutionFailure, OutputInfo
from sandbox_executor_client.stored import StoredOutput

OutputT = TypeVar("OutputT", bound=OutputInfo, default=StoredOutput)
OtherT = TypeVar("OtherT", bound=OutputInfo)


@dataclass(frozen=True)
class Metrics:
    """Usage of the code alone: milliseconds, MiB, bytes."""

    duration_ms: float = 0.0
    cpu_time_ms: float = 0.0
    peak_memory_mb: float = 0.0
    io_read_bytes: int = 0
    io_write_bytes: int = 0

    @classmethod
    def of(cls, found: Mapping[str, float]) -> Self:
        """From the names of ``status.metrics``; what is missing there is 0."""
        return cls(
            float(found.get("durationMs", 0)),
            float(found.get("cpuTimeMs", 0)),
            float(found.get("peakMemoryMB", 0)),
            int(found.get("ioReadBytes", 0)),
            int(found.get("ioWriteBytes", 0)),
        )


@dataclass(frozen=True)
class Result(Generic[OutputT]):
    """The end of one Execution. ``reason`` is stable and one word, ``message`` is for a person.

    ``exit_code`` is the code's own; -1 when it was killed at its timeout, None when it never ended by itself (Rejected,
    Crashed). ``stdout`` and ``stderr`` are the last 64 KiB of each; ``truncated`` says that one of them, or the return
    value, was larger. ``outputs``, where the operator has an object store, are whole: each can be read or saved
    (``StoredOutput``; from an ``AsyncClient`` ``AsyncStoredOutput``).
    """

    name: str
    namespace: str
    execution_id: str
    phase: Phase
    reason: str
    message: str
    exit_code: int | None
    stdout: str
    stderr: str
    return_value: Any
    truncated: bool
    artifacts: tuple[Artifact, ...]
    metrics: Metrics
    failure: ExecutionFailure | None
    outputs: tuple[OutputT, ...] = ()

    @classmethod
    def of(cls, execution: Execution, outputs: Sequence[OutputT] = ()) -> Self:
        """Of an Execution that has ended; ``outputs`` as its client reads them."""
        return cls(
            name=execution.name,
            namespace=execution.namespace,
            execution_id=execution.execution_id,
            phase=execution.phase,
            reason=execution.reason,
            message=execution.message,
            exit_code=execution.exit_code,
            stdout=execution.stdout,
            stderr=execution.stderr,
            return_value=execution.return_value,
            truncated=execution.truncated,
            artifacts=tuple(execution.artifacts),
            metrics=Metrics.of(execution.metrics),
            failure=execution.failure,
            outputs=tuple(outputs),
        )

    def with_outputs(self, convert: Callable[[OutputT], OtherT]) -> "Result[OtherT]":
        """The same result with its outputs as another kind."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return Result(**values | {"outputs": tuple(map(convert, self.outputs))})

    @property
    def succeeded(self) -> bool:
        """Whether the code ran to its end and its exit code is 0."""
        return self.phase == "Succeeded"

    def check(self) -> Self:
        """Itself when the code succeeded; raises ExecutionFailed when it did not."""
        if not self.succeeded:
            raise ExecutionFailed(self)
        return self
