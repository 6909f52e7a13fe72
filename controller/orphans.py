"""Cancels what runs on executors and belongs to no Execution: deleted, or given up, while no controller ran.

An orphan is only what an earlier leader has dispatched (its epoch says so): what this leader has dispatched it
follows itself, from before it runs; what came without an epoch was sent by somebody else, and is none of ours.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from contracts.execution import TERMINAL_PHASES
from contracts.executor_api import ExecutionState
from controller import names
from controller.clients.executor import ExecutorClient
from controller.clients.kube import KubeClient
from controller.errors import ExecutorUnreachable, KubeError
from controller.logs import get_logger
from controller.pipeline import Pipeline
from controller.resources import Pod

_PODS_AT_A_TIME: Final = 16
_AGAIN_S: Final = 30.0
logger = get_logger(__name__)


class Orphans:
    """Looks through each executor once, after everything has been listed."""

    def __init__(
        self, pipeline: Pipeline, kube: KubeClient, executors: ExecutorClient, read_epoch: Callable[[], int]
    ) -> None:
        self._pipeline = pipeline
        self._kube = kube
        self._executors = executors
        self._read_epoch = read_epoch
        self._looked_through: set[str] = set()

    async def run(self) -> None:
        """Looks through all, then now and then through those that did not answer or were not there, until cancelled."""
        while True:
            await self.cancel()
            await asyncio.sleep(_AGAIN_S)

    async def cancel(self) -> None:
        """Looks through the executors that have not been yet; one that does not answer is asked at the next call."""
        pods = {pod.uid: pod for pod in self._pipeline.pods if pod.ip and not pod.finished}
        self._looked_through &= set(pods)
        at_a_time = asyncio.Semaphore(_PODS_AT_A_TIME)

        async def look_through(pod: Pod) -> None:
            async with at_a_time:
                try:
                    await self._look_through(pod)
                except (ExecutorUnreachable, KubeError) as error:
                    logger.warning("an executor could not be asked for orphans", pod=pod.name, error=str(error))
                else:
                    self._looked_through.add(pod.uid)

        await asyncio.gather(*(look_through(pod) for uid, pod in pods.items() if uid not in self._looked_through))

    async def _look_through(self, pod: Pod) -> None:
        for state in await self._executors.list_active(pod.url):
            if await self._is_orphan(state):
                logger.warning("an orphan is cancelled", pod=pod.name, execution_id=state.execution_id)
                await self._executors.cancel(pod.url, state.execution_id, state.attempt)

    async def _is_orphan(self, state: ExecutionState) -> bool:
        if state.epoch is None or state.epoch >= self._read_epoch():
            return False
        return self._pipeline.registry.owner(state.execution_id) is None and not await self._is_owned(state)

    async def _is_owned(self, state: ExecutionState) -> bool:
        """Whether the server has an unfinished Execution with this id, also one that our models cannot read."""
        selector = f"status.executionId={state.execution_id}"
        async for page in self._kube.list_pages(names.executions_path(), fieldSelector=selector):
            if any((body.get("status") or {}).get("phase") not in TERMINAL_PHASES for body in page):
                return True
        return False
