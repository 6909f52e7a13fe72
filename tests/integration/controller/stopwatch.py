"""Measures what processes need, and not what others on the machine take from them."""

import os
import time
from collections.abc import Iterable
from pathlib import Path


class Stopwatch:
    """Seconds since it was made, without those in which one of some processes had to wait for a processor.

    The kernel counts those (``run_delay`` in /proc/PID/schedstat; its Documentation/scheduler/sched-stats.rst). This
    process, which asks and often answers too, is always one of them. On a machine with nothing else to do nearly
    nothing is left out, and a bound is as tight as its promise.
    """

    def __init__(self, processes: Iterable[int]) -> None:
        self._processes = {os.getpid(), *processes}
        self._starved = {pid: _starved_s(pid) for pid in self._processes}
        self._begun = time.monotonic()

    def read(self) -> float:
        """What has passed so far."""
        return time.monotonic() - self._begun - self.starved_s()

    def starved_s(self) -> float:
        """What is left out; nothing for a process that is not there any more."""
        return sum(max(_starved_s(pid) - self._starved[pid], 0.0) for pid in self._processes)


def _starved_s(pid: int) -> float:
    """Of the thread that has waited longest: threads wait beside each other."""
    return max((_read(task) for task in Path(f"/proc/{pid}/task").glob("*/schedstat")), default=0.0)


def _read(task: Path) -> float:
    try:
        return int(task.read_text().split()[1]) / 1e9
    except OSError:
        return 0.0
