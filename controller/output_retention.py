"""Deletes outputs from the object store: those that are older than they may become, and those of Executions that this
process has deleted.

By age everything goes, whether a status names it or not: what an executor stored before it was lost, too. A lifecycle
rule of the bucket does the same, and then ``retentionDays`` can be 0.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from controller.errors import StoreError
from controller.logs import get_logger
from controller.object_store import ObjectStore

SWEEP_INTERVAL_S: Final = 6 * 3600.0
_FIRST_S: Final = 60.0
_CHECK_S: Final = 5.0
_MAX_FORGOTTEN: Final = 100_000
"""Of Executions whose outputs wait to be deleted while the store is down; the others go by their age."""
logger = get_logger(__name__)


class OutputRetention:
    """Works while this process leads. ``days`` 0: nothing goes by its age."""

    def __init__(self, store: ObjectStore, days: int, now: Callable[[], datetime]) -> None:
        self._store = store
        self._days = days
        self._now = now
        self._forgotten: deque[str] = deque(maxlen=_MAX_FORGOTTEN)

    def forget(self, prefix: str) -> None:
        """An Execution was deleted: nobody can ask for its outputs any more."""
        self._forgotten.append(prefix)

    async def run(self) -> None:
        """Deletes what is due, until cancelled."""
        due_in_s = _FIRST_S
        while True:
            await asyncio.sleep(_CHECK_S)
            due_in_s -= _CHECK_S
            try:
                await self.delete_forgotten()
                if due_in_s <= 0 and self._days:
                    due_in_s = SWEEP_INTERVAL_S
                    await self.sweep()
            except StoreError as error:
                logger.warning("outputs could not be deleted; it is tried again", error=str(error))
                due_in_s = max(due_in_s, _FIRST_S)

    async def delete_forgotten(self) -> None:
        """Deletes the outputs of Executions that are gone.

        Raises:
            StoreError: some are left, and stay to be deleted.
        """
        while self._forgotten:
            await self._delete(self._forgotten[0], None)
            self._forgotten.popleft()

    async def sweep(self) -> None:
        """Deletes what is older than ``days``.

        Raises:
            StoreError: some of it is left.
        """
        deleted = await self._delete("", self._now() - timedelta(days=self._days))
        if deleted:
            logger.info("old outputs deleted", objects=deleted, older_than_days=self._days)

    async def _delete(self, prefix: str, before: datetime | None) -> int:
        deleted = 0
        async for page in self._store.list(prefix):
            keys = [found.key for found in page if before is None or found.modified < before]
            if keys:
                await self._store.delete(keys)
                deleted += len(keys)
        return deleted
