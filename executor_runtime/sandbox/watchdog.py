"""Watches the memory of one sandbox from outside, and how many files it makes in memory.

The kernel's per-process limits do not bound a tree, and only where the executor may write cgroups does each run have
one (``cgroup``). So the tree is sampled; what it can take between two samples is bounded by RLIMIT_DATA (``limits``)
and by the pod's own memory limit. What the kernel holds for processes beyond page tables and mappings (sockets, pipes)
is seen by a cgroup only.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from executor_runtime.sandbox.argv import SHM, TMP
from executor_runtime.sandbox.model import Limits
from executor_runtime.sandbox.tree import (
    Memory,
    descendants,
    page_table_bytes,
    proportional_bytes,
    shared_memory,
)

FIRST_SAMPLE_S: Final = 0.03
"""After the begin: ``wait_until_over`` is to be called then."""
_INTERVAL_S: Final = 0.1
_SUSPICIOUS: Final = 2
"""Times its limit in address space: no reason to end a run, but one to look closer."""
_LARGEST_SHARE: Final = 0.05
"""Of one CPU, that sampling may take: a tree of thousands of threads is sampled less often."""
_CLOSE_SHARE: Final = 0.25
"""The same of a thread's, while there is reason to count exactly."""


_COUNTING: Final = ThreadPoolExecutor(2, "memory count")
"""Threads of its own: nothing else waits for them."""


class Watchdog:
    """Samples the tree below process 1 of one sandbox (process 1 is ours and does not count)."""

    def __init__(self, init_pid: int, limits: Limits, is_inside: Callable[[], bool]) -> None:
        """``is_inside``: whether process 1 has said that it runs. Only then are its mounts the sandbox's."""
        self.peak_bytes = 0
        self.tmp_entries = 0
        """Files in ``/tmp`` and ``/dev/shm`` at the last sample."""
        self._files_bytes = 0
        self._init_pid, self._limits, self._is_inside = init_pid, limits, is_inside

    @property
    def has_too_many_files(self) -> bool:
        """Whether it was files that ``wait_until_over`` ended for; else it was memory."""
        return self.tmp_entries > self._limits.workspace_entries

    async def wait_until_over(self) -> None:
        """Returns when the sandbox holds more memory or files than it may; runs until cancelled otherwise."""
        while True:
            began = time.thread_time()
            suspects = self.sample()
            pause_s = max(_INTERVAL_S, (time.thread_time() - began) / _LARGEST_SHARE)
            if suspects is not None:
                # User code can make this take long: as long as listing what it has mapped.
                loop = asyncio.get_running_loop()
                total, cost_s = await loop.run_in_executor(_COUNTING, _count_exactly, suspects, self._files_bytes)
                self.peak_bytes = max(self.peak_bytes, total)
                if total > self._limits.memory_bytes:
                    return
                pause_s = max(pause_s, cost_s / _CLOSE_SHARE)
            if self.has_too_many_files:
                return
            await asyncio.sleep(pause_s)

    def sample(self) -> list[int] | None:
        """Looks at what is cheap to know; the processes when they may hold more than the limit, counted exactly."""
        pids = descendants(self._init_pid)
        self._sample_files()
        found = [Memory.of(pid) for pid in pids]
        total = sum(memory.resident_bytes for memory in found) + self._files_bytes
        hidden = sum(memory.unbounded_bytes for memory in found)
        virtual = sum(memory.virtual_bytes for memory in found)
        limit = self._limits.memory_bytes
        if total > limit or hidden > limit or virtual > _SUSPICIOUS * limit:
            return pids
        self.peak_bytes = max(self.peak_bytes, total)
        return None

    def _sample_files(self) -> None:
        """Of the sandbox's own ``/tmp`` and ``/dev/shm``, by the names that they have in its read-only root."""
        self._files_bytes, self.tmp_entries = 0, 0
        if self._is_inside():
            for path in (TMP, SHM):
                with contextlib.suppress(OSError):  # it has ended
                    found = os.statvfs(f"/proc/{self._init_pid}/root{path}")
                    self._files_bytes += (found.f_blocks - found.f_bfree) * found.f_frsize
                    self.tmp_entries += found.f_files - found.f_ffree


def _count_exactly(pids: list[int], files_bytes: int) -> tuple[int, float]:
    """(bytes in memory, seconds of CPU that it took to count them); blocks.

    Forked processes share pages: only proportional shares tell whether a tree is over its limit. What they share by
    mapping files of ``/tmp`` is in those files already. What they share without a file may be in memory without being
    resident in any of them.
    """
    began = time.thread_time()
    shares = [proportional_bytes(pid) for pid in pids]
    mapped: dict[tuple[bytes, bytes], int] = {}
    for pid in pids:
        for identity, size in shared_memory(pid).items():
            mapped[identity] = max(size, mapped.get(identity, 0))
    resident_shared = sum(shared for _, shared in shares)
    private = sum(total for total, _ in shares) - resident_shared
    tables = sum(page_table_bytes(pid) for pid in pids)
    total = private + max(resident_shared, files_bytes + sum(mapped.values())) + tables
    return total, time.thread_time() - began
