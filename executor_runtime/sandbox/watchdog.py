"""Watches the memory of one sandbox's process tree from outside.

The kernel's per-process limits do not bound a tree, and a sandbox has no cgroup of its own here: the executor
runs without privileges. So the tree is sampled; what it can take between two samples is bounded by
RLIMIT_DATA (``limits``) and by the pod's own memory limit.
"""

import asyncio
import time
from typing import Final

from executor_runtime.sandbox.tree import descendants, proportional_bytes, resident_bytes

_FIRST_SAMPLE_S: Final = 0.03
_INTERVAL_S: Final = 0.1
_LARGEST_SHARE: Final = 0.05
"""Of one CPU, that sampling may take: a tree of thousands of threads is sampled less often."""


class Watchdog:
    """Samples the tree below process 1 of one sandbox (process 1 is ours and does not count)."""

    def __init__(self, init_pid: int, limit_bytes: int) -> None:
        self.peak_bytes = 0
        self._init_pid, self._limit_bytes = init_pid, limit_bytes

    async def wait_until_over(self) -> None:
        """Returns when the tree holds more than its limit; runs until cancelled otherwise."""
        pause_s = _FIRST_SAMPLE_S
        while True:
            await asyncio.sleep(pause_s)
            began = time.thread_time()
            if self.sample() > self._limit_bytes:
                return
            pause_s = max(_INTERVAL_S, (time.thread_time() - began) / _LARGEST_SHARE)

    def sample(self) -> int:
        """Bytes in memory now; shared pages are counted once as soon as it matters."""
        pids = descendants(self._init_pid)
        total = sum(resident_bytes(pid) for pid in pids)
        if total > self._limit_bytes:
            # Forked processes share pages: only proportional shares tell whether the tree is over its limit.
            total = sum(proportional_bytes(pid) for pid in pids)
        self.peak_bytes = max(self.peak_bytes, total)
        return total
