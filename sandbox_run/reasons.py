"""Why an Execution is where it is, and what to do about it: each reason in a person's words."""

from collections.abc import Mapping
from typing import Final

from sandbox_executor_client.execution import Execution

MEANINGS: Final[Mapping[str, tuple[str, str]]] = {
    "Completed": ("the code ran to its end", ""),
    "NonZeroExit": ("the program ended with an exit code of its own", "its stderr says why, if it says anything"),
    "Signaled": (
        "a signal ended the program: it crashed, or used more CPU time than it may",
        "look for SIGSEGV or SIGXCPU above; resources.cpuSeconds bounds the CPU time of each process",
    ),
    "HandlerMissing": (
        "Python code in an Execution must define handler(event), and this does not",
        "define it; or run the file by sandbox-run, which takes plain scripts too (--script)",
    ),
    "HandlerRaised": ("the code raised an exception that it did not catch", "stderr has the traceback"),
    "ResultNotSerializable": (
        "what handler returned cannot be written as JSON",
        "return dict with string keys, list, str, int, finite float, bool or None",
    ),
    "MemoryLimit": (
        "the program used more memory than it may, and was killed",
        "ask for more (spec.resources.memory, within the pool's limits), or use less",
    ),
    "DiskLimit": (
        "the program wrote more than it may, and was killed",
        "ask for more (spec.resources.fileSize, workspace or workspaceEntries), or write less",
    ),
    "SandboxError": (
        "the sandbox failed, not the code",
        "run it again; if it stays so, show the message to whoever runs the operator",
    ),
    "TimedOut": (
        "the program was still running when its time was over, and was killed",
        "give it more (--timeout, spec.timeoutSeconds, an hour at most); what it had printed till then is kept",
    ),
    "Cancelled": ("somebody cancelled it, or the sandbox-run that waited for it was interrupted", ""),
    "PodTerminated": ("its executor pod was taken away: a rollout, scale-down, drain or deletion", "run it again"),
    "ContainerKilled": ("its executor was killed (SIGKILL)", "run it again"),
    "OutOfMemory": (
        "the whole executor ran out of memory, maybe because of another Execution in it",
        "run it again; give the pool's pods more memory, or its Executions less",
    ),
    "ExecutorExited": ("its executor ended while the code ran", "run it again; the executor's log says why"),
    "ExecutorError": ("its executor broke while the code ran", "run it again; the executor's log says why"),
    "Evicted": ("its executor pod was evicted or preempted", "run it again"),
    "ExecutorLost": ("its executor, or the node of it, was lost", "run it again"),
    "PoolNotFound": ("its pool does not exist", "create the pool, or use one that exists: list the pools"),
    "Queued": ("all slots of its pool are busy; it runs when one is free", "wait, or give the pool more replicas"),
    "Retrying": ("an attempt was lost with its executor, and another one follows", "wait"),
    "QueueFull": ("too many Executions wait for the pool already", "try again later, or give the pool more replicas"),
    "DuplicateExecutionId": ("another Execution has the same executionId", "leave executionId out, or use a new one"),
    "OverPoolLimit": ("it asks for more than its pool gives", "ask for less, or use another pool"),
    "SecretsNotAllowed": ("it takes a value from a Secret, and its namespace may not", "write the value instead"),
}
_CRASHED: Final = "It may have run in part, so make sure that it may run again."


def explain(execution: Execution) -> tuple[str, str]:
    """(what it means, what to do), each maybe empty; what the status itself advises comes first."""
    meaning, advice = MEANINGS.get(execution.reason, ("", ""))
    if execution.failure is not None and execution.failure.solution:
        advice = execution.failure.solution
    if execution.phase == "Crashed" and "may run again" not in advice:
        advice = f"{advice}. {_CRASHED}" if advice else _CRASHED
    if execution.phase == "Running":
        return "it runs", ""
    if execution.phase == "Pending" and not meaning:
        return "the controller has not placed it yet", "if it stays so, the controller may be down: list the pools"
    return meaning, advice
