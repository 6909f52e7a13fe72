"""What running something gave, be it here or in a cluster."""

from dataclasses import dataclass
from typing import Self

from sandbox_executor_client.execution import Execution


@dataclass(frozen=True)
class Ended:
    """An Execution at its end, and its output: all of it when it ran here, else what the status keeps."""

    execution: Execution
    stdout: str
    stderr: str

    @classmethod
    def of(cls, execution: Execution) -> Self:
        """With the output that the status has."""
        return cls(execution, execution.stdout, execution.stderr)
