"""Runs the asynchronous part of a command, so that a signal ends it in order and its sandbox with it."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Terminated(Exception):
    """SIGTERM or SIGHUP came; everything that was started has been ended."""


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """What the work returns.

    Raises:
        KeyboardInterrupt: SIGINT came.
        Terminated: SIGTERM or SIGHUP came.
    """
    return asyncio.run(_until_told(work))


async def _until_told(work: Coroutine[Any, Any, T]) -> T:
    task = asyncio.ensure_future(work)
    told: list[int] = []

    def end(number: int) -> None:
        told.append(number)
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, end, number)
    try:
        return await task
    except asyncio.CancelledError:
        if told:
            raise Terminated from None
        raise
