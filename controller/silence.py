"""Executors that do not answer get no new work until they do.

A pod may be Ready for its kubelet while the network between the controller and it is cut. Whatever is
placed there would wait for the heartbeat deadline and crash; left in the queue it only waits.
"""

import asyncio
from typing import Final

from controller.clients.executor import ExecutorClient
from controller.errors import ExecutorUnreachable
from controller.logs import get_logger
from controller.pipeline import Pipeline
from controller.resources import Pod

_LOOK_S: Final = 2.0
logger = get_logger(__name__)


class SilentPods:
    """Asks those that were silent for their health, and gives them work again."""

    def __init__(self, pipeline: Pipeline, executors: ExecutorClient) -> None:
        self._pipeline = pipeline
        self._executors = executors

    async def run(self) -> None:
        """Looks at them every two seconds, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Asks each once."""
        pods = self._pipeline.pods
        await asyncio.gather(*(self._ask(pod) for pod in pods if pod.name in pods.silent))

    async def _ask(self, pod: Pod) -> None:
        try:
            health = await self._executors.read_health(pod.url)
        except ExecutorUnreachable:
            return
        if health is not None:
            logger.info("an executor answers again", pod=pod.name)
            self._pipeline.pods.run_ids[pod.name] = health.run_id
            self._pipeline.pods.wake(pod.name)
            self._pipeline.schedule(pod.pool)
