"""Hands a claimed Execution to its executor, and takes it back again: the calls that are tried until answered.

All may be repeated without harm: an executor runs an ``execution_id`` once, whatever it
receives. Neither gives up by itself; the Execution's deadline, or its pod's end, does.

An executor forgets what it ran when it restarts. So a dispatch names the run of the executor that it
is meant for (the claim has it), the same at each try: a restarted one refuses it, because the run before may have
begun it.
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
        trace: the ``traceparent`` that an attempt is handed over with; empty: none.
    """

    def __init__(
        self,
        executors: ExecutorClient,
        run_ids: MutableMapping[str, str],
        hush: Callable[[str], None],
        trace: Callable[[Tracked], str] = lambda tracked: "",
    ) -> None:
        self._executors = executors
        self._trace = trace
        self._run_ids = run_ids
        self._hush = hush

    async def dispatch(
        self, tracked: Tracked, request: ExecutionRequest, *, again: bool = False
    ) -> Refusal | Doubt | None:
        """Returns once the executor has the Execution, will not take it, or it need not be sent any more.

        ``again``: an earlier leader, or an earlier try, may have sent it before.
        """
        tries, taken, run_id, pod = 0, again, tracked.status.executor_run or "", tracked.status.pod_name or ""
        while tracked.stage is Stage.RUNNING and not tracked.stop_wanted:
            try:
                run_id = run_id or await self.find_run(pod, tracked.pod_url)
                trace = self._trace(tracked)
                await self._executors.execute(
                    tracked.pod_url, request, tracked.attempt, run_id, owner=tracked.uid, traceparent=trace
                )
            except ExecutorRefusal as refusal:
                if again and refusal.status == 409:
                    return Doubt(f"{refusal}: what it consists of has changed since it was sent before")
                return _refusal(refusal)
            except ExecutorFenced as fenced:
                if not fenced.other_run or taken:
                    return Doubt(str(fenced))
                # It has restarted since it was last looked at, and nothing of this has reached any run of it.
                self._run_ids.pop(pod, None)
                run_id = ""
            except ExecutorUnreachable as error:
                taken = taken or error.taken
                if error.silent and tries >= _SILENT_AFTER_TRIES:
                    self._hush(pod)
                tries = await pause(tries, "dispatch", error, tracked)
            else:
                tracked.may_begin = False
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
                tries = await pause(tries, "cancel", error, tracked)
        return False

    async def bury(self, tracked: Tracked) -> bool:
        """Whether the run that the claim names has not begun it, and never will now."""
        tries = 0
        while tracked.stage is Stage.RUNNING:
            try:
                known = await self._executors.bury(
                    tracked.pod_url,
                    tracked.execution.execution_id,
                    tracked.attempt,
                    tracked.status.executor_run or "",
                )
                return known is None
            except ExecutorFenced:
                return False
            except ExecutorUnreachable as error:
                tries = await pause(tries, "bury", error, tracked)
        return False

    async def find_run(self, pod: str, url: str) -> str:
        """The run of a pod's executor, which is asked once; empty when it does not say.

        Raises:
            ExecutorUnreachable: it does not answer, or is not healthy.
        """
        if pod not in self._run_ids:
            try:
                self._run_ids[pod] = await self.read_run(url)
            except ExecutorUnreachable as error:
                if error.silent:
                    self._hush(pod)
                raise
        return self._run_ids[pod]

    async def read_run(self, url: str) -> str:
        """The same, asked anew."""
        health = await self._executors.read_health(url)
        if health is None:
            raise ExecutorUnreachable("the executor is not healthy", taken=False)
        return health.run_id


async def pause(tries: int, what: str, error: Exception, tracked: Tracked) -> int:
    """Waits before the next try, longer each time; the number of tries so far."""
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
