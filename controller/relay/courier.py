"""Works through the backlog: so many at a time, so many a second, none faster than the circuit allows.

An item is tried five times with growing pauses, then every 30 to 60 s for as long as it takes.
"""

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from contracts.control_plane_retry import MAX_ATTEMPTS, backoff_s
from controller.background import Background
from controller.errors import ControllerError
from controller.logs import get_logger
from controller.metrics import Metrics
from controller.relay.backlog import Backlog, Item
from controller.relay.circuit import Circuit
from controller.relay.clock import Clock

CONCURRENT: Final = 16
PER_SECOND: Final = 100.0
SLOW_S: Final = (30.0, 60.0)
"""Between two attempts at one thing, after the first five."""
_NOT_NOW_S: Final = 1.0
_SHORTEST_S: Final = 0.01
"""A pause that is lost in a clock's rounding would be none."""
logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Told:
    """There is nothing more to tell."""


@dataclass(frozen=True, slots=True)
class Failed:
    """An attempt was made in vain."""


@dataclass(frozen=True, slots=True)
class Later:
    """No attempt was made; to be looked at again after so many seconds."""

    seconds: float = _NOT_NOW_S


Step = Told | Failed | Later


class Sender(Protocol):
    """Tells one kind of thing."""

    async def send(self, item: Item) -> Step:
        """Makes one attempt at most."""


class Courier:
    """Takes items from the backlog and gives them to the sender of their kind."""

    def __init__(
        self,
        backlog: Backlog[Item],
        circuit: Circuit,
        metrics: Metrics,
        clock: Clock,
        spread: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._backlog = backlog
        self._circuit = circuit
        self._clock = clock
        self._spread = spread
        self.senders: Mapping[str, Sender] = {}
        self._background = Background(metrics)
        self._under_way = 0
        self._budget = PER_SECOND
        self._refilled = clock.monotonic()
        self._wake = asyncio.Event()
        backlog.changed = self._wake.set

    async def run(self) -> None:
        """Delivers, until cancelled; what is under way then is taken up again from the API server."""
        try:
            while True:
                self._wake.clear()
                pause_s = self._start_due()
                await self._wait(pause_s)
        finally:
            await self._background.close()

    def _start_due(self) -> float | None:
        """Starts what may go now; after how many seconds there may be more (None: not before something changes)."""
        while True:
            now = self._clock.monotonic()
            if self._under_way >= (CONCURRENT if self._circuit.closed else 1):
                return None
            circuit_s = self._circuit.pause_s(now)
            if circuit_s is None:
                return _NOT_NOW_S
            pause_s = max(circuit_s, self._rate_pause_s(now), self._backlog.pause_s(now))
            if pause_s > 0:
                return max(pause_s, _SHORTEST_S)
            item = self._backlog.take(now)
            if item is not None:
                self._budget -= 1
                self._under_way += 1
                self._background.run(self._deliver(item), relay=item.kind, key=item.key)

    def _rate_pause_s(self, now: float) -> float:
        self._budget = min(PER_SECOND, self._budget + (now - self._refilled) * PER_SECOND)
        self._refilled = now
        return 0.0 if self._budget >= 1 else (1 - self._budget) / PER_SECOND

    async def _wait(self, pause_s: float | None) -> None:
        waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(self._wake.wait())]
        if pause_s is not None:
            waits.append(asyncio.ensure_future(self._clock.sleep(pause_s)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _deliver(self, item: Item) -> None:
        step: Step = Later(SLOW_S[0])
        try:
            step = await self.senders[item.kind].send(item)
        except ControllerError as error:
            logger.warning("something could not be told now", relay=item.kind, key=item.key, error=str(error))
        finally:
            self._under_way -= 1
            self.close(item, step)

    def close(self, item: Item, step: Step) -> None:
        """What a step means for an item that was taken or claimed."""
        now = self._clock.monotonic()
        match step:
            case Told():
                self._backlog.remove(item)
            case Later(seconds):
                self._backlog.put_back(item, now + seconds)
            case Failed():
                item.attempts += 1
                item.again = False
                pause_s = backoff_s(item.attempts) if item.attempts < MAX_ATTEMPTS else self._spread(*SLOW_S)
                self._backlog.put_back(item, now + pause_s)
