"""An event loop whose time passes only while everything waits, and then at once: hours of timers in milliseconds."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


class _Selector(selectors.SelectSelector):
    waited_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Never waits; what it would have waited has passed."""
        ready = super().select(0)
        if not ready and timeout is not None:
            self.waited_s += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """``time`` begins at 1,000 seconds."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        """Seconds, rounded so that a timer that was waited for is due."""
        return 1000.0 + round(self._virtual.waited_s, 6)


def run_virtually(main: Coroutine[Any, Any, _T]) -> _T:
    """``asyncio.run`` in such a loop."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
