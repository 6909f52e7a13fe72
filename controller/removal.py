"""Deletes ended Executions whose time is over (``ttlSecondsAfterFinished``), and never another object of that name."""

import asyncio
import heapq
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

from pydantic import ValidationError

from controller import names
from controller.clients.kube import KubeClient
from controller.errors import KubeConflict, KubeError, KubeNotFound
from controller.logs import get_logger
from controller.resources import Execution, Pool, parse_execution

_CHECK_S: Final = 0.5
_RETRY_S: Final = 10.0
_LIST_AGAIN_S: Final = 30.0
logger = get_logger(__name__)


class Removal:
    """Ended Executions by the time at which they are to go."""

    def __init__(self, kube: KubeClient, pools: Mapping[str, Pool], now: Callable[[], datetime]) -> None:
        self._kube = kube
        self._pools = pools
        self._now = now
        self._due: list[tuple[datetime, str, str, str]] = []
        self.forget_outputs: Callable[[str], None] = lambda prefix: None
        """Told of each that is gone and had outputs in the object store: where those lie."""
        self.is_held: Callable[[Execution], bool] = lambda execution: False
        """Whether it must not go yet; who says so notes it again later."""

    def note(self, execution: Execution) -> None:
        """Remembers when an ended Execution is to go, if ever."""
        ttl_s = find_ttl_s(execution, self._pools.get(execution.spec.pool))
        if ttl_s is None or not execution.ended or self.is_held(execution):
            return
        ended = execution.status.completion_time or self._now()
        path = names.execution_path(execution.namespace, execution.name)
        stored = names.output_prefix(execution.namespace, execution.uid) if execution.status.outputs else ""
        heapq.heappush(self._due, (ended + timedelta(seconds=ttl_s), path, execution.uid, stored))

    async def run(self) -> None:
        """Takes up what ended before this process started, then deletes what is due, until cancelled."""
        await self._load()
        while True:
            await asyncio.sleep(_CHECK_S)
            await self.delete_due()

    async def delete_due(self) -> None:
        """Deletes those whose time is over."""
        while self._due and self._due[0][0] <= self._now():
            _, path, uid, stored = heapq.heappop(self._due)
            await self._delete(path, uid, stored)

    async def _load(self) -> None:
        while True:
            self._due.clear()
            try:
                async for page in self._kube.list_pages(names.executions_path()):
                    for body in page:
                        try:
                            self.note(parse_execution(body))
                        except ValidationError:
                            continue
                return
            except KubeError as error:
                logger.warning("ended Executions could not be listed", error=str(error))
                await asyncio.sleep(_LIST_AGAIN_S)

    async def _delete(self, path: str, uid: str, stored: str) -> None:
        try:
            await self._kube.delete(path, uid)
        except (KubeNotFound, KubeConflict):
            pass
        except KubeError as error:
            logger.warning("an Execution could not be deleted; it is tried again", path=path, error=str(error))
            heapq.heappush(self._due, (self._now() + timedelta(seconds=_RETRY_S), path, uid, stored))
            return
        if stored:
            self.forget_outputs(stored)


def find_ttl_s(execution: Execution, pool: Pool | None) -> int | None:
    """Seconds for which an ended Execution is kept: its own, else its pool's default; None: for good."""
    if execution.spec.ttl_seconds_after_finished is not None:
        return execution.spec.ttl_seconds_after_finished
    defaults = pool.spec.defaults if pool else None
    return defaults.ttl_seconds_after_finished if defaults else None
