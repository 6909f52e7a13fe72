"""Waiting in tests: for the thing itself, and so long that a busy machine is no fault.

What merely must happen is waited for with ``PATIENCE_S``, which costs nothing where it does happen. What must happen in
time is tried up to ``TRIES`` times: a machine that had no time for the process once does not make a promise untrue.
"""

import asyncio
import itertools
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final

PATIENCE_S: Final = 60.0
TRIES: Final = 3
_LOOK_AGAIN_S: Final = 0.02
_numbers = itertools.count()


def wait_until(check: Callable[[], object], what: str, timeout_s: float = PATIENCE_S) -> None:
    """Waits, with the thread, until the check gives something true. Raises AssertionError."""
    deadline = time.monotonic() + timeout_s
    while not check():
        assert time.monotonic() < deadline, f"waited {timeout_s:.0f} s: {what}"
        time.sleep(_LOOK_AGAIN_S)


async def eventually(check: Callable[[], Awaitable[object]], what: str, timeout_s: float = PATIENCE_S) -> None:
    """The same without blocking the loop."""
    deadline = time.monotonic() + timeout_s
    while not await check():
        assert time.monotonic() < deadline, f"waited {timeout_s:.0f} s: {what}"
        await asyncio.sleep(_LOOK_AGAIN_S)


def time_limits() -> Iterator[int]:
    """Whole seconds for code that prints and then runs into its limit: ever more, for an interpreter that is slow."""
    return iter((1, 4, 16))


class Sleeper:
    """A ``sleep`` that a program in a sandbox of this machine starts and waits for: the test ends it, no clock does."""

    def __init__(self) -> None:
        self.word = f"600.{os.getpid()}{next(_numbers):04d}"

    @property
    def python(self) -> str:
        """The statement that waits, without its newline."""
        return f"import subprocess; subprocess.run(['sleep', '{self.word}'])"

    def pids(self) -> list[int]:
        """Of the processes that sleep."""
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if self._is_it(pid)]

    def wait(self) -> None:
        """Until it sleeps."""
        wait_until(self.pids, f"nothing runs sleep {self.word}")

    def end(self) -> None:
        """Waits until it sleeps, and wakes it: the program goes on."""
        self.wait()
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)

    def _is_it(self, pid: int) -> bool:
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        return words[:2] == [b"sleep", self.word.encode()]
