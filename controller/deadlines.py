"""Every Running Execution ends, whoever is silent: the deadlines that need no report.

Two of them. Its *time* is over: the timeout and a grace have passed without a result. Its executor is
*silent*: no heartbeat came and no question was answered for ``HEARTBEAT_DEADLINE_S``, so that a lost
node is noticed within a minute and not after the Execution's timeout, which may be an hour.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from controller.errors import ExecutorUnreachable
from controller.inquiry import Inquiry
from controller.logs import get_logger
from controller.pipeline import Pipeline
from controller.tracking import Stage, Tracked

ASK_SILENT_AFTER_S: Final = 16.0
"""Three heartbeats have not come (one each 5 s)."""
HEARTBEAT_DEADLINE_S: Final = 60.0
"""Longer than a failover takes, and than a node needs to come back from a restart of its network."""
_SWEEP_S: Final = 0.5
_ASK_AGAIN: Final = timedelta(seconds=5)
logger = get_logger(__name__)


class Deadlines:
    """Looks at the time of what runs."""

    def __init__(self, pipeline: Pipeline, inquiry: Inquiry, now: Callable[[], datetime]) -> None:
        self._pipeline = pipeline
        self._inquiry = inquiry
        self._now = now

    async def run(self) -> None:
        """Watches deadlines and long waits, until cancelled."""
        while True:
            await asyncio.sleep(_SWEEP_S)
            self.check_times()

    def check_times(self) -> None:
        """Starts what the time asks for: long waits are told, overdue and silent ones are asked about."""
        self._pipeline.tell_waiting()
        now = self._now()
        self._pipeline.containers.give_up(self._pipeline.pods, now)
        for tracked in self._pipeline.registry:
            if tracked.stage is not Stage.RUNNING:
                continue
            if tracked.deadline is not None and now > tracked.deadline:
                tracked.deadline = None
                self._pipeline.spawn(self._overdue(tracked), tracked)
            elif self._is_silent(tracked, now):
                tracked.ask_after = None
                self._pipeline.spawn(self._look_after(tracked), tracked)

    def _is_silent(self, tracked: Tracked, now: datetime) -> bool:
        if tracked.heard is None or tracked.ask_after is None:
            return False
        return (now - tracked.heard).total_seconds() >= ASK_SILENT_AFTER_S and now >= tracked.ask_after

    async def _look_after(self, tracked: Tracked) -> None:
        heard = tracked.heard or self._now()
        try:
            await self._inquiry.ask(tracked)
        except ExecutorUnreachable as error:
            silent_s = (self._now() - (tracked.heard or heard)).total_seconds()
            logger.warning(
                "an executor is silent",
                pod=tracked.status.pod_name,
                execution_id=tracked.execution.execution_id,
                silent_s=round(silent_s),
                error=str(error),
            )
            if silent_s >= HEARTBEAT_DEADLINE_S and tracked.stage is Stage.RUNNING:
                where = f"pod {tracked.status.pod_name} on node {tracked.status.node_name}"
                message = (
                    f"nothing was heard of {where} for {silent_s:.0f} s: the node, or the way to it, seems to be lost"
                )
                await self._inquiry.give_up(tracked, message)
        finally:
            tracked.ask_after = self._now() + _ASK_AGAIN

    async def _overdue(self, tracked: Tracked) -> None:
        """Asks once more; without a result there is none to come, unless it has only begun now."""
        try:
            await self._inquiry.ask(tracked)
        except ExecutorUnreachable as error:
            logger.warning("an overdue Execution's executor does not answer", error=str(error))
        if tracked.stage is Stage.RUNNING and tracked.deadline is None:
            message = f"no result from pod {tracked.status.pod_name} although its time is over"
            await self._inquiry.give_up(tracked, message)
