"""Hands a claimed Execution to its executor, and takes it back again: the two calls that are tried until answered.

Both may be repeated without harm: an executor runs an ``execution_id`` once, whatever it
receives. Neither gives up by itself; the Execution's deadline, or its pod's end, does.

An executor forgets what it ran when it restarts. So a dispatch names the run of the executor that it
is meant for, the same at each try: a restarted one refuses it, because the run before may have begun it.
"""

import asyncio
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Final

from contracts.executor_api import ExecutionRequest
from controller.clients.executor import ExecutorClient
from controller.errors import ExecutorFenced, ExecutorRefusal, ExecutorUnreachable
from controller.logs import get_logger
from controller.tracking import Stage, Tracked

_BACKOFF_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_SILENT_AFTER_TRIES: Final = 2
logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Refusal:
    """The executor will never run it, and has not."""

    reason: str
    message: str
    solution: str


@dataclass(frozen=True, slots=True)
class Doubt:
    """The executor does not take it, and whether an earlier try was begun must be found out."""

    message: str


class Dispatcher:
    """Calls executors for the pipeline.

    Args:
        executors: their client.
        run_ids: by pod, the run of its executor that was last seen.
        hush: told the pod whose executor gives no answer at all.
    """

    def __init__(
        self, executors: ExecutorClient, run_ids: MutableMapping[str, str], hush: Callable[[str], None]
    ) -> None:
        self._executors = executors
        self._run_ids = run_ids
        self._hush = hush

    async def dispatch(self, tracked: Tracked, request: ExecutionRequest) -> Refusal | Doubt | None:
        """Returns once the executor has the Execution, will not take it, or it need not be sent any more."""
        tries, taken, run_id = 0, False, ""
        while tracked.stage is Stage.RUNNING and not tracked.stop_wanted:
            try:
                run_id = run_id or await self._find_run(tracked)
                await self._executors.execute(tracked.pod_url, request, tracked.attempt, run_id)
            except ExecutorRefusal as refusal:
                return _refusal(refusal)
            except ExecutorFenced as fenced:
                if not fenced.other_run or taken:
                    return Doubt(str(fenced))
                # It has restarted since it was last looked at, and nothing of this has reached any run of it.
                self._forget_run(tracked)
                run_id = ""
            except ExecutorUnreachable as error:
                taken = taken or error.taken
                if error.silent and tries >= _SILENT_AFTER_TRIES:
                    self._hush(tracked.status.pod_name or "")
                tries = await _pause(tries, "dispatch", error, tracked)
            else:
                return None
        return None

    async def kill(self, tracked: Tracked) -> bool:
        """Kills what the executor runs; False when it does not know this execution, or there is no executor any more.

        Waits for a dispatch that is under way first: a cancellation must not overtake it. One that is still on
        its way after that finds a tombstone.
        """
        await tracked.dispatched.wait()
        execution_id = tracked.execution.execution_id
        tries = 0
        while tracked.stage is Stage.RUNNING and tracked.pod_url:
            try:
                if await self._executors.cancel(tracked.pod_url, execution_id, tracked.attempt):
                    return True
                if await self._executors.bury(tracked.pod_url, execution_id, tracked.attempt) is None:
                    return False
            except ExecutorUnreachable as error:
                tries = await _pause(tries, "cancel", error, tracked)
        return False

    async def _find_run(self, tracked: Tracked) -> str:
        pod = tracked.status.pod_name or ""
        if pod not in self._run_ids:
            health = await self._executors.read_health(tracked.pod_url)
            if health is None:
                raise ExecutorUnreachable("the executor is not healthy", taken=False)
            self._run_ids[pod] = health.run_id
        return self._run_ids[pod]

    def _forget_run(self, tracked: Tracked) -> None:
        self._run_ids.pop(tracked.status.pod_name or "", None)


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
