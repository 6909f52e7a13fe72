"""Exit codes of ``sandbox-run``: the program's own, and the reserved ones of ``docs/cli.md``.

124 and 125 to 127 are what timeout(1), env(1) and docker-run(1) use, 128 + n is a shell's code for signal n.
"""

from typing import Final

from sandbox_executor_client.errors import (
    ClientError,
    Conflict,
    Forbidden,
    InvalidExecution,
    NotConfigured,
    NotFound,
    NotInstalled,
)
from sandbox_executor_client.execution import Execution

OK: Final = 0
FAILED: Final = 1
"""Of a program that failed without a code of its own."""
USAGE: Final = 2
TIMED_OUT: Final = 124
INFRASTRUCTURE: Final = 125
REFUSED: Final = 126
CANCELLED: Final = 130
OUT_OF_MEMORY: Final = 137
BROKEN_PIPE: Final = 141
TERMINATED: Final = 143

_OF_PHASE: Final = {
    "Succeeded": OK,
    "TimedOut": TIMED_OUT,
    "Cancelled": CANCELLED,
    "Rejected": REFUSED,
    "Crashed": INFRASTRUCTURE,
}
_OF_REASON: Final = {"MemoryLimit": OUT_OF_MEMORY, "SandboxError": INFRASTRUCTURE}


def of_execution(execution: Execution) -> int:
    """The code for an Execution that has ended."""
    if execution.phase in _OF_PHASE:
        return _OF_PHASE[execution.phase]
    if execution.reason in _OF_REASON:
        return _OF_REASON[execution.reason]
    return (execution.exit_code or FAILED) & 0xFF or FAILED


def of_error(error: ClientError) -> int:
    """The code for what kept the client from its work."""
    match error:
        case NotInstalled():
            return INFRASTRUCTURE
        case Forbidden():
            return REFUSED
        case NotConfigured() | InvalidExecution() | NotFound() | Conflict():
            return USAGE
    return INFRASTRUCTURE
