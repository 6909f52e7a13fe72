"""Time that passes only when a test says so."""

import asyncio
import heapq
import itertools
from datetime import UTC, datetime, timedelta

from executor_runtime.clock import Clock

START = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)


class FakeTime:
    """``clock`` is what the code under test gets; ``slept`` is what it asked for."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.slept: list[float] = []
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self.clock = Clock(now=self.now, monotonic=lambda: self.seconds, sleep=self._sleep)

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    async def advance(self, seconds: float) -> None:
        """Lets the time pass, waking each sleeper at its moment and letting it run."""
        end = self.seconds + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            moment, _, sleeper = heapq.heappop(self._sleepers)
            self.seconds = max(self.seconds, moment)
            if not sleeper.done():
                sleeper.set_result(None)
            await settle()
        self.seconds = end

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        sleeper = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.seconds + seconds, next(self._order), sleeper))
        await sleeper


async def settle() -> None:
    """Lets every task run until it waits for something."""
    for _ in range(50):
        await asyncio.sleep(0)
