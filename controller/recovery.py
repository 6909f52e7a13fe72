"""Finds out what became of Executions when nobody reports: after a restart, a lost pod, a lost watch event.

The way back to the truth is always the same: read live, ask the executor, and only then
a verdict. A status is written under the version that was read (``writer``), so a verdict on an object that
somebody has written meanwhile is drawn anew.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from pydantic import ValidationError

from controller import names
from controller.clients.kube import KubeClient
from controller.errors import ExecutorUnreachable, KubeError, KubeNotFound
from controller.inquiry import Inquiry, gone
from controller.logs import get_logger
from controller.pipeline import Pipeline
from controller.pods import PodChange
from controller.resources import Execution, Pod, parse_execution, parse_pod, parse_pool
from controller.termination import Termination, classify, removed
from controller.tracking import Stage, Tracked
from controller.unreadable import parse_or_refuse

RESYNC_S: Final = 60.0
RESYNC_AFTER_A_MISS_S: Final = 10.0
"""Where the watch has lost something it may lose more; and it has this long to deliver what the list saw first."""
SEEN_AT_A_TIME: Final = 64
"""Of a list, in one turn of the loop: ten thousand must not keep it from the Lease."""
_ASK_AGAIN_S: Final = 2.0
logger = get_logger(__name__)


class Recovery:
    """Adoption and the periodic comparison with a list."""

    def __init__(
        self,
        pipeline: Pipeline,
        kube: KubeClient,
        inquiry: Inquiry,
        operator_namespace: str,
        now: Callable[[], datetime],
    ) -> None:
        self._pipeline = pipeline
        self._kube = kube
        self._inquiry = inquiry
        self._namespace = operator_namespace
        self._now = now
        self._undelivered: set[str] = set()
        self._settled = False
        self.resynced: Sequence[Callable[[int], None]] = ()
        """Called after each comparison with a list, with how many Executions the watch has not delivered in time."""
        self.pools_known: Callable[[], None] = lambda: None
        """Called when the pools have been read and the pods have not."""
        pipeline.adopt = self.adopt

    # --- pods -------------------------------------------------------------------------------------------------

    def see_pod(self, pod: Pod) -> None:
        """A pod was created or changed."""
        change = self._pipeline.pods.see(pod)
        self._pipeline.containers.see(change.after, self._pipeline.pods.is_ready(change.after))
        if change.container_ended:
            self._container_ended(change)
        self._pipeline.schedule(pod.pool)

    def lose_pod(self, name: str) -> None:
        """A pod is gone: whatever held its slots has crashed, unless its executor reported in time."""
        pod = self._pipeline.pods.get(name)
        # What is known of an earlier run of a container that ran on says nothing about this one.
        told = pod is not None and pod.terminated is not None and not self._pipeline.pods.is_running(pod)
        holders = self._pipeline.pods.lose(name)
        self._pipeline.containers.lose(name, pod)
        ended = gone(name) if pod is None else classify(pod) if told else removed(pod)
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
            if self._pipeline.pods.is_running(pod):
                # It runs again: only the new one knows whether this was given to it or to the old one.
                self._pipeline.spawn(self._ask_until_told(tracked, ended), tracked)
            else:
                self._crash(uid, ended)

    def _crash(self, uid: str, ended: Termination) -> None:
        tracked = self._pipeline.registry.get(uid)
        if tracked is not None and tracked.stage is Stage.RUNNING:
            self._pipeline.spawn(self._pipeline.crash(tracked, ended.reason, ended.message), tracked)

    # --- adoption ---------------------------------------------------------------------------------------------

    def adopt(self, tracked: Tracked) -> None:
        """Takes over an Execution that runs already: from before this process led, or of which nobody is sure."""
        self._pipeline.spawn(self._adopt(tracked), tracked)

    async def _adopt(self, tracked: Tracked) -> None:
        while tracked.stage is Stage.RUNNING and not tracked.pod_url:
            try:
                pod = await self._inquiry.read_pod(tracked.status.pod_name or "")
            except KubeError as error:
                logger.warning("a pod could not be read", pod=tracked.status.pod_name, error=str(error))
                await asyncio.sleep(_ASK_AGAIN_S)
                continue
            if pod is None or not pod.ip:
                ended = gone(tracked.status.pod_name or "")
                await self._pipeline.crash(tracked, ended.reason, ended.message)
                return
            self.see_pod(pod)
            tracked.pod_url = pod.url
            self._pipeline.placement.occupy(tracked.uid, pod.name, tracked.execution.session)
        await self._ask_until_told(tracked)

    async def _ask_until_told(self, tracked: Tracked, unknown: Termination | None = None) -> None:
        """Asks its executor until that answers, or until its pod can answer no more."""
        while tracked.stage is Stage.RUNNING:
            pod = self._pipeline.pods.get(tracked.status.pod_name or "")
            if pod is not None and pod.finished:
                ended = classify(pod)
                await self._pipeline.crash(tracked, ended.reason, ended.message)
                return
            try:
                await self._inquiry.ask(tracked, unknown)
                return
            except ExecutorUnreachable:
                await asyncio.sleep(_ASK_AGAIN_S)

    # --- the list ---------------------------------------------------------------------------------------------

    async def check(self) -> None:
        """Reads one object of each kind that is watched.

        Raises:
            KubeError: one could not be read, or a kind is not there.
        """
        collections = (names.executions_path(), names.pools_path(), names.core_path(self._namespace, "pods"))
        for path in (*collections, names.deployments_path(self._namespace)):
            await self._kube.get(f"{path}?limit=1")

    async def load(self) -> None:
        """Reads everything: pools, pods, then unfinished Executions in their order.

        Raises:
            KubeError: a list could not be read, or a kind is not there.
        """
        await self._load_pools()
        self.pools_known()
        await self._load_pods()
        before = {tracked.uid for tracked in self._pipeline.registry}
        listed = await self._list_executions()
        registry = self._pipeline.registry
        self._undelivered = {
            execution.uid
            for execution in listed
            if registry.get(execution.uid) is None and not registry.was_dropped(execution.uid)
        }
        if not self._settled:
            await self._settle_sessions()
        # What runs comes first: it holds its slot before anything that waits is placed, which may begin at each pause.
        ordered = sorted(listed, key=lambda execution: (execution.status.phase != "Running", execution.order))
        for number, execution in enumerate(ordered, 1):
            self._pipeline.see(execution)
            if number % SEEN_AT_A_TIME == 0:
                await asyncio.sleep(0)
        for uid in before - {execution.uid for execution in listed}:
            await self.confirm_lost(uid)

    async def _load_pools(self) -> None:
        unlisted = set(self._pipeline.pools)
        async for page in self._kube.list_pages(names.pools_path()):
            for body in page:
                name = body["metadata"]["name"]
                unlisted.discard(name)
                try:
                    self._pipeline.see_pool(parse_pool(body))
                except ValidationError:
                    logger.exception("an ExecutorPool cannot be read", pool=name)
                self._pipeline.changed(name)
        for name in unlisted:
            self._pipeline.lose_pool(name)

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
        self._pipeline.containers.listed({pod.uid for pod in self._pipeline.pods})

    async def _list_executions(self) -> list[Execution]:
        listed: list[Execution] = []
        path = names.executions_path()
        async for page in self._kube.list_pages(path, fieldSelector=names.UNFINISHED_SELECTOR):
            for body in page:
                execution = await parse_or_refuse(body, self._kube, self._now())
                if execution is not None:
                    listed.append(execution)
        return listed

    async def _settle_sessions(self) -> None:
        """Sessions go on where their last Execution ran; asked once, for afterwards placement knows."""
        started: dict[str, tuple[datetime, str]] = {}
        async for page in self._kube.list_pages(names.executions_path(), fieldSelector=names.IN_SESSION_SELECTOR):
            for body in page:
                execution = await parse_or_refuse(body, self._kube, self._now())
                if execution is None or execution.status.start_time is None or not execution.status.pod_name:
                    continue
                last = (execution.status.start_time, execution.status.pod_name)
                started[execution.session] = max(started.get(execution.session, last), last)
        for session, (_, pod) in started.items():
            self._pipeline.placement.settle_session(session, pod)
        self._settled = True

    def deliver(self, uid: str) -> None:
        """The watch has told something about an Execution."""
        self._undelivered.discard(uid)

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

    async def resync(self) -> None:
        """Repairs what lost watch events left behind, until cancelled."""
        self._undelivered.clear()
        while True:
            await asyncio.sleep(min(RESYNC_S, RESYNC_AFTER_A_MISS_S) if self._undelivered else RESYNC_S)
            missed = len(self._undelivered)
            try:
                await self.load()
            except KubeError as error:
                logger.warning("the resync could not read the API server", error=str(error))
                continue
            if missed:
                logger.warning("the watch has not delivered Executions that the list has", missed=missed)
            for tell in self.resynced:
                tell(missed)
