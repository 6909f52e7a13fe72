"""Steps that run in the background: kept until they end, logged when they fail, cancelled when the process stops.

A broad ``except`` stands here and nowhere else: one Execution's failure must not reach
another's, and the resync brings back what a failed step has left behind.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

from controller.logs import get_logger
from controller.metrics import Metrics

logger = get_logger(__name__)


class Background:
    """The tasks of one pipeline."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def run(self, step: Coroutine[Any, Any, Any], **about: str) -> None:
        """Starts a step, unless closed; ``about`` goes into the log when it fails."""
        if self._closed:
            step.close()
            return
        task = asyncio.get_running_loop().create_task(self._guard(step, about))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settle(self, within_s: float) -> None:
        """Waits until nothing is under way, for so long at most."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=within_s)

    async def close(self) -> None:
        """Cancels what is under way; all of it is taken up again from the API server at the next start."""
        self._closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _guard(self, step: Coroutine[Any, Any, Any], about: dict[str, str]) -> None:
        try:
            await step
        except Exception:
            self._metrics.failures.inc()
            logger.exception("a step failed", **about)
