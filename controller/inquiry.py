"""Asks the executor what became of an Execution, and draws the conclusion: folded in, or Crashed, or nothing yet.

An attempt that its executor has never known is handed over again where that is safe (``handover``). Before any other
verdict on one that is unknown, the executor leaves a tombstone: a dispatch that is still on its way (of a leader
before this one, of a try that was given up) is refused then.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final
from weakref import WeakValueDictionary

from contracts.control_plane_api import ResultReport
from contracts.executor_api import ExecutionState
from controller import names
from controller.clients.executor import ExecutorClient
from controller.clients.kube import KubeClient
from controller.errors import ExecutorUnreachable, KubeError, KubeNotFound
from controller.handover import is_stopping
from controller.logs import get_logger
from controller.pipeline import Pipeline
from controller.resources import Pod, parse_pod
from controller.termination import LOST, Termination, classify
from controller.tracking import Tracked

_ASKS_A_POD: Final = 8
"""So that one executor that hangs does not keep the others from being asked."""
_CANCEL_AGAIN_S: Final = 5.0
logger = get_logger(__name__)


class Inquiry:
    """Questions to executors, and to the API server about their pods."""

    def __init__(
        self,
        pipeline: Pipeline,
        kube: KubeClient,
        executors: ExecutorClient,
        operator_namespace: str,
        now: Callable[[], datetime],
    ) -> None:
        self._pipeline = pipeline
        self._kube = kube
        self._executors = executors
        self._namespace = operator_namespace
        self._now = now
        self._asks: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def ask(self, tracked: Tracked, unknown: Termination | None = None) -> ExecutionState | None:
        """Asks once, and does what follows from the answer.

        A result is folded in; what is unknown is begun now if it never was, or else has Crashed.

        Args:
            tracked: the Execution, which runs.
            unknown: why its executor would not know it, where that is known already.

        Raises:
            ExecutorUnreachable: there was no answer.
        """
        state, buried = await self._ask(tracked)
        tracked.hear(self._now())
        if state is not None:
            tracked.may_begin = False
            if state.result is not None:
                await self._pipeline.finish(tracked, tracked.attempt, ResultReport.of(state.result))
        elif tracked.dispatched.is_set():
            await self._conclude(tracked, unknown, buried)
        return state

    async def _ask(self, tracked: Tracked) -> tuple[ExecutionState | None, bool]:
        """What its executor knows of this attempt; and where that is nothing, whether it will never begin it."""
        if not tracked.pod_url:
            raise ExecutorUnreachable("its pod is not known")
        url, execution_id = tracked.pod_url, tracked.execution.execution_id
        asks = self._asks.setdefault(url, asyncio.Semaphore(_ASKS_A_POD))
        async with asks:
            if tracked.dispatched.is_set() and not self._pipeline.may_begin(tracked):
                return await self._executors.bury(url, execution_id, tracked.attempt), True
            # A dispatch of our own that is under way, or may follow, must not find a tombstone.
            state = await self._executors.ask(url, execution_id)
            return (state if state is not None and state.attempt == tracked.attempt else None), False

    async def _conclude(self, tracked: Tracked, unknown: Termination | None, buried: bool) -> None:
        """Its executor does not know it, and nothing of ours is on its way there."""
        if is_stopping(tracked):
            self._pipeline.stop(tracked)
        elif buried:
            message = f"the executor on pod {tracked.status.pod_name} does not know it (it has restarted)"
            ended = unknown or await self.explain(tracked, message)
            await self._pipeline.crash(tracked, ended.reason, ended.message)
        elif self._pipeline.may_begin(tracked):
            self._pipeline.begin_again(tracked)

    async def give_up(self, tracked: Tracked, message: str) -> None:
        """Ends one that nobody knows anything of any more, and sees to it that it does not run on unseen."""
        pod, url, attempt = tracked.status.pod_name or "", tracked.pod_url, tracked.attempt
        ended = await self.explain(tracked, message)
        await self._pipeline.crash(tracked, ended.reason, ended.message)
        self._pipeline.spawn(self._cancel_late(tracked.execution.execution_id, pod, url, attempt), tracked)

    async def _cancel_late(self, execution_id: str, name: str, url: str, attempt: int) -> None:
        """Until its executor is there again, or gone for good: its slot there is not free before."""
        while url and (pod := self._pipeline.pods.get(name)) is not None and pod.url == url:
            try:
                known = await self._executors.cancel(url, execution_id, attempt)
                if known or await self._executors.bury(url, execution_id, attempt) is None:
                    return
            except ExecutorUnreachable:
                await asyncio.sleep(_CANCEL_AGAIN_S)

    async def explain(self, tracked: Tracked, message: str) -> Termination:
        """Why it was lost, by a live read of its pod; ``message`` where that says nothing."""
        name = tracked.status.pod_name or ""
        try:
            pod = await self.read_pod(name)
        except KubeError as error:
            logger.warning("a pod could not be read", pod=name, error=str(error))
            pod = self._pipeline.pods.get(name)
        else:
            if pod is None:
                return gone(name)
        return classify(pod) if pod is not None and _ended_during(pod, tracked) else replace(LOST, message=message)

    async def read_pod(self, name: str) -> Pod | None:
        """An executor pod as it is now; None when there is none of this name.

        Raises:
            KubeError: it could not be read.
        """
        try:
            return parse_pod(await self._kube.get(names.core_path(self._namespace, "pods", name)))
        except KubeNotFound:
            return None


def gone(pod: str) -> Termination:
    """How it ends when its pod is no longer there."""
    message = f"the executor pod {pod} is gone, and nothing says how its container ended"
    return replace(LOST, message=message)


def _ended_during(pod: Pod, tracked: Tracked) -> bool:
    """Whether a run of the pod's container has ended since the Execution began (kubelets know seconds only)."""
    if pod.evicted and pod.finished:
        return True
    finished = pod.terminated.finished if pod.terminated else None
    start = tracked.status.start_time
    return finished is not None and start is not None and finished >= start.replace(microsecond=0)
