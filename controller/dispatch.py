"""Hands a claimed Execution to its executor, and takes it back again: the two calls that are tried until answered.

Both may be repeated without harm: an executor runs an ``execution_id`` once, whatever it
receives. Neither gives up by itself; the Execution's deadline, or its pod's end, does.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

from contracts.executor_api import ExecutionRequest
from controller.clients.executor import ExecutorClient
from controller.errors import ExecutorRefusal, ExecutorUnreachable
from controller.logs import get_logger
from controller.tracking import Stage, Tracked

_BACKOFF_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Refusal:
    """The executor will never run it, and has not."""

    reason: str
    message: str
    solution: str


async def dispatch(tracked: Tracked, request: ExecutionRequest, executors: ExecutorClient) -> Refusal | None:
    """Returns once the executor has the Execution, will never take it, or it need not be sent any more."""
    tries = 0
    while tracked.stage is Stage.RUNNING and not tracked.stop_wanted:
        try:
            await executors.execute(tracked.pod_url, request)
        except ExecutorRefusal as refusal:
            return _refusal(refusal)
        except ExecutorUnreachable as error:
            tries = await _pause(tries, "dispatch", error, tracked)
        else:
            return None
    return None


async def kill(tracked: Tracked, executors: ExecutorClient) -> bool:
    """Kills what the executor runs; False when it does not know this execution, or there is no executor any more.

    Waits for a dispatch that is under way first: a cancellation must not overtake it.
    """
    await tracked.dispatched.wait()
    tries = 0
    while tracked.stage is Stage.RUNNING and tracked.pod_url:
        try:
            return await executors.cancel(tracked.pod_url, tracked.execution.execution_id)
        except ExecutorUnreachable as error:
            tries = await _pause(tries, "cancel", error, tracked)
    return False


async def _pause(tries: int, what: str, error: Exception, tracked: Tracked) -> int:
    if tries in (0, 5) or tries % 50 == 0:
        logger.warning(
            "an executor does not answer",
            call=what,
            error=str(error),
            tries=tries + 1,
            pod=tracked.status.pod_name,
            execution_id=tracked.execution.execution_id,
        )
    await asyncio.sleep(_BACKOFF_S[min(tries, len(_BACKOFF_S) - 1)])
    return tries + 1


def _refusal(refusal: ExecutorRefusal) -> Refusal:
    if refusal.status == 409:
        return Refusal(
            "DuplicateExecutionId",
            "the executor already knows this execution id with a different request",
            "write another spec.executionId, or leave it out and one is made",
        )
    detail = f" ({refusal.body.error_detail})" if refusal.body.error_detail else ""
    return Refusal(
        "RefusedByExecutor",
        f"the executor refused the request: {refusal.body.description}{detail}",
        refusal.body.solution or "correct the spec in a new Execution",
    )
