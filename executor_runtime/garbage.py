"""When the executor looks for garbage: in pauses, not while somebody waits for an answer.

What reference counts do not free is little, but the interpreter looks for it after every few requests, in the middle of
one: a millisecond or more for a sixteenth of them, and sometimes 20 to 50 ms for all that was ever imported. What was
imported stays, and is not looked at again; for the rest there are pauses, and a bound where there are none.
"""

import asyncio
import gc
from collections.abc import Callable
from typing import Final

_INTERVAL_S: Final = 0.5
_WORTH: Final = 500
"""Objects made since the last time and not freed."""
_THRESHOLDS: Final = (20_000, 10, 10)
"""So many of those, about 5 MB, and it is done whoever waits."""
_ALL_EVERY: Final = 120
"""Pauses, until all is looked at that has been made since the start."""


def spare_what_is_there() -> None:
    """To be called once, when all is imported and made that lives as long as the process."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


async def collect_in_pauses(is_busy: Callable[[], bool]) -> None:
    """Until cancelled."""
    pauses = 0
    while True:
        await asyncio.sleep(_INTERVAL_S)
        if is_busy():
            continue
        pauses += 1
        if pauses % _ALL_EVERY == 0:
            gc.collect()
        elif gc.get_count()[0] > _WORTH:
            gc.collect(1)
