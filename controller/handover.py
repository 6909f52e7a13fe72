"""From a free slot to an executor that has the Execution: prepared, claimed, dispatched.

A claim names the run of the executor that it is meant for. So one that nobody dispatched, because the leader
died right then, is not lost: whoever finds that its executor does not know it hands it over *again*, the same
attempt to the same run. The code still starts once at most: an executor that has restarted since refuses it, one
that has received it after all joins the two, and the earlier leader's dispatch is refused by its epoch once this one
has landed. ``docs/decisions/0008-leadership.md`` has the rest.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from contracts.executor_api import ExecutionRequest
from controller.admission import Accepted, Rejected, admit
from controller.collaborators import Collaborators
from controller.dispatch import Dispatcher, Doubt, Refusal, pause
from controller.errors import ControllerError, KubeUnavailable
from controller.facts import Claimed, Reclaimed
from controller.identity import Identities
from controller.inputs import Grant, make_request
from controller.logs import get_logger
from controller.placement import Placed
from controller.pods import Pods
from controller.resources import Pool
from controller.tracking import Stage, Tracked
from controller.writer import Written

AGAIN_WITHIN: Final = timedelta(hours=12)
"""Executors remember for 24 h what they ran; the other half is for clocks that differ."""
logger = get_logger(__name__)


class Handover:
    """One a pipeline. ``halted``: nothing new is claimed."""

    def __init__(
        self,
        with_: Collaborators,
        identities: Identities,
        pods: Pods,
        pools: Mapping[str, Pool],
        dispatcher: Dispatcher,
    ) -> None:
        self._with = with_
        self._identities = identities
        self._pods = pods
        self._pools = pools
        self._dispatcher = dispatcher
        self.halted = False

    async def claim(self, tracked: Tracked, placed: Placed) -> ExecutionRequest | Rejected | None:
        """The claimed request; None when the Execution could not be claimed.

        Raises:
            ControllerError: not now; nothing was claimed.
        """
        attempt = tracked.attempt + 1
        refused = await self._identities.confirm(tracked.execution)
        request = refused or await self._prepare(tracked, attempt)
        if isinstance(request, Rejected) or await self._write_claim(tracked, placed, attempt):
            return request
        return None

    async def again(self, tracked: Tracked) -> Refusal | Doubt | None:
        """Hands over a claimed attempt that its executor does not know. None: it has it now, or need not have it.

        The claim is confirmed by a write first: what ended, was cancelled or deleted meanwhile is not begun, and
        the time that the code has counts from now on.
        """
        request = await self._prepare_again(tracked)
        if not isinstance(request, ExecutionRequest):
            return request
        fact = Reclaimed(tracked.attempt, tracked.status.executor_run or "", self._with.now())
        if await self._with.writer.record(tracked, fact) is not Written.YES:
            return None
        tracked.begin(fact.time)
        logger.info(
            "a claim that its executor has never received is handed over again",
            execution_id=tracked.execution.execution_id,
            pod=tracked.status.pod_name,
            attempt=tracked.attempt,
        )
        return await self._dispatcher.dispatch(tracked, request, again=True)

    def is_open(self, tracked: Tracked) -> bool:
        """Whether an attempt that its executor does not know may be handed over again."""
        start = tracked.status.start_time
        if not tracked.may_begin or tracked.status.executor_run is None or start is None or self.halted:
            return False
        return not is_stopping(tracked) and self._with.now() - start < AGAIN_WITHIN

    async def _prepare(self, tracked: Tracked, attempt: int) -> ExecutionRequest | Rejected:
        pool = self._pools.get(tracked.execution.spec.pool)
        if pool is None or tracked.limits is None:
            raise KubeUnavailable(0, "PoolGone", "the pool went away while the Execution was placed")
        refused = await self._with.namespaces.check(tracked.execution.namespace, pool)
        if refused is not None:
            return refused
        token = self._with.tokens.make(tracked.execution.execution_id, attempt)
        tracer = self._with.tracer
        trace = tracer.run_context(tracked.execution, attempt).traceparent if tracer else ""
        grant = Grant(token, tracked.limits, trace)
        return await make_request(tracked.execution, grant, self._with.kube, self._with.artifacts)

    async def _prepare_again(self, tracked: Tracked) -> ExecutionRequest | Refusal | Doubt | None:
        tries = 0
        while tracked.stage is Stage.RUNNING and not is_stopping(tracked):
            try:
                if await self._dispatcher.read_run(tracked.pod_url) != tracked.status.executor_run:
                    return Doubt("its executor has restarted since it was claimed")
                pool = self._pools.get(tracked.execution.spec.pool)
                verdict = admit(tracked.execution, pool, self._with.secret_namespaces)
                tracked.limits = verdict.limits if isinstance(verdict, Accepted) else None
                request = verdict if isinstance(verdict, Rejected) else await self._prepare(tracked, tracked.attempt)
            except ControllerError as error:
                tries = await pause(tries, "dispatch again", error, tracked)
            else:
                if isinstance(request, Rejected):
                    return Refusal(request.reason, request.message, request.solution)
                return request
        return None

    async def _write_claim(self, tracked: Tracked, placed: Placed, attempt: int) -> bool:
        now = self._with.now()  # as it was placed, whoever's executor has to be asked first
        asked = self._pods.get(placed.pod)
        run_id = await self._dispatcher.find_run(asked.name, asked.url) if asked is not None else ""
        pod = self._pods.get(placed.pod)
        if asked is None or pod is None or pod.uid != asked.uid or not self._pods.accepts(pod) or self.halted:
            return False
        fact = Claimed(tracked.execution.execution_id, attempt, pod.name, pod.node, now, run_id)
        if await self._with.writer.record(tracked, fact) is not Written.YES:
            return False
        tracked.stage = Stage.RUNNING
        tracked.pod_url = pod.url
        tracked.begin(fact.time)
        return True


def is_stopping(tracked: Tracked) -> bool:
    """Whether it is cancelled or deleted, as far as is known."""
    execution = tracked.execution
    return tracked.stop_wanted or tracked.deleted or execution.spec.cancel or execution.deleting
