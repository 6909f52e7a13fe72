"""Finds out what became of Executions when nobody reports: after a restart, a lost pod, a deadline, a lost event.

The way back to the truth is always the same: read live, ask the executor, and only then
a verdict.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final

from pydantic import ValidationError

from contracts.control_plane_api import ResultReport
from contracts.executor_api import ExecutionResult, ExecutionState
from controller import names
from controller.clients.executor import ExecutorClient
from controller.clients.kube import KubeClient
from controller.errors import ExecutorUnreachable, KubeError, KubeNotFound
from controller.logs import get_logger
from controller.pipeline import Pipeline
from controller.pods import PodChange
from controller.resources import Execution, Pod, parse_execution, parse_pod, parse_pool
from controller.termination import LOST, Termination, classify
from controller.tracking import Stage, Tracked
from controller.unreadable import parse_or_refuse

RESYNC_S: Final = 60.0
_SWEEP_S: Final = 0.5
_ASK_AGAIN_S: Final = 2.0
_CONCURRENT_ASKS: Final = 32
logger = get_logger(__name__)


class Recovery:
    """Adoption, deadlines and the periodic comparison with a list."""

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
        self._asks = asyncio.Semaphore(_CONCURRENT_ASKS)
        pipeline.adopt = self.adopt

    # --- pods -------------------------------------------------------------------------------------------------

    def see_pod(self, pod: Pod) -> None:
        """A pod was created or changed."""
        change = self._pipeline.pods.see(pod)
        if change.container_ended:
            self._container_ended(change)
        self._pipeline.schedule(pod.pool)

    def lose_pod(self, name: str) -> None:
        """A pod is gone: whatever held its slots has crashed, unless its executor reported in time."""
        pod = self._pipeline.pods.get(name)
        holders = self._pipeline.pods.lose(name)
        ended = classify(pod) if pod is not None and pod.terminated else _gone(name)
        for uid in holders:
            self._crash(uid, ended)
        if pod is not None:
            self._pipeline.schedule(pod.pool)

    def _container_ended(self, change: PodChange) -> None:
        pod, ended = change.after, classify(change.after)
        logger.warning("an executor container has ended", pod=pod.name, reason=ended.reason, message=ended.message)
        for uid in self._pipeline.placement.holders(pod.name):
            tracked = self._pipeline.registry.get(uid)
            if tracked is None or tracked.stage is not Stage.RUNNING:
                continue
            if pod.running:
                # It runs again: only the new one knows whether this was given to it or to the old one.
                self._pipeline.spawn(self._ask_until_told(tracked, ended), tracked)
            else:
                self._crash(uid, ended)

    def _crash(self, uid: str, ended: Termination) -> None:
        tracked = self._pipeline.registry.get(uid)
        if tracked is not None and tracked.stage is Stage.RUNNING:
            self._pipeline.spawn(self._pipeline.crash(tracked, ended.reason, ended.message), tracked)

    # --- adoption and deadlines -------------------------------------------------------------------------------

    def adopt(self, tracked: Tracked) -> None:
        """Takes over an Execution that runs already, from before this process started."""
        self._pipeline.spawn(self._adopt(tracked), tracked)

    async def _adopt(self, tracked: Tracked) -> None:
        if not tracked.pod_url and await self._pod_is_gone(tracked):
            ended = _gone(tracked.status.pod_name or "")
            await self._pipeline.crash(tracked, ended.reason, ended.message)
            return
        message = f"the executor on pod {tracked.status.pod_name} does not know it (it has restarted)"
        await self._ask_until_told(tracked, replace(LOST, message=message))

    async def _ask_until_told(self, tracked: Tracked, unknown: Termination) -> None:
        """Asks its executor until that answers: a result is folded in; one that does not know it has lost it."""
        while tracked.stage is Stage.RUNNING:
            try:
                state = await self._ask(tracked)
            except ExecutorUnreachable:
                await asyncio.sleep(_ASK_AGAIN_S)
                continue
            if state is None:
                await self._pipeline.crash(tracked, unknown.reason, unknown.message)
            elif state.result is not None:
                await self._fold_in(tracked, state.result)
            return

    async def _pod_is_gone(self, tracked: Tracked) -> bool:
        """Whether the pod that was to run it is gone, by a live read; takes the pod over when it is there."""
        name = tracked.status.pod_name or ""
        try:
            pod = parse_pod(await self._kube.get(names.core_path(self._namespace, "pods", name)))
        except KubeNotFound:
            return True
        except KubeError as error:
            logger.warning("a pod could not be read", pod=name, error=str(error))
            return False
        if pod is None:
            return True
        self.see_pod(pod)
        tracked.pod_url = pod.url
        self._pipeline.placement.occupy(tracked.uid, pod.name)
        return pod.finished

    async def sweep(self) -> None:
        """Watches deadlines and long waits, until cancelled."""
        while True:
            await asyncio.sleep(_SWEEP_S)
            self.check_times()

    def check_times(self) -> None:
        """Starts what the time asks for: those that wait long say so, those that are overdue are asked about."""
        self._pipeline.tell_waiting()
        now = self._now()
        for tracked in self._pipeline.registry:
            if tracked.stage is Stage.RUNNING and tracked.deadline is not None and now > tracked.deadline:
                tracked.deadline = None
                self._pipeline.spawn(self._overdue(tracked), tracked)

    async def _overdue(self, tracked: Tracked) -> None:
        """Asks once more; without a result there is none to come."""
        state: ExecutionState | None = None
        try:
            state = await self._ask(tracked)
        except ExecutorUnreachable as error:
            logger.warning("an overdue Execution's executor does not answer", error=str(error))
        if state is not None and state.result is not None:
            await self._fold_in(tracked, state.result)
            return
        if state is not None:
            await self._try_cancel(tracked)
        message = f"no result from pod {tracked.status.pod_name} although its time is over"
        await self._pipeline.crash(tracked, LOST.reason, message)

    async def _try_cancel(self, tracked: Tracked) -> None:
        try:
            await self._executors.cancel(tracked.pod_url, tracked.execution.execution_id)
        except ExecutorUnreachable as error:
            logger.warning("an overdue Execution could not be cancelled", error=str(error))

    async def _ask(self, tracked: Tracked) -> ExecutionState | None:
        if not tracked.pod_url:
            raise ExecutorUnreachable("its pod is not known")
        async with self._asks:
            return await self._executors.ask(tracked.pod_url, tracked.execution.execution_id)

    async def _fold_in(self, tracked: Tracked, result: ExecutionResult) -> None:
        await self._pipeline.finish(tracked, tracked.attempt, ResultReport.of(result))

    # --- the list ---------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Reads everything: pools, pods, then unfinished Executions in their order.

        Raises:
            KubeError: a list could not be read, or a kind is not there.
        """
        async for page in self._kube.list_pages(names.pools_path()):
            for body in page:
                try:
                    self._pipeline.see_pool(parse_pool(body))
                except ValidationError:
                    logger.exception("an ExecutorPool cannot be read", pool=body["metadata"]["name"])
                self._pipeline.changed(body["metadata"]["name"])
        await self._load_pods()
        before = {tracked.uid for tracked in self._pipeline.registry}
        listed = await self._list_executions()
        for execution in sorted(listed, key=lambda execution: execution.order):
            self._pipeline.see(execution)
        for uid in before - {execution.uid for execution in listed}:
            await self.confirm_lost(uid)

    async def _load_pods(self) -> None:
        known = {pod.name for pod in self._pipeline.pods}
        path = names.core_path(self._namespace, "pods")
        async for page in self._kube.list_pages(path, labelSelector=names.EXECUTOR_SELECTOR):
            for body in page:
                if (pod := parse_pod(body)) is not None:
                    known.discard(pod.name)
                    self.see_pod(pod)
        for name in known:
            self.lose_pod(name)

    async def _list_executions(self) -> list[Execution]:
        listed: list[Execution] = []
        path = names.executions_path()
        async for page in self._kube.list_pages(path, fieldSelector=names.UNFINISHED_SELECTOR):
            for body in page:
                execution = await parse_or_refuse(body, self._kube, self._now())
                if execution is not None:
                    listed.append(execution)
        return listed

    def miss(self, uid: str) -> None:
        """An Execution has left the watch."""
        tracked = self._pipeline.registry.get(uid)
        if tracked is not None:
            self._pipeline.spawn(self.confirm_lost(uid), tracked)

    async def confirm_lost(self, uid: str) -> None:
        """An Execution left the watch or the list: has it ended (then it left our selector), or is it deleted?"""
        tracked = self._pipeline.registry.get(uid)
        if tracked is None:
            return
        async with tracked.lock:  # the answer to the write that ended it may still be on its way
            pass
        if self._pipeline.registry.get(uid) is not tracked:
            return
        path = names.execution_path(tracked.execution.namespace, tracked.execution.name)
        try:
            live = parse_execution(await self._kube.get(path))
        except KubeNotFound:
            self._pipeline.lose(uid)
        except (KubeError, ValidationError) as error:
            logger.warning("an Execution could not be read; the resync tries again", error=str(error))
        else:
            if live.uid != uid:
                self._pipeline.lose(uid)
            else:
                self._pipeline.see(live)

    async def cancel_orphans(self) -> None:
        """Kills what runs on the executors and belongs to no Execution: deleted while no controller ran."""
        for pod in self._pipeline.pods:
            if not self._pipeline.pods.accepts(pod):
                continue
            try:
                for execution_id in await self._executors.list_active(pod.url):
                    if self._pipeline.registry.owner(execution_id) is None:
                        logger.warning("an orphan is cancelled", pod=pod.name, execution_id=execution_id)
                        await self._executors.cancel(pod.url, execution_id)
            except ExecutorUnreachable as error:
                logger.warning("an executor could not be asked for orphans", pod=pod.name, error=str(error))

    async def resync(self) -> None:
        """Repairs what lost watch events left behind, until cancelled."""
        await self.cancel_orphans()
        while True:
            await asyncio.sleep(RESYNC_S)
            try:
                await self.load()
            except KubeError as error:
                logger.warning("the resync could not read the API server", error=str(error))


def _gone(pod: str) -> Termination:
    message = f"the executor pod {pod} is gone, and nothing says how its container ended"
    return Termination(LOST.exit_reason, LOST.exit_code, LOST.reason, message)
