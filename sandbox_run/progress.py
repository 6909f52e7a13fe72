"""A line on a terminal for whatever takes longer than a second; nothing on a pipe."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

from sandbox_run.text import one_line

_DELAY_S: Final = 1.0
Say = Callable[[str], None]


@contextlib.asynccontextmanager
async def progress(text: str) -> AsyncIterator[Say]:
    """Shows ``text``, or what was said last, with the time that has passed, from the second second until the end."""
    if not sys.stderr.isatty():
        yield lambda _text: None
        return
    line = _Line(text)
    showing = asyncio.create_task(line.show_later())
    try:
        yield line.say
    finally:
        showing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await showing


class _Line:
    def __init__(self, text: str) -> None:
        self._text = text
        self._begun = time.monotonic()

    def say(self, text: str) -> None:
        self._text = text

    async def show_later(self) -> None:
        await asyncio.sleep(_DELAY_S)
        from rich.console import Console  # a tenth of a second: only for who waits that long

        with Console(stderr=True).status("", spinner="dots") as status:
            while True:
                status.update(self._now())
                await asyncio.sleep(_DELAY_S / 5)

    def _now(self) -> str:
        from rich.markup import escape

        return escape(f"{one_line(self._text)} ({time.monotonic() - self._begun:.0f} s)")
